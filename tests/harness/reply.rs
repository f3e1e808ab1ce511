//! A program run to its end.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::waiting::{PATIENCE, eventually};

/// What a program left: its status and all it said.
#[derive(Clone)]
pub struct Reply {
    /// Exit status; 128 and the signal's number if it was killed.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    what: String,
}

/// Runs `command` with `stdin` and waits for its end, at most `limit`.
pub fn run(command: &mut Command, stdin: &[u8], limit: Duration) -> Reply {
    let what = described(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    feed(&mut child, stdin.to_owned());
    let status = wait(&mut child, &what, limit);
    Reply { status: number(status), stdout: collected(&stdout, &what), stderr: collected(&stderr, &what), what }
}

impl Reply {
    pub(super) fn new(status: ExitStatus, stdout: Vec<u8>, stderr: Vec<u8>, what: String) -> Self {
        Self { status: number(status), stdout, stderr, what }
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as one line.
    pub fn line(&self) -> String {
        self.out().trim_end().to_owned()
    }

    /// It ended with 0, or the story fails.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{self}");
        self
    }

    /// It ended with `status` and said every one of `words` on standard error.
    #[track_caller]
    pub fn fails(self, status: i32, words: &[&str]) -> Self {
        assert_eq!(self.status, status, "{self}");
        self.says(words)
    }

    /// It said every one of `words` on standard error.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let said = self.err();
        for word in words {
            assert!(said.contains(word), "it should say {word:?}: {self}");
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, what, .. } = self;
        writeln!(f, "`{what}` ended with {status}\n--- stdout\n{}\n--- stderr\n{}\n---", self.out(), self.err())
    }
}

pub(super) fn described(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Waits for the end of a child; kills it and fails after `limit`.
pub(super) fn wait(child: &mut Child, what: &str, limit: Duration) -> ExitStatus {
    let end = std::time::Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if std::time::Instant::now() > end {
            let _gone = child.kill();
            let _reaped = child.wait();
            panic!("`{what}` did not end in {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn number(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn feed(child: &mut Child, input: Vec<u8>) {
    let mut pipe = child.stdin.take().unwrap();
    // A program may end without reading its input: that is its own affair.
    std::thread::spawn(move || pipe.write_all(&input));
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    let mut pipe = pipe.unwrap();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _rest = pipe.read_to_end(&mut bytes);
        sender.send(bytes)
    });
    receiver
}

fn collected(pipe: &Receiver<Vec<u8>>, what: &str) -> Vec<u8> {
    let still_open = format!("`{what}` has ended, and something still holds its output open");
    eventually(&still_open, PATIENCE, || pipe.try_recv().ok())
}
