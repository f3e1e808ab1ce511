//! A small Python server, from its start to its first answer: in a sandbox, and without one.
//!
//! `engine/benches/isolation.rs` looks closer: at a program of no weight, and at joining a sandbox.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use engine::native::Native;
use engine::{Engine, InstanceId, Mount, MountKind, Spec};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::harness::{Live, PATIENCE};
use crate::measured::{Measured, Target};
use crate::request::{GLANCE, ask, first_answer, free_address};
use crate::times::Times;
use crate::tools::Python;

const ROUNDS: usize = 30;
/// Of the server inside.
const PORT: u16 = 5000;

const SERVER: &str = r#"
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    visitor, _ = server.accept()
    visitor.recv(4096)
    visitor.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    visitor.close()
"#;

/// Both kinds of start take turns.
pub fn measure(python: &Python) -> Measured {
    let sandboxes = Sandboxes::new();
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        inside.push(sandboxes.start(python, round));
        outside.push(unsandboxed(python));
    }
    let (inside, outside) = (Times::new(inside), Times::new(outside));
    println!("start in a sandbox: {inside}\nstart without: {outside}");
    Measured {
        what: "start of a Python server in a sandbox, until it answers",
        figure: inside.median(),
        unit: "ms",
        peer: Some(("without a sandbox", outside.median())),
        target: Target::Beyond(12.0),
    }
}

fn unsandboxed(python: &Python) -> Duration {
    let address = free_address();
    let argv = argv(python, address.port());
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env_clear();
    let begin = Instant::now();
    let _killed = Live::start(&mut command);
    first_answer(address);
    begin.elapsed()
}

fn argv(python: &Python, port: u16) -> Vec<String> {
    let program = python.executable.to_string_lossy();
    [program.as_ref(), "-I", "-S", "-c", SERVER, &port.to_string()].map(str::to_owned).to_vec()
}

struct Sandboxes {
    engine: Native,
    runtime: Runtime,
    _directory: TempDir,
}

impl Sandboxes {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let engine = Native::new(directory.path().join("run")).unwrap();
        Self { engine, runtime: Runtime::new().unwrap(), _directory: directory }
    }

    fn start(&self, python: &Python, round: usize) -> Duration {
        let id = InstanceId::new(format!("bench.{round}")).unwrap();
        let spec = spec(python);
        let begin = Instant::now();
        self.runtime.block_on(self.engine.launch(&id, &spec, "")).unwrap();
        self.first_answer(&id);
        let took = begin.elapsed();
        self.runtime.block_on(self.engine.stop(&id, PATIENCE)).unwrap();
        self.runtime.block_on(self.engine.remove(&id)).unwrap();
        took
    }

    /// Asks as `request::first_answer` does, by the engine's way in.
    fn first_answer(&self, id: &InstanceId) {
        let begin = Instant::now();
        let get = || {
            let stream = self.runtime.block_on(self.engine.connect(id, PORT))?.into_std()?;
            stream.set_nonblocking(false)?;
            ask(stream, "localhost")
        };
        while let Err(error) = get() {
            assert!(begin.elapsed() < PATIENCE, "nothing answers inside: {error}");
            std::thread::sleep(GLANCE);
        }
    }
}

fn spec(python: &Python) -> Spec {
    let command = engine::Command { argv: argv(python, PORT), env: Vec::new(), cwd: "/".into() };
    Spec {
        hostname: "bench".to_owned(),
        host_uid: 210_000,
        mounts: shown(&python.prefix).into_iter().collect(),
        symlinks: Vec::new(),
        command,
        log: None,
        limits: engine::Limits { memory: Some(512 << 20), pids: Some(512), ..engine::Limits::default() },
        egress: engine::Egress::default(),
        egress_exceptions: Vec::new(),
        internal: None,
    }
}

/// An interpreter that is not part of the base system.
fn shown(prefix: &Path) -> Option<Mount> {
    let mount = || Mount { source: prefix.to_owned(), target: prefix.to_owned(), kind: MountKind::ReadOnly };
    (!prefix.starts_with("/usr")).then(mount)
}
