//! A user's side of a command that talks in lines of text.

use std::convert::Infallible;
use std::future::Future;
use std::io;

use gitd::{Channel, Ended, Output};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Result};
use crate::pump::pump;

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Ctrl-C as a terminal sends it.
const INTERRUPT: u8 = 3;

/// Text for a user, who may have a terminal or have gone away.
pub struct Console {
    channel: Channel,
}

impl Console {
    /// Takes a channel for text.
    pub fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// An output for an operation, to be given to [`Console::during`] or [`Console::hand_over`].
    pub fn output(&self) -> (Output, mpsc::Receiver<Vec<u8>>) {
        Output::new(self.channel.hangup.clone())
    }

    /// The client's terminal and variables.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Whether colours are seen and wished.
    pub(super) fn colours(&self) -> bool {
        let refused = self.channel.env.iter().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
        self.channel.terminal.is_some() && !refused
    }

    /// Writes text with its line ends.
    pub(super) async fn print(&mut self, text: &str) {
        send(&mut self.channel.stdout, text.as_bytes(), self.channel.terminal.is_some()).await;
    }

    /// Writes bytes as they come, which are nothing for a terminal.
    pub(super) async fn stream(&mut self, mut pieces: mpsc::Receiver<io::Result<Vec<u8>>>) -> Result<()> {
        let hangup = self.channel.hangup.clone();
        while let Some(Some(piece)) = hangup.run_until_cancelled(pieces.recv()).await {
            let bytes = piece.map_err(|e| Failure::io("writing the archive", &e))?;
            let sent = hangup.run_until_cancelled(self.channel.stdout.write_all(&bytes)).await;
            if !matches!(sent, Some(Ok(()))) {
                break;
            }
        }
        let _gone = self.channel.stdout.flush().await;
        Ok(())
    }

    /// Refuses a client whose standard output is a terminal.
    pub(super) fn check_no_terminal(&self) -> Result<()> {
        match self.channel.terminal {
            None => Ok(()),
            Some(_) => {
                Err(Failure::new("a tar is nothing for a terminal", "leave out the -t of ssh, and redirect with >"))
            }
        }
    }

    /// Runs an operation and shows what it writes, as it writes it.
    pub(super) async fn during<T>(&mut self, text: mpsc::Receiver<Vec<u8>>, operation: impl Future<Output = T>) -> T {
        show_during(text, &mut self.channel.stdout, self.channel.terminal.is_some(), operation).await
    }

    /// Starts a process and gives the channel over to it. What is said meanwhile goes to standard error.
    pub async fn hand_over(
        mut self,
        notices: mpsc::Receiver<Vec<u8>>,
        start: impl Future<Output = Result<engine::Process>>,
    ) -> Ended {
        let terminal = self.channel.terminal.is_some();
        match show_during(notices, &mut self.channel.stderr, terminal, start).await {
            Ok(process) => pump(process, self.channel).await,
            Err(failure) => self.end(Err(failure)).await,
        }
    }

    /// What stands on standard input, for commands that read it.
    pub(super) fn take_stdin(&mut self) -> Result<Reader> {
        if self.channel.terminal.is_some() {
            return Err(Failure::new(
                "standard input is a terminal here",
                "leave out the -t of ssh, and give the input with < or |",
            ));
        }
        Ok(std::mem::replace(&mut self.channel.stdin, Box::new(tokio::io::empty())))
    }

    /// All of standard input, as text.
    pub(super) async fn read_stdin(&mut self, limit: u64) -> Result<String> {
        let (mut bytes, hangup) = (Vec::new(), self.channel.hangup.clone());
        let mut stdin = self.take_stdin()?.take(limit + 1);
        let read = hangup.run_until_cancelled(stdin.read_to_end(&mut bytes)).await;
        let read = read.ok_or_else(|| Failure::plain("cancelled"))?;
        read.map_err(|e| Failure::io("reading standard input", &e))?;
        if bytes.len() as u64 > limit {
            return Err(Failure::plain(format!("standard input is longer than {limit} bytes")));
        }
        String::from_utf8(bytes).map_err(|_| Failure::plain("standard input is not UTF-8 text"))
    }

    /// Ends with status 0, or with the failure and status 1.
    pub async fn end(self, result: Result<()>) -> Ended {
        match result {
            Ok(()) => Ended::Status(0),
            Err(failure) => self.fail(&failure, 1).await,
        }
    }

    /// Ends with what is wrong with the command line, and status 2.
    pub async fn refuse(self, usage: &Failure) -> Ended {
        self.fail(usage, 2).await
    }

    async fn fail(mut self, failure: &Failure, status: u32) -> Ended {
        let text: String = failure.lines().map(|line| line + "\n").collect();
        send(&mut self.channel.stderr, text.as_bytes(), self.channel.terminal.is_some()).await;
        Ended::Status(status)
    }
}

