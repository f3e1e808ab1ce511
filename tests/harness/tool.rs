//! Programs that the stories need and a machine may lack, had from the package index once and kept beside the build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::reply::run;

const LIMIT: Duration = Duration::from_secs(300);

/// What has been looked for; nothing is looked for, or installed, twice.
static KNOWN: Mutex<BTreeMap<&str, Option<PathBuf>>> = Mutex::new(BTreeMap::new());

/// `program`: the machine's, or else that of the python package `package`; None if neither can be had.
pub fn tool(program: &'static str, package: &str) -> Option<PathBuf> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(program).or_insert_with(|| find(program).or_else(|| install(program, package))).clone()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|program| runs(program))
}

fn install(program: &str, package: &str) -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
    let own = venv.join("bin").join(program);
    let there = || runs(&own);
    let environment =
        || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv), b"", LIMIT).status == 0;
    let program = || run(Command::new(venv.join("bin/pip")).args(["install", "-q", package]), b"", LIMIT).status == 0;
    (there() || environment() && program() && there()).then_some(own)
}

fn runs(program: &Path) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
