//! The native engine on the real kernel, as root and as an ordinary user.
//!
//! Started as root, this binary runs every story, then a copy of itself as the user `nobody`. Words on the command line
//! choose the stories whose name contains one of them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "clippy knows tests by `#[test]`, and these have a `main` of their own"
)]

mod confinement;
mod deaths;
mod delegation;
mod endurance;
mod faults;
mod files;
mod limits;
mod network;
#[expect(dead_code, reason = "the conformance suite uses all of it")]
mod outside;
mod quota;
mod starts;
mod survival;
mod world;

use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::Instant;

use delegation::Delegated;
use world::{Story, World};

fn main() -> ExitCode {
    engine::native::run_if_child();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [role, rest @ ..] = words.as_slice()
        && role == survival::HOLDER
    {
        return survival::hold(rest);
    }
    outside::enter();
    hide_mounts();
    let good = run_stories(&words) & (!nix::unistd::Uid::effective().is_root() || run_as_nobody(&words));
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the stories mount is seen by nobody else, and goes with this process.
fn hide_mounts() {
    use nix::mount::{MsFlags, mount};
    if nix::unistd::Uid::effective().is_root() {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>).unwrap();
    }
}

fn stories() -> Vec<(&'static str, Story)> {
    let groups = [
        starts::stories(),
        confinement::stories(),
        limits::stories(),
        quota::stories(),
        files::stories(),
        network::stories(),
        survival::stories(),
        deaths::stories(),
        faults::stories(),
        endurance::stories(),
    ];
    groups.into_iter().flatten().collect()
}

fn run_stories(words: &[String]) -> bool {
    let user = if nix::unistd::Uid::effective().is_root() { "root" } else { "an ordinary user" };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut failed = 0;
    for (name, story) in stories() {
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let Some(world) = World::new() else {
            println!("skipped: every story as {user}");
            return true;
        };
        let begin = Instant::now();
        let told = runtime.block_on(world.tell(story));
        println!("{} {name} as {user} ({:.0?})", if told { "ok    " } else { "FAILED" }, begin.elapsed());
        failed += u32::from(!told);
    }
    failed == 0
}

/// Runs a copy of this binary, because the original may lie where `nobody` cannot reach it.
fn run_as_nobody(words: &[String]) -> bool {
    let dir = tempfile::Builder::new().prefix("airstrip-nobody-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = dir.path().join("native");
    std::fs::copy("/proc/self/exe", &copy).unwrap();
    let delegated = Delegated::new();
    let mut command = delegated.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(words).current_dir("/");
    command.envs(outside::environment());
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("skipped: every story as an ordinary user: setpriv: {error}");
            true
        }
    }
}
