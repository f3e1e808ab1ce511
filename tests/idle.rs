//! What instances cost that do nothing: `cargo bench -p platform --bench idle`.
//!
//! Hundreds of them at one server, for some seconds. What each figure is stands in docs/BENCHMARKS.md.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a measurement fails by panicking, and says why")]
#![expect(clippy::print_stdout, reason = "the figures are the output")]
#![expect(unreachable_pub, reason = "nothing outside this program uses it")]

#[expect(dead_code, unused_imports, reason = "the stories use all of it")]
mod harness;

#[path = "bench/machine.rs"]
mod machine;
#[path = "bench/measured.rs"]
#[expect(dead_code, reason = "other measurements have peers")]
mod measured;
#[path = "bench/process.rs"]
mod process;

use std::time::{Duration, Instant};

use harness::{App, Server};
use measured::{Measured, Target};

/// As many as one type of process may have, of each.
const TYPES: [&str; 5] = ["a=100", "b=100", "c=100", "d=100", "e=100"];
const INSTANCES: usize = 500;
/// How long the daemon is watched.
const WINDOW: Duration = Duration::from_secs(20);

fn main() {
    println!("{}", machine::describe());
    let server = Server::start();
    start_instances(&server);
    let mut measured = vec![processor(&server)];
    measured.extend(memory(&server));
    println!("\nload at the end {}\n\n{}", machine::load(), measured::table(&measured));
}

fn start_instances(server: &Server) {
    let app = App::probe(server.client(), "idle");
    let line = |kind: &str| format!("{}: exec sleep infinity\n", kind.trim_end_matches("=100"));
    app.write("Procfile", TYPES.map(line).concat());
    app.commit("Do nothing");
    app.git(&["push", "-q", "airstrip", "main"]).ok();
    let begin = Instant::now();
    server.client().airstrip(&format!("ps:scale idle {}", TYPES.join(" "))).ok();
    println!("start of {INSTANCES} instances: {:.1} s", begin.elapsed().as_secs_f64());
}

/// Of the daemon alone; what the instances' own supervisors need is printed beside it.
fn processor(server: &Server) -> Measured {
    let (daemon, others) = (server.daemon_pid(), server.processes());
    let time = || {
        let others = others.iter().filter_map(|found| process::processor_time(found.pid)).sum::<f64>();
        (process::processor_time(daemon).unwrap(), others)
    };
    let (begin, before) = (Instant::now(), time());
    std::thread::sleep(WINDOW);
    let after = time();
    let percent = |time: f64| 100.0 * time / begin.elapsed().as_secs_f64();
    println!("processor time of {} other processes: {:.2} %", others.len(), percent(after.1 - before.1));
    Measured {
        what: "processor time of the daemon with 500 idle instances",
        figure: percent(after.0 - before.0),
        unit: "%",
        peer: None,
        target: Target::AtMost(1.0),
    }
}

fn memory(server: &Server) -> Option<Measured> {
    println!("memory of the daemon: {:.1} MB resident", process::resident(server.daemon_pid()).unwrap());
    let share = process::beside_instances(server, INSTANCES);
    if share.is_none() {
        println!("skipped: memory beside an instance: only root may look at it");
    }
    Some(Measured {
        what: "shim, init and relay of one of 500 idle instances, proportional memory",
        figure: share?,
        unit: "MB",
        peer: None,
        target: Target::AtMost(2.0),
    })
}
