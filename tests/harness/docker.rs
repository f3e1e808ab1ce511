//! A Docker engine of a story's own, which may be ended without harm to anybody.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use super::reply::wait;
use super::skipped::skipped;
use super::waiting::{PATIENCE, wait_until};

/// Containers go on without the engine.
const KEEPING: &[&str] = &["--live-restore"];

/// A `dockerd` without a network of its own, whose containers outlast it. Ended when dropped.
pub struct DockerEngine {
    base: TempDir,
    program: PathBuf,
    daemon: Option<Child>,
}

impl DockerEngine {
    /// None, with the reason printed, where there can be none.
    pub fn start() -> Option<Self> {
        if !geteuid().is_root() {
            skipped("only root can start a Docker engine");
            return None;
        }
        let places = ["/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd"].map(PathBuf::from);
        let Some(program) = places.into_iter().find(|place| place.exists()) else {
            skipped("there is no dockerd on this machine");
            return None;
        };
        let base = tempfile::Builder::new().prefix("ad-").tempdir().unwrap();
        let mut engine = Self { base, program, daemon: None };
        if engine.try_start(KEEPING) {
            return Some(engine);
        }
        let log = std::fs::read_to_string(engine.path("log")).unwrap_or_default();
        skipped(&format!("dockerd does not start here: {}", log.lines().last().unwrap_or_default()));
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// For `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        assert!(self.try_start(KEEPING), "dockerd does not start again");
    }

    fn try_start(&mut self, options: &[&str]) -> bool {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let option = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let mut command = Command::new(&self.program);
        command.args([option("data-root", &self.path("data")), option("exec-root", &self.path("exec"))]);
        command.args([option("pidfile", &self.path("pid")), format!("--host={}", self.host())]);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.args(["--ip-forward=false", "--ip-masq=false"]).args(options).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(log);
        let mut daemon = command.spawn().unwrap();
        let mut ended = false;
        wait_until("dockerd answers", PATIENCE, || {
            ended = daemon.try_wait().unwrap().is_some();
            ended || UnixStream::connect(self.path("socket")).is_ok()
        });
        self.daemon = (!ended).then_some(daemon);
        !ended
    }

    /// Ends it, not what runs in it.
    pub fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        kill(Pid::from_raw(i32::try_from(daemon.id()).unwrap()), Signal::SIGTERM).unwrap();
        wait(&mut daemon, "dockerd", PATIENCE);
    }
}

impl Drop for DockerEngine {
    /// What a failed story has left running is ended by the engine itself: one that does not keep its containers.
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() && self.try_start(&[]) {
            self.stop();
        }
        // It mounts its directory over itself, at each start, and does not always undo it.
        while umount2(&self.path("data"), MntFlags::MNT_DETACH).is_ok() {}
    }
}
