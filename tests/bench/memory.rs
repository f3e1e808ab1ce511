//! Memory of the daemon, and of what stands beside each instance.

use crate::harness::{App, Server};
use crate::measured::{Measured, Target};
use crate::process;
use crate::receipt::push;

/// Deploys so many apps that need no package.
pub fn deploy_others(server: &Server, count: usize) {
    for number in 0..count {
        let name = format!("probe-{number}");
        push(server, &App::probe(server.client(), &name), &name, "one");
    }
}

/// The daemon's resident memory, and the proportional share of what stands beside an instance.
pub fn measure(server: &Server, apps: usize) -> Vec<Measured> {
    let resident = process::resident(server.daemon_pid()).unwrap();
    println!("memory of the daemon with {apps} apps: {resident:.1} MB resident");
    if let Some(shared) = process::proportional(server.daemon_pid()) {
        println!("  proportional: {shared:.1} MB");
    }
    let daemon = at_most("the daemon's resident memory with 10 apps", resident, 40.0);
    let share = process::beside_instances(server, apps);
    if share.is_none() {
        println!("skipped: memory beside an instance: only root may look at it");
    }
    let beside = share.map(|share| at_most("shim, init and relay of an instance, proportional memory", share, 2.0));
    std::iter::once(daemon).chain(beside).collect()
}

fn at_most(what: &'static str, figure: f64, limit: f64) -> Measured {
    Measured { what, figure, unit: "MB", peer: None, target: Target::AtMost(limit) }
}
