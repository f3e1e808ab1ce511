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

/// The daemon's resident memory, and the proportional share of a shim and its init. Where others' memory may not be looked at
/// the latter is left out.
pub fn measure(server: &Server, apps: usize) -> Vec<Measured> {
    let resident = megabytes(server.daemon_pid(), "status", "VmRSS:").unwrap();
    let shared = megabytes(server.daemon_pid(), "smaps_rollup", "Pss:");
    println!("memory of the daemon with {apps} apps: {resident:.1} MB resident, {} proportional", shown(shared));
    let share = of_shims(server, apps);
    println!("memory of shim and init: {} proportional", shown(share));
    let daemon = at_most("the daemon's resident memory with 10 apps", resident, 40.0);
    let shims = share.map(|share| at_most("shim and init of an instance, proportional memory", share, 1.5));
    std::iter::once(daemon).chain(shims).collect()
}

/// Every instance has two processes of the platform: the shim, and the init forked from it.
fn of_shims(server: &Server, apps: usize) -> Option<f64> {
    let processes = server.processes();
    let shims: Vec<_> = processes.iter().filter(|found| found.command.starts_with("airstrip-shim")).collect();
    assert_eq!(shims.len(), 2 * apps, "{processes:#?}");
    let sum = shims.iter().map(|found| megabytes(found.pid, "smaps_rollup", "Pss:")).sum::<Option<f64>>()?;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    Some(sum / apps as f64)
}

fn megabytes(pid: i32, file: &str, field: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

fn shown(megabytes: Option<f64>) -> String {
    megabytes.map_or_else(|| "not readable for this user,".to_owned(), |size| format!("{size:.2} MB"))
}

fn at_most(what: &'static str, figure: f64, limit: f64) -> Measured {
    Measured { what, figure, unit: "MB", peer: None, target: Target::AtMost(limit) }
}
