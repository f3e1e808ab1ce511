//! Memory of the daemon, and of what stands beside each instance.

use std::fs;

use crate::harness::{App, Server};
use crate::measured::{Measured, Target};
use crate::push::push;

/// Deploys so many apps that need no package.
pub fn deploy_others(server: &Server, count: usize) {
    for number in 0..count {
        let name = format!("probe-{number}");
        push(server, &App::probe(server.client(), &name), &name, "one");
    }
}

/// The daemon's resident memory, and the proportional share of a shim and its init.
pub fn measure(server: &Server, apps: usize) -> Vec<Measured> {
    let resident = megabytes(server.daemon_pid(), "status", "VmRSS:").unwrap();
    println!("memory of the daemon with {apps} apps: {resident:.1} MB resident");
    if let Some(shared) = proportional(server.daemon_pid()) {
        println!("  proportional: {shared:.1} MB");
    }
    let daemon = at_most("the daemon's resident memory with 10 apps", resident, 40.0);
    let share = of_shims(server, apps);
    if share.is_none() {
        println!("skipped: memory of shim and init: only root may look at it");
    }
    let shims = share.map(|share| at_most("shim and init of an instance, proportional memory", share, 1.5));
    std::iter::once(daemon).chain(shims).collect()
}

/// Every instance has two processes of the platform: the shim outside, and its child inside, the init.
fn of_shims(server: &Server, apps: usize) -> Option<f64> {
    let processes = server.processes().into_iter().map(|found| found.pid);
    let inits: Vec<i32> = processes.filter(|pid| is_first_inside(*pid)).collect();
    assert_eq!(inits.len(), apps, "{inits:?}");
    let both = inits.into_iter().flat_map(|init| [Some(init), number(init, "status", "PPid:")]);
    let shares = both.map(|pid| proportional(pid?));
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    Some(shares.sum::<Option<f64>>()? / apps as f64)
}

/// Whether it is process 1 of a namespace.
fn is_first_inside(pid: i32) -> bool {
    number(pid, "status", "NSpid:") == Some(1)
}

/// Shared pages count for a part to everyone who shares them. In megabytes.
fn proportional(pid: i32) -> Option<f64> {
    megabytes(pid, "smaps_rollup", "Pss:")
}

fn megabytes(pid: i32, file: &str, name: &str) -> Option<f64> {
    Some(f64::from(number(pid, file, name)?) / 1024.0)
}

/// The last number of a line of a file of `/proc`.
fn number(pid: i32, file: &str, name: &str) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_end_matches(" kB").split_whitespace().last()?.parse().ok()
}

fn at_most(what: &'static str, figure: f64, limit: f64) -> Measured {
    Measured { what, figure, unit: "MB", peer: None, target: Target::AtMost(limit) }
}
