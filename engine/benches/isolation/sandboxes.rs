//! Sandboxes of the native engine, with this binary as their program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use engine::native::Native;
use engine::{Command, Engine, InstanceId, Limits, Mount, MountKind, Spec};

/// Where the program is shown inside.
pub(crate) const PROGRAM: &str = "/bench";

/// An engine whose sandboxes begin in an empty directory.
pub(crate) struct Sandboxes {
    pub(crate) engine: Native,
    dir: tempfile::TempDir,
}

impl Sandboxes {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("airstrip-bench-").tempdir().unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        // The original may lie where other users cannot reach it.
        fs::copy("/proc/self/exe", dir.path().join("bench")).unwrap();
        Self { engine: Native::new(dir.path().join("run")).unwrap(), dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// This binary, for a process without a sandbox.
    pub(crate) fn program(&self) -> PathBuf {
        self.path("bench")
    }

    /// What runs `argv`, with the limits that an app has unless others are set.
    pub(crate) fn spec(&self, argv: &[&str]) -> Spec {
        Spec {
            hostname: "bench".to_owned(),
            host_uid: 210_009,
            mounts: vec![Mount { source: self.program(), target: PROGRAM.into(), kind: MountKind::ReadOnly }],
            symlinks: Vec::new(),
            command: command(argv),
            log: None,
            limits: Limits { memory: Some(512 << 20), pids: Some(512), ..Limits::default() },
            egress: engine::Egress::default(),
            egress_exceptions: Vec::new(),
            internal: None,
        }
    }

    pub(crate) async fn launch(&self, name: &str, argv: &[&str]) -> InstanceId {
        let id = InstanceId::new(name).unwrap();
        self.engine.launch(&id, &self.spec(argv), "").await.unwrap();
        id
    }

    pub(crate) async fn end(&self, id: &InstanceId) {
        self.engine.stop(id, Duration::ZERO).await.unwrap();
        self.engine.remove(id).await.unwrap();
    }
}

pub(crate) fn command(argv: &[&str]) -> Command {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    Command { argv, env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())], cwd: "/".into() }
}
