//! What a command or a shell gets of an SSH channel: three streams, perhaps a terminal, and news of hang-ups.
//! Plain types: whoever embeds this crate can make a [`Channel`] of its own from any other transport.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// One command's or shell's side of a channel.
pub struct Channel {
    /// From the client.
    pub stdin: Box<dyn AsyncRead + Send + Unpin>,
    /// To the client.
    pub stdout: Box<dyn AsyncWrite + Send + Unpin>,
    /// To the client (the same as `stdout` for it, if there is a terminal).
    pub stderr: Box<dyn AsyncWrite + Send + Unpin>,
    /// The client's terminal, if it asked for one.
    pub terminal: Option<Terminal>,
    /// Variables the client sent (`SendEnv`), only `LANG`, `LC_*`, `TERM`, `COLORTERM` and `NO_COLOR`.
    pub env: Vec<(String, String)>,
    /// Signals the client sent, by number as on Linux.
    pub signals: mpsc::Receiver<i32>,
    /// Cancelled when the client has gone or closed the channel.
    pub hangup: CancellationToken,
}

/// The client's terminal.
#[derive(Debug, Clone)]
pub struct Terminal {
    /// `TERM`.
    pub term: String,
    /// Its size, now and whenever it changes.
    pub size: watch::Receiver<WindowSize>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// How a command ended, as told to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Exit status.
    Status(u32),
    /// Killed by this signal (number as on Linux).
    Signal(i32),
}

/// Text on its way to a pusher (side-band 2). Cheap to clone. Bounded: a slow pusher slows the writer.
#[derive(Debug, Clone)]
pub struct Output {
    sender: mpsc::Sender<Vec<u8>>,
    cancelled: CancellationToken,
}

impl Output {
    /// An output whose text arrives at the receiver, in order. `cancelled` is the pusher's Ctrl-C.
    pub fn new(cancelled: CancellationToken) -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (sender, receiver) = mpsc::channel(64);
        (Self { sender, cancelled }, receiver)
    }

    /// The same, for work that can be cancelled by itself, too: by this token, a child of the pusher's.
    #[must_use]
    pub fn with_own_token(&self) -> Self {
        Self { sender: self.sender.clone(), cancelled: self.cancelled.child_token() }
    }

    /// Sends bytes as they are. Text for a pusher who has gone is dropped.
    pub async fn write(&self, bytes: &[u8]) {
        let _gone = self.sender.send(bytes.to_vec()).await;
    }

    /// Sends one line; the line end is added.
    pub async fn line(&self, text: &str) {
        self.write(format!("{text}\n").as_bytes()).await;
    }

    /// Cancelled when the pusher went away.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }
}
