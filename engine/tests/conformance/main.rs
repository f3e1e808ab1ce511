//! What the trait `Engine` promises, tried on every engine: `native`, as root and as an ordinary user, and `docker`; and
//! what only `docker` has, its images.
//!
//! Words on the command line choose the cases whose name contains one of them; `native` or `docker` among them chooses the
//! engine. Without a Docker engine on this machine its cases are skipped, and that is said.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "clippy knows tests by `#[test]`, and these have a `main` of their own"
)]

mod files;
#[path = "../suite/holder.rs"]
#[expect(dead_code, reason = "`native` uses all of it")]
mod holder;
mod images;
mod inside;
mod life;
mod limits;
mod logs;
mod network;
#[path = "../suite/nobody.rs"]
mod nobody;
#[path = "../suite/outside.rs"]
mod outside;
#[path = "../suite/run.rs"]
mod run;
mod survival;
mod walls;
mod ways_in;
#[path = "../suite/world.rs"]
#[expect(dead_code, reason = "`native` uses the rest")]
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
    run::run(&Kind::ALL, cases, &words)
}

fn cases(kind: Kind) -> Cases {
    let groups = [
        life::cases(),
        ways_in::cases(),
        inside::cases(),
        files::cases(),
        logs::cases(),
        limits::cases(),
        network::cases(),
        walls::cases(),
        survival::cases(),
    ];
    let own = if kind == Kind::Docker { images::cases() } else { Vec::new() };
    groups.into_iter().flatten().chain(own).collect()
}
