//! The interpreter and the installer that the server uses, for use by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{PATIENCE, Server, run};
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

/// The installer: the machine's own `uv`, else the one that the server fetched at its first build.
pub struct Uv {
    /// As in a server's home. Empty if the machine has one.
    tools: TempDir,
}

impl Uv {
    /// A copy, because the server's goes with the server.
    pub fn of(server: &Server) -> Self {
        let tools = tempfile::tempdir().unwrap();
        copy(&server.home().join("tools"), tools.path());
        Self { tools }
    }

    /// Spares a server the fetching.
    pub fn give(&self, server: &Server) {
        copy(self.tools.path(), &server.home().join("tools"));
    }

    pub fn command(&self, verb: &[&str]) -> Command {
        let fetched = fs::read_dir(self.tools.path()).unwrap().next();
        let program = fetched.map_or_else(|| "uv".into(), |tool| tool.unwrap().path().join("bin/uv"));
        let mut command = Command::new(program);
        command.arg("--quiet").args(verb);
        command
    }
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-Rp").arg(from.join(".")).arg(to), b"", PATIENCE).ok();
}