/// Lets Ctrl-C at a client's terminal cancel a command (the client sends it as a character) and reads everything else away.
pub(super) fn keyboard(channel: &mut Channel) -> impl Future<Output = Infallible> + Send + use<> {
    // A token of its own: the transport's must not be cancelled from here.
    let interrupted = channel.hangup.child_token();
    channel.hangup = interrupted.clone();
    let keys = channel.terminal.is_some().then(|| std::mem::replace(&mut channel.stdin, Box::new(tokio::io::empty())));
    async move {
        if let Some(mut keys) = keys {
            let mut buffer = [0; 256];
            while let Ok(count @ 1..) = keys.read(&mut buffer).await {
                if buffer.iter().take(count).any(|key| *key == INTERRUPT) {
                    interrupted.cancel();
                }
            }
        }
        std::future::pending().await
    }
}

/// Both go on at the same time: a slow reader slows the operation down, it does not stop it from noticing a hang-up.
async fn show_during<T>(
    mut text: mpsc::Receiver<Vec<u8>>,
    to: &mut Writer,
    terminal: bool,
    operation: impl Future<Output = T>,
) -> T {
    let finished = CancellationToken::new();
    let show = async {
        while let Some(Some(bytes)) = finished.run_until_cancelled(text.recv()).await {
            send(to, &bytes, terminal).await;
        }
        // Whoever still holds the output has nothing to say any more; what was said before is shown.
        text.close();
        while let Some(bytes) = text.recv().await {
            send(to, &bytes, terminal).await;
        }
    };
    let work = async {
        let result = operation.await;
        finished.cancel();
        result
    };
    tokio::join!(work, show).0
}

/// Text for a client who has gone is dropped. A client with a terminal has switched its own line ends off.
async fn send(to: &mut Writer, text: &[u8], terminal: bool) {
    let ends: &[u8] = if terminal { b"\r\n" } else { b"\n" };
    let mut bytes = Vec::with_capacity(text.len() + 16);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(whole) => bytes.extend([whole, ends].concat()),
            None => bytes.extend(line),
        }
    }
    let _gone = to.write_all(&bytes).await;
    let _gone = to.flush().await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{duplex, empty, sink};

    use super::*;

    fn channel(terminal: bool) -> (Channel, tokio::io::DuplexStream, tokio::io::DuplexStream) {
        let ((input, stdin), (stdout, shown)) = (duplex(64), duplex(1024));
        let size = gitd::WindowSize { columns: 80, rows: 24 };
        let terminal =
            terminal.then(|| gitd::Terminal { term: "xterm".into(), size: tokio::sync::watch::channel(size).1 });
        let channel = Channel {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(sink()),
            terminal,
            env: Vec::new(),
            signals: mpsc::channel(1).1,
            hangup: CancellationToken::new(),
        };
        (channel, input, shown)
    }

    async fn all(mut shown: tokio::io::DuplexStream) -> String {
        let mut text = String::new();
        shown.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn output_is_shown_even_if_somebody_keeps_its_sender() {
        let (channel, _input, shown) = channel(false);
        let mut console = Console::new(channel);
        let (output, text) = console.output();
        let kept = output.clone();
        let result = console.during(text, async {
            output.line("one").await;
            output.line("two").await;
            7
        });
        assert_eq!(result.await, 7);
        drop(kept);
        assert_eq!(console.end(Ok(())).await, Ended::Status(0));
        assert_eq!(all(shown).await, "one\ntwo\n");
    }

    #[tokio::test]
    async fn a_terminal_gets_its_line_ends_and_its_ctrl_c_cancels() {
        let (mut channel, mut input, shown) = channel(true);
        let transport = channel.hangup.clone();
        let keyboard = keyboard(&mut channel);
        let mut console = Console::new(channel);
        let (output, text) = console.output();
        let work = console.during(text, async {
            output.write(b"a\nb").await;
            output.cancelled().cancelled().await;
        });
        input.write_all(b"xy\x03").await.unwrap();
        tokio::select! {
            () = work => {}
            never = keyboard => match never {},
        }
        assert!(!transport.is_cancelled());
        assert!(console.take_stdin().is_err());
        drop(console);
        assert_eq!(all(shown).await, "a\r\nb");
    }

    #[tokio::test]
    async fn standard_input_is_bounded() {
        let (mut channel, _input, _shown) = channel(false);
        channel.stdin = Box::new(std::io::Cursor::new("12345"));
        assert_eq!(Console::new(channel).read_stdin(5).await.unwrap(), "12345");
        let (mut channel, _input, _shown) = self::channel(false);
        channel.stdin = Box::new(std::io::Cursor::new("123456"));
        assert!(Console::new(channel).read_stdin(5).await.is_err());
    }

    #[tokio::test]
    async fn failures_have_their_status() {
        let (channel, _input, _shown) = channel(false);
        assert_eq!(Console::new(channel).end(Err(Failure::plain("x"))).await, Ended::Status(1));
        let (mut channel, _input, _shown) = self::channel(false);
        let (stderr, shown) = duplex(1024);
        channel.stderr = Box::new(stderr);
        channel.stdin = Box::new(empty());
        assert_eq!(Console::new(channel).refuse(&Failure::new("wrong", "right")).await, Ended::Status(2));
        assert_eq!(all(shown).await, " !     wrong\n !     right\n");
    }
}
