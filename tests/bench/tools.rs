//! The interpreter and the installer that the server uses, for use by hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::tool;
use crate::times::timed;

/// The `python3` on `PATH`, itself rather than whatever a version manager puts in front of it.
pub struct Python {
    pub executable: PathBuf,
    pub prefix: PathBuf,
}

const PROBE: &str = "import os, sys
print(os.path.realpath(getattr(sys, '_base_executable', sys.executable)))
print(os.path.realpath(sys.base_prefix))";

impl Python {
    pub fn find() -> Self {
        let (_, output) = timed(Command::new("python3").args(["-I", "-c", PROBE]));
        let said = String::from_utf8(output.stdout).unwrap();
        let mut lines = said.lines().map(PathBuf::from);
        Self { executable: lines.next().unwrap(), prefix: lines.next().unwrap() }
    }
}

/// The installer that the harness puts on the `PATH` of every server: the machine's own, else one from the package index.
pub struct Uv(PathBuf);

impl Uv {
    pub fn find() -> Self {
        Self(tool("uv", "uv").unwrap_or_else(|| panic!("uv can neither be found nor installed")))
    }

    pub fn command(&self, verb: &[&str], cache: &Path) -> Command {
        let mut command = Command::new(&self.0);
        command.arg("--quiet").args(verb).env("UV_CACHE_DIR", cache);
        command
    }
}
