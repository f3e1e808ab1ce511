//! A daemon of a case's own, to be killed: this binary, which starts something, says so, and waits.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use engine::{Engine, Process};

use crate::world::{Kind, World, open};

/// The word that makes this binary one.
const HOLDER: &str = "hold";

/// `hold ENGINE DIR WHAT`: has `begin` start WHAT with an engine whose directory is in DIR. `None`: that was not asked.
pub(crate) fn run_if_asked<Begin>(words: &[String], begin: Begin) -> Option<ExitCode>
where
    Begin: AsyncFnOnce(Arc<dyn Engine>, &Path, &str) -> Vec<Process>,
{
    let [HOLDER, kind, dir, what] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] else { return None };
    let (kind, dir) = (Kind::ALL.into_iter().find(|one| one.name() == kind).unwrap(), Path::new(dir));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Some(runtime.block_on(async {
        let engine = open(kind, dir.join("run")).await.unwrap();
        let _held = begin(engine, dir, what).await;
        say();
        std::future::pending().await
    }))
}

/// Tells who started this that it may be killed.
pub(crate) fn say() {
    println!("holding");
}

pub(crate) struct Holder(Child);

impl Holder {
    pub(crate) fn start(world: &World, what: &str) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.args([HOLDER, world.kind.name()]).arg(world.dir.path()).arg(what).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "holding\n");
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// As a crash or the kernel's memory shortage would.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
