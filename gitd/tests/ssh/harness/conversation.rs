//! Processes with which a test talks while they run.

use std::process::Stdio;

use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::PATIENCE;

/// A process that a test reads and writes line by line.
pub(crate) struct Conversation {
    pub(crate) process: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

type Lines = tokio::io::Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>;

impl Conversation {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(process.stdout.take().unwrap());
        let stderr = lines(process.stderr.take().unwrap());
        Self { process, stdout, stderr }
    }

    /// Reads standard error up to a line with this text.
    pub(crate) async fn stderr_until(&mut self, text: &str) {
        until(&mut self.stderr, text).await;
    }

    /// Reads standard output up to a line with this text.
    pub(crate) async fn stdout_until(&mut self, text: &str) -> String {
        until(&mut self.stdout, text).await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let stdin = self.process.stdin.as_mut().unwrap();
        timeout(PATIENCE, stdin.write_all(bytes)).await.unwrap().unwrap();
    }

    /// Waits for the end; whether it was a success.
    pub(crate) async fn succeeds(&mut self) -> bool {
        timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap().success()
    }

    /// It has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// As a terminal does for Ctrl-C: to the whole process group.
    pub(crate) fn interrupt(&self) {
        let group = Pid::from_raw(i32::try_from(self.process.id().unwrap()).unwrap());
        nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGINT).unwrap();
    }
}

fn lines(stream: impl AsyncRead + Send + Unpin + 'static) -> Lines {
    BufReader::new(Box::new(stream) as Box<dyn AsyncRead + Send + Unpin>).lines()
}

async fn until(lines: &mut Lines, text: &str) -> String {
    let mut seen = Vec::new();
    loop {
        let Some(line) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() else {
            panic!("no line with {text:?} in {seen:?}")
        };
        if line.contains(text) {
            return line;
        }
        seen.push(line);
    }
}
