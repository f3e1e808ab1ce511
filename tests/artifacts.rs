//! What laying code out and keeping releases costs: `cargo bench -p platform --bench artifacts`.
//!
//! A repository of two thousand files of which one line changes, and twenty apps with the same requirements. What each figure
//! is stands in docs/BENCHMARKS.md.

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

use std::path::Path;
use std::process::Command;

use harness::{App, PATIENCE, Server, run};
use measured::{Measured, Target};

const FILES: usize = 2000;
const ROUNDS: usize = 10;
const APPS: usize = 20;

fn main() {
    println!("{}", machine::describe());
    let measured = [one_line_of_many(), build_phase_alone(), disk_of_many()];
    println!("\nload at the end {}\n\n{}", machine::load(), measured::table(&measured));
}

/// The build phase of a push, by its receipt: the tree is laid out, buildpacks look at it, its files are listed.
fn one_line_of_many() -> Measured {
    let server = Server::start();
    let app = App::copy_of(server.client(), "many", "examples/hello");
    for number in 0..FILES {
        let lines = (0..80).map(|line| format!("value_{line} = {}\n", number * line));
        app.write(&format!("package_{}/module_{number}.py", number % 100), lines.collect::<String>());
    }
    app.commit("Many files");
    app.push().ok();
    let mut times: Vec<f64> = (0..ROUNDS).map(|round| build_of(&app, &format!("package_0/{round}"))).collect();
    times.sort_by(f64::total_cmp);
    println!("build phases of a change in {FILES} files, in ms: {times:.0?}");
    Measured {
        what: "build phase of a one-line change of 2000 files",
        figure: times[ROUNDS / 2],
        unit: "ms",
        peer: None,
        target: Target::AtMost(100.0),
    }
}

/// The same of a repository of few files: what it costs beside the files.
fn build_phase_alone() -> Measured {
    let server = Server::start();
    let app = App::copy_of(server.client(), "few", "examples/hello");
    app.push().ok();
    let mut times: Vec<f64> = (0..ROUNDS).map(|round| build_of(&app, &format!("{round}"))).collect();
    times.sort_by(f64::total_cmp);
    Measured {
        what: "build phase of a one-line change of few files",
        figure: times[ROUNDS / 2],
        unit: "ms",
        peer: None,
        target: Target::AtMost(100.0),
    }
}

/// Milliseconds; receipts have hundredths of seconds.
fn build_of(app: &App<'_>, change: &str) -> f64 {
    let push = app.push_file("change", change).ok();
    let receipt = &push.remote[push.position("=====> ")];
    let phase = receipt.split_once("build ").unwrap().1;
    phase.split_whitespace().next().unwrap().trim_end_matches(')').parse::<f64>().unwrap() * 1000.0
}

/// Bytes on disk of the layers of twenty apps, in bytes of those of one.
fn disk_of_many() -> Measured {
    let server = Server::start();
    let mut sizes = Vec::new();
    for number in 0..APPS {
        App::copy_of(server.client(), &format!("app-{number}"), "examples/hello").push().ok();
        let of = |part: &str| on_disk(&server.home().join(part));
        sizes.push((of("layers"), of("apps")));
    }
    let (one, all) = (sizes[0], sizes[APPS - 1]);
    println!(
        "layers: {} of one app, {} of {APPS}; repositories, code and caches: {} and {} kB",
        one.0, all.0, one.1, all.1
    );
    Measured {
        what: "disk of the layers of 20 apps with the same requirements, in those of one",
        figure: all.0 / one.0,
        unit: "times",
        peer: None,
        target: Target::AtMost(1.1),
    }
}

/// Kilobytes.
fn on_disk(path: &Path) -> f64 {
    let measured = run(Command::new("du").args(["-sk"]).arg(path), b"", PATIENCE).ok().out();
    measured.split_whitespace().next().unwrap().parse().unwrap()
}
