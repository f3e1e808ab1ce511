//! From the call until the program runs and has said so: an instance, and the same program without a sandbox.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use engine::{Engine, InstanceId, Mount, MountKind};
use nix::sys::stat::Mode;

use crate::docker_run::DockerRun;
use crate::machine;
use crate::measured::{Measured, Target};
use crate::program::REPORT;
use crate::sandboxes::{PROGRAM, Sandboxes};
use crate::times::Times;

const ROUNDS: usize = 50;
/// Docker takes its turn in each of so many rounds.
const SELDOM: usize = 10;
/// Where the pipe's directory is shown inside.
pub(crate) const PIPES: &str = "/pipes";
pub(crate) const PIPE: &str = "/pipes/ran";

/// All kinds of start take turns.
pub(crate) async fn measure(sandboxes: &Sandboxes) -> Vec<Measured> {
    let mut pipe = Pipe::new(sandboxes);
    let docker = DockerRun::find(sandboxes).await;
    let (mut inside, mut outside, mut by_docker) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        inside.push(sandboxed(sandboxes, &mut pipe).await);
        outside.push(unsandboxed(sandboxes, &mut pipe));
        if let Some(docker) = docker.as_ref().filter(|_| round % SELDOM == 0) {
            by_docker.push(docker.start(&mut pipe));
        }
    }
    let (inside, outside) = (Times::milliseconds(&inside), Times::milliseconds(&outside));
    println!("start of an instance: {inside}\nstart without a sandbox: {outside}");
    let what = "start of an instance, until its program has run";
    let row = |peer, target| Measured { what, figure: inside.median(), unit: "ms", peer: Some(peer), target };
    let more = if machine::has_groups_v1() { 25.0 } else { 10.0 };
    let mut rows = vec![row(("without a sandbox", outside.median()), Target::Beyond { times: 1.1, more })];
    if !by_docker.is_empty() {
        let by_docker = Times::milliseconds(&by_docker);
        println!("docker run: {by_docker}");
        rows.push(row(("`docker run`", by_docker.median()), Target::None));
    }
    rows
}

/// What the program writes to as soon as it runs. Nobody has to look for it again and again, which would slow it down.
pub(crate) struct Pipe {
    pub(crate) directory: PathBuf,
    end: File,
}

impl Pipe {
    fn new(sandboxes: &Sandboxes) -> Self {
        let directory = sandboxes.path("pipes");
        fs::create_dir(&directory).unwrap();
        let pipe = directory.join("ran");
        nix::unistd::mkfifo(&pipe, Mode::S_IRUSR).unwrap();
        // Whoever runs the program has another user.
        fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
        fs::set_permissions(&pipe, PermissionsExt::from_mode(0o666)).unwrap();
        let end = File::options().read(true).write(true).open(&pipe).unwrap();
        Self { directory, end }
    }

    /// Waits until the program has run.
    pub(crate) fn wait(&mut self) {
        self.end.read_exact(&mut [0]).unwrap();
    }
}

async fn sandboxed(sandboxes: &Sandboxes, pipe: &mut Pipe) -> Duration {
    let id = InstanceId::new("start").unwrap();
    let mut spec = sandboxes.spec(&[PROGRAM, REPORT, PIPE]);
    spec.mounts.push(Mount { source: pipe.directory.clone(), target: PIPES.into(), kind: MountKind::ReadWrite });
    let begin = Instant::now();
    sandboxes.engine.launch(&id, &spec, "").await.unwrap();
    pipe.wait();
    let took = begin.elapsed();
    sandboxes.engine.wait(&id).await.unwrap();
    sandboxes.engine.remove(&id).await.unwrap();
    took
}

fn unsandboxed(sandboxes: &Sandboxes, pipe: &mut Pipe) -> Duration {
    let mut command = Command::new(sandboxes.program());
    command.arg(REPORT).arg(pipe.directory.join("ran")).env_clear().stdin(Stdio::null());
    let begin = Instant::now();
    let mut child = command.spawn().unwrap();
    pipe.wait();
    let took = begin.elapsed();
    assert!(child.wait().unwrap().success(), "{command:?}");
    took
}
