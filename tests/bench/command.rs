//! A command over ssh, from the start of the real client to its end.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::harness::Server;
use crate::measured::{Measured, Target};
use crate::times::{Times, timed};

const ROUNDS: usize = 20;

/// The client alone takes turns with it: `ssh -G` reads the same configuration, and connects to nothing.
pub fn measure(server: &Server) -> Measured {
    let (mut commands, mut alone, mut processor) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..ROUNDS {
        let before = processor_time();
        commands.push(timed(&mut server.client().ssh_command("airstrip", &["apps"])).0);
        processor += processor_time() - before;
        alone.push(timed(&mut server.client().ssh_command("airstrip", &["-G"])).0);
    }
    let (commands, alone) = (Times::new(commands), Times::new(alone));
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let processor = processor / ROUNDS as f64;
    println!("ssh airstrip@… apps: {commands}\n  processor time of the client: {processor:.1} ms\nssh -G: {alone}");
    Measured {
        what: "`ssh airstrip@… apps`, from start to exit",
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
