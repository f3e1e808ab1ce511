//! Runs the cases of a suite: as the user who asks and, if that is root, once more as an ordinary user.
//!
//! Words on the command line choose the cases whose name contains one of them; an engine's name among them chooses the
//! engine.

use std::process::ExitCode;
use std::time::Instant;

use crate::nobody::{Copy, Delegated};
use crate::outside;
use crate::world::{Case, Kind, World, root};

pub(crate) type Cases = Vec<(&'static str, Case)>;

pub(crate) fn words() -> Vec<String> {
    std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect()
}

/// Tries the cases on every one of `kinds`.
pub(crate) fn run(kinds: &[Kind], cases: fn(Kind) -> Cases, words: &[String]) -> ExitCode {
    let (names, words): (Vec<_>, Vec<_>) =
        words.iter().cloned().partition(|word| kinds.iter().any(|kind| word == kind.name()));
    let chosen = |kind: &Kind| names.is_empty() || names.iter().any(|name| name == kind.name());
    let kinds: Vec<Kind> = kinds.iter().copied().filter(chosen).collect();
    let mut good = true;
    for kind in &kinds {
        good &= run_cases(*kind, cases(*kind), &words);
    }
    if root() && kinds.contains(&Kind::Native) {
        good &= run_as_nobody(&words);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_cases(kind: Kind, cases: Cases, words: &[String]) -> bool {
    let name = kind.name();
    let user = if root() { "root" } else { "an ordinary user" };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut failed = 0;
    for (case, run) in cases {
        if !words.is_empty() && !words.iter().any(|word| case.contains(word.as_str())) {
            continue;
        }
        let world = match runtime.block_on(World::new(kind)) {
            Ok(world) => world,
            Err(reason) => {
                println!("skipped: {name} as {user}: {reason}");
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

fn run_as_nobody(words: &[String]) -> bool {
    let (copy, delegated) = (Copy::new(), Delegated::new());
    let mut command = delegated.command("setpriv");
    command.args(copy.arguments()).arg(Kind::Native.name()).args(words).current_dir("/");
    command.envs(outside::environment());
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("skipped: native as an ordinary user: setpriv: {error}");
            true
        }
    }
}
