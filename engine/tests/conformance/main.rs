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
mod images;
mod inside;
mod life;
mod limits;
mod logs;
mod network;
#[path = "../native/outside.rs"]
mod outside;
mod survival;
mod walls;
mod ways_in;
mod world;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use world::{Case, Kind, World};

fn main() -> ExitCode {
    engine::native::run_if_child();
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [role, rest @ ..] = words.as_slice()
        && role == survival::HOLDER
    {
        return survival::hold(rest);
    }
    outside::enter();
    let named: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| words.iter().any(|word| word == kind.name())).collect();
    words.retain(|word| Kind::ALL.iter().all(|kind| word != kind.name()));
    let kinds = if named.is_empty() { Kind::ALL.to_vec() } else { named };
    let mut good = true;
    for kind in &kinds {
        good &= run_cases(*kind, &words);
    }
    if world::root() && kinds.contains(&Kind::Native) {
        good &= run_as_nobody(&words);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn cases(kind: Kind) -> Vec<(&'static str, Case)> {
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

fn run_cases(kind: Kind, words: &[String]) -> bool {
    let name = kind.name();
    let user = if world::root() { "root" } else { "an ordinary user" };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut failed = 0;
    for (case, run) in cases(kind) {
        if !words.is_empty() && !words.iter().any(|word| case.contains(word.as_str())) {
            continue;
        }
        let world = match runtime.block_on(World::new(kind)) {
            Ok(world) => world,
            Err(reason) => {
                println!("skipped: {name}: {reason}");
                return true;
            }
        };
        let begin = Instant::now();
        let held = runtime.block_on(world.try_case(run));
        println!("{} {name}: {case} as {user} ({:.0?})", if held { "ok    " } else { "FAILED" }, begin.elapsed());
        failed += u32::from(!held);
    }
    failed == 0
}

/// Runs a copy of this binary, because the original may lie where `nobody` cannot reach it.
fn run_as_nobody(words: &[String]) -> bool {
    let dir = tempfile::Builder::new().prefix("airstrip-nobody-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = dir.path().join("conformance");
    std::fs::copy("/proc/self/exe", &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).arg(Kind::Native.name());
    command.envs(outside::environment());
    match command.args(words).current_dir("/").status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("skipped: native as an ordinary user: setpriv: {error}");
            true
        }
    }
}
