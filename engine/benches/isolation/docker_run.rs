//! The same program in a container of the same system, started by Docker's own client.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use engine::docker::Docker;

use crate::program::REPORT;
use crate::sandboxes::{PROGRAM, Sandboxes};
use crate::start::{PIPE, PIPES, Pipe};

/// A Docker engine that answers, its client, and an image.
pub(crate) struct DockerRun {
    image: String,
    program: PathBuf,
}

impl DockerRun {
    /// Has airstrip's engine make its image of this machine's system. `None`, with the reason printed, without an engine.
    pub(crate) async fn find(sandboxes: &Sandboxes) -> Option<Self> {
        match Docker::open(sandboxes.path("docker"), None)
            .await
            .map_err(|error| error.to_string())
            .and_then(|_| image())
        {
            Ok(image) => Some(Self { image, program: sandboxes.program() }),
            Err(reason) => {
                println!("not measured: docker run: {reason}");
                None
            }
        }
    }

    /// With Docker's defaults, and the limits of the instances.
    pub(crate) fn start(&self, pipe: &mut Pipe) -> Duration {
        let program = format!("{}:{PROGRAM}:ro", self.program.display());
        let pipes = format!("{}:{PIPES}", pipe.directory.display());
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--memory", "512m", "--pids-limit", "512", "--user", "1000"]);
        for mount in ["/usr:/usr:ro", "/etc/ld.so.cache:/etc/ld.so.cache:ro", &program, &pipes] {
            command.args(["--volume", mount]);
        }
        command.args([&self.image, PROGRAM, REPORT, PIPE]).stdin(Stdio::null()).stderr(Stdio::null());
        let begin = Instant::now();
        let mut client = command.spawn().unwrap();
        pipe.wait();
        let took = begin.elapsed();
        assert!(client.wait().unwrap().success(), "{command:?}");
        took
    }
}

fn image() -> Result<String, String> {
    let images = Command::new("docker").args(["images", "-q", "airstrip-host"]).output();
    let images = String::from_utf8_lossy(&images.map_err(|error| format!("docker: {error}"))?.stdout).into_owned();
    images.lines().next().map(str::to_owned).ok_or_else(|| "its image is not there".to_owned())
}
