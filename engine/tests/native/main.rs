//! What the native engine does beyond the trait, on the real kernel: namespaces, control groups, shims, records, relays, and
//! what befalls them. What it has in common with the other engines is in `conformance`.
//!
//! Started as root, this binary tries every case, then has a copy of itself do so as the user `nobody`. Words on the command
//! line choose the cases whose name contains one of them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "clippy knows tests by `#[test]`, and these have a `main` of their own"
)]

mod confinement;
mod deaths;
mod endurance;
mod faults;
mod files;
#[path = "../suite/holder.rs"]
mod holder;
mod limits;
mod network;
#[path = "../suite/nobody.rs"]
mod nobody;
#[path = "../suite/outside.rs"]
#[expect(dead_code, reason = "`conformance` uses all of it")]
mod outside;
mod quota;
#[path = "../suite/run.rs"]
mod run;
mod starts;
mod survival;
#[path = "../suite/world.rs"]
#[expect(dead_code, reason = "`conformance` uses the rest")]
mod world;

use std::process::ExitCode;

use run::Cases;
use world::Kind;

fn main() -> ExitCode {
    engine::native::run_if_child();
    let words = run::words();
    if let Some(code) = holder::run_if_asked(&words, survival::begin) {
        return code;
    }
    outside::enter();
    hide_mounts();
    run::run(&[Kind::Native], cases, &words)
}

/// What the cases mount is seen by nobody else, and goes with this process.
fn hide_mounts() {
    use nix::mount::{MsFlags, mount};
    if world::root() {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>).unwrap();
    }
}

fn cases(_: Kind) -> Cases {
    let groups = [
        starts::cases(),
        confinement::cases(),
        limits::cases(),
        quota::cases(),
        files::cases(),
        network::cases(),
        survival::cases(),
        deaths::cases(),
        faults::cases(),
        endurance::cases(),
    ];
    groups.into_iter().flatten().collect()
}
