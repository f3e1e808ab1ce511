//! A command over ssh, from the start of the real client to its end.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::harness::Server;
use crate::measured::{Measured, Target};
use crate::times::{Times, timed};

const ROUNDS: usize = 20;

/// A command of the server, and one inside an app. The client alone takes turns with each: `ssh -G` reads the same
/// configuration, and connects to nothing.
pub fn measure(server: &Server) -> Vec<Measured> {
    vec![
        one(server, "`ssh airstrip@… apps`, from start to exit", "airstrip", "apps"),
        one(server, "`ssh APP@… true`, from start to exit", "hello", "true"),
    ]
}

fn one(server: &Server, what: &'static str, user: &str, line: &str) -> Measured {
    let (mut commands, mut alone, mut processor) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..ROUNDS {
        let before = processor_time();
        commands.push(timed(&mut server.client().ssh_command(user, &[line])).0);
        processor += processor_time() - before;
        alone.push(timed(&mut server.client().ssh_command(user, &["-G"])).0);
    }
    let (commands, alone) = (Times::new(commands), Times::new(alone));
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let processor = processor / ROUNDS as f64;
    println!("{what}: {commands}\n  processor time of the client: {processor:.1} ms\nssh -G: {alone}");
    Measured {
        what,
        figure: commands.median(),
        unit: "ms",
        peer: Some(("`ssh -G`: the client's own start", alone.median())),
        target: Target::AtMost(60.0),
    }
}

/// Of all programs that this one has waited for, in milliseconds.
fn processor_time() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "microseconds of minutes")]
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds() as f64;
    microseconds / 1000.0
}
