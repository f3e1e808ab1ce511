//! The app without a platform: a virtualenv made by hand, and the Procfile's command.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{Live, PATIENCE};
use crate::request::{first_answer, free_address};
use crate::times::timed;
use crate::tools::{Python, Uv};

/// `examples/hello` with its packages.
pub struct ByHand {
    directory: TempDir,
    /// Of the web process.
    line: String,
    concurrency: String,
}

impl ByHand {
    /// With the same number of workers.
    pub fn install(python: &Python, uv: &Uv, concurrency: String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let procfile = fs::read_to_string(hello().join("Procfile")).unwrap();
        let line = procfile.trim().strip_prefix("web: ").unwrap().to_owned();
        let hand = Self { directory, line, concurrency };
        fs::create_dir_all(hand.path("home/data")).unwrap();
        fs::create_dir(hand.path("code")).unwrap();
        fs::copy(hello().join("app.py"), hand.path("code/app.py")).unwrap();
        let cache = hand.path("cache");
        timed(uv.command(&["venv", "--python"], &cache).arg(&python.executable).arg(hand.path("env")));
        let mut install = uv.command(&["pip", "install", "--python"], &cache);
        timed(install.arg(hand.path("env/bin/python")).arg("-r").arg(hello().join("requirements.txt")));
        // Python compiles what it imports once; only later starts are comparable.
        hand.start();
        hand
    }

    /// From nothing to the first answer.
    pub fn start(&self) -> Duration {
        let address = free_address();
        let mut command = self.command(address.port());
        let begin = Instant::now();
        let app = Live::start(&mut command);
        first_answer(address);
        let took = begin.elapsed();
        app.interrupt();
        app.finish(PATIENCE);
        took
    }

    fn command(&self, port: u16) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &self.line]).current_dir(self.path("code")).env_clear();
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", self.path("env/bin").display()));
        command.env("HOME", self.path("home")).env("LANG", "C.UTF-8").env("PYTHONUNBUFFERED", "1");
        command.env("PORT", port.to_string()).env("WEB_CONCURRENCY", &self.concurrency);
        command
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }
}

fn hello() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/hello")
}
