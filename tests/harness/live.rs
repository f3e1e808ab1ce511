//! A program while it runs, line by line.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::reply::{Reply, described, wait};

/// A running program and what it has said so far, on both outputs. Killed, with its children, when dropped.
pub struct Live {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    what: String,
}

impl Live {
    /// Starts `command` in a process group of its own.
    pub fn start(command: &mut Command) -> Self {
        use std::os::unix::process::CommandExt;
        let what = described(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let (sender, lines) = channel();
        pass_on(child.stdout.take().unwrap(), sender.clone());
        pass_on(child.stderr.take().unwrap(), sender);
        Self { child, lines, said: Vec::new(), what }
    }

    /// Waits until a line contains `text`, and gives the line.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> String {
        let end = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("{text:?} did not appear: {self:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended before {text:?} appeared: {self:?}"),
            }
            if let Some(line) = self.said.last().filter(|line| line.contains(text)) {
                return line.clone();
            }
        }
    }

    /// Whether a line with `text` has been shown by now.
    pub fn has_shown(&mut self, text: &str) -> bool {
        self.said.extend(self.lines.try_iter());
        self.said.iter().any(|line| line.contains(text))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What Ctrl-C does at a terminal: SIGINT to it and its children.
    pub fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    /// What a terminal does: a signal to it and its children.
    pub fn signal(&self, signal: Signal) {
        killpg(self.group(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn finish(mut self, limit: Duration) -> Reply {
        let status = wait(&mut self.child, &self.what, limit);
        self.said.extend(self.lines.iter());
        Reply::new(status, Vec::new(), self.said.join("\n").into_bytes(), self.what.clone())
    }

    fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` said\n{}", self.what, self.said.join("\n"))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.runs() {
            let _gone = killpg(self.group(), Signal::SIGKILL);
            let _reaped = self.child.wait();
        }
    }
}

fn pass_on(pipe: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send(text).is_err() {
                return;
            }
        }
    });
}
