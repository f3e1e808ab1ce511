//! A program whose streams are in the caller's hands.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{EngineError, WindowSize};

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
    /// It needed more memory than its limit, in bytes, and was killed with everything it had started.
    OutOfMemory(u64),
    /// Its end was not witnessed: the machine rebooted, or its shim was killed.
    Lost,
}

impl Exit {
    /// True for status 0.
    pub fn success(self) -> bool {
        self == Self::Status(0)
    }

    /// The status a shell would report: 128 + N for signal N, 255 if lost.
    pub fn code(self) -> i32 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => 128 + signal,
            Self::OutOfMemory(_) => 128 + libc::SIGKILL,
            Self::Lost => 255,
        }
    }
}

impl fmt::Display for Exit {
    /// "exited with status 3", "was killed by signal 9 (SIGKILL)", "ran out of memory (limit 512 MiB)", "ended unseen".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "was killed by signal {number} ({signal})"),
                Err(_) => write!(f, "was killed by signal {number}"),
            },
            Self::OutOfMemory(limit) => write!(f, "ran out of memory (limit {} MiB)", limit >> 20),
            Self::Lost => write!(f, "ended unseen"),
        }
    }
}

/// The streams of a program.
pub enum Streams {
    /// No terminal: three pipes, 8-bit clean.
    Pipes {
        /// To the program. Drop it to close.
        stdin: Box<dyn AsyncWrite + Send + Unpin>,
        /// From the program.
        stdout: Box<dyn AsyncRead + Send + Unpin>,
        /// From the program.
        stderr: Box<dyn AsyncRead + Send + Unpin>,
    },
    /// A terminal made inside the sandbox; this is its master side. Reading ends when the last holder inside closes it.
    Terminal {
        /// To the program.
        input: Box<dyn AsyncWrite + Send + Unpin>,
        /// From the program.
        output: Box<dyn AsyncRead + Send + Unpin>,
    },
}

/// What an engine does for a [`Process`].
#[async_trait::async_trait]
pub trait Control: Send + Sync {
    /// Sends a signal to the program's process group (its foreground group if it has a terminal).
    fn signal(&self, signal: i32) -> Result<(), EngineError>;
    /// Tells the terminal its new size; without a terminal it does nothing.
    fn resize(&self, size: WindowSize) -> Result<(), EngineError>;
    /// Kills the program and, if it is a one-off's, everything else in the sandbox.
    fn kill(&self) -> Result<(), EngineError>;
    /// Whether the kernel has refused it a process because of its limit. Known once it has ended, of one-offs whose
    /// processes a control group counts.
    fn was_refused_processes(&self) -> bool;
    /// Waits for the end.
    async fn wait(&self) -> Result<Exit, EngineError>;
}

/// A running one-off or exec. Dropping it kills the program and everything it started.
pub struct Process {
    /// Taken by the caller, once.
    pub streams: Option<Streams>,
    /// The handle by which the engine steers it.
    pub control: Box<dyn Control>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}
