//! The daemon's side of one connection.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gitd::{Channel, Ended, Terminal, WindowSize};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::frame::{self, Frame, Hello};
use super::streams::{Output, Stdin};
use crate::access::Actor;
use crate::commands;
use crate::platform::Platform;

/// How long a client may take to say what it wants, and to take the last output after a hang-up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Frames on their way to the client.
const QUEUE: usize = 16;

/// Carries out the command of one connection.
pub(super) async fn serve(platform: Arc<Platform>, stream: UnixStream) {
    let hangup = platform.shutdown.child_token();
    let run = |words, channel| async move {
        let actor = Actor::local();
        // Boxed: what it needs differs a lot between commands.
        Box::pin(commands::run(&platform, &actor, words, channel)).await
    };
    carry(stream, hangup, run).await;
}

/// Reads what is wanted, has it done, and sends everything that comes of it.
async fn carry<F: Future<Output = Ended>>(
    stream: UnixStream,
    hangup: CancellationToken,
    run: impl FnOnce(Vec<String>, Channel) -> F,
) {
    let (mut from, to) = stream.into_split();
    let Ok(Ok(Some(Frame::Hello(hello)))) = tokio::time::timeout(PATIENCE, frame::read(&mut from)).await else {
        return;
    };
    let (line, words, channel) = Line::new(hello, hangup.clone());
    let work = async {
        let ended = run(words, channel).await;
        let _gone = line.to_client.send(Frame::Ended(ended)).await;
        drop(line.to_client);
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(work, send(to, line.frames, &line.wanted, &hangup)) } => {}
        never = receive(from, line.pieces, line.size, &hangup) => match never {},
    }
}

/// Our ends of what a channel is made of.
struct Line {
    to_client: mpsc::Sender<Frame>,
    frames: mpsc::Receiver<Frame>,
    pieces: mpsc::Sender<Vec<u8>>,
    wanted: Arc<Notify>,
    size: Option<watch::Sender<WindowSize>>,
}

impl Line {
    fn new(hello: Hello, hangup: CancellationToken) -> (Self, Vec<String>, Channel) {
        let (to_client, frames) = mpsc::channel(QUEUE);
        let (pieces, stdin) = mpsc::channel(1);
        let wanted = Arc::new(Notify::new());
        let (size, terminal) = hello
            .terminal
            .map(|terminal| {
                let (sender, size) = watch::channel(WindowSize { columns: terminal.columns, rows: terminal.rows });
                (sender, Terminal { term: terminal.term, size })
            })
            .unzip();
        let channel = Channel {
            stdin: Box::new(Stdin::new(stdin, wanted.clone())),
            stdout: Box::new(Output::new(&to_client, Frame::Stdout)),
            stderr: Box::new(Output::new(&to_client, Frame::Stderr)),
            terminal,
            env: hello.env,
            // A signal for the client ends it, and so hangs up.
            signals: mpsc::channel(1).1,
            hangup,
        };
        (Self { to_client, frames, pieces, wanted, size }, hello.words, channel)
    }
}

/// Sends until the command has ended. Gives up when the client is gone, or has stopped reading and hung up.
async fn send(mut to: OwnedWriteHalf, mut frames: mpsc::Receiver<Frame>, wanted: &Notify, hangup: &CancellationToken) {
    let sending = async {
        loop {
            let frame = tokio::select! {
                biased;
                frame = frames.recv() => frame,
                () = wanted.notified() => Some(Frame::Want),
            };
            let Some(frame) = frame else { return };
            if frame::write(&mut to, &frame).await.is_err() {
                return;
            }
        }
    };
    let too_late = async {
        hangup.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        () = sending => {}
        () = too_late => {}
    }
}

/// Takes what the client sends until it goes away, which hangs up.
async fn receive(
    mut from: OwnedReadHalf,
    pieces: mpsc::Sender<Vec<u8>>,
    size: Option<watch::Sender<WindowSize>>,
    hangup: &CancellationToken,
) -> Infallible {
    while let Ok(Some(frame)) = frame::read(&mut from).await {
        let understood = match frame {
            // A piece that was not asked for finds no room. If nobody reads any more, that is no fault of the client's.
            Frame::Stdin(piece) => !matches!(pieces.try_send(piece), Err(mpsc::error::TrySendError::Full(_))),
            Frame::Resize(new) => size.as_ref().is_some_and(|size| size.send(new).is_ok()) || size.is_some(),
            _ => false,
        };
        if !understood {
            break;
        }
    }
    hangup.cancel();
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::frame::HelloTerminal;
    use super::*;

    async fn say(stream: &mut UnixStream, words: &[&str], terminal: Option<HelloTerminal>) {
        let words = words.iter().map(ToString::to_string).collect();
        frame::write(stream, &Frame::Hello(Hello { words, env: Vec::new(), terminal })).await.unwrap();
    }

    /// Holds the whole channel, as a command does.
    async fn wait_for_hangup(channel: Channel) {
        channel.hangup.cancelled().await;
    }

    async fn next(stream: &mut UnixStream) -> Option<Frame> {
        tokio::time::timeout(Duration::from_secs(10), frame::read(stream)).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn input_is_taken_only_when_it_is_read() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let serving = tokio::spawn(carry(server, CancellationToken::new(), |words, mut channel| async move {
            channel.stdout.write_all(words.join(" ").as_bytes()).await.unwrap();
            channel.stderr.write_all(b"reading").await.unwrap();
            let mut text = String::new();
            channel.stdin.read_to_string(&mut text).await.unwrap();
            channel.stdout.write_all(text.to_uppercase().as_bytes()).await.unwrap();
            Ended::Status(7)
        }));
        say(&mut client, &["two words", "three"], None).await;
        assert_eq!(next(&mut client).await, Some(Frame::Stdout(b"two words three".to_vec())));
        assert_eq!(next(&mut client).await, Some(Frame::Stderr(b"reading".to_vec())));
        for piece in ["abc", "def", ""] {
            assert_eq!(next(&mut client).await, Some(Frame::Want));
            frame::write(&mut client, &Frame::Stdin(piece.into())).await.unwrap();
        }
        assert_eq!(next(&mut client).await, Some(Frame::Stdout(b"ABCDEF".to_vec())));
        assert_eq!(next(&mut client).await, Some(Frame::Ended(Ended::Status(7))));
        assert_eq!(next(&mut client).await, None);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn input_goes_on_when_the_output_is_closed() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let serving = tokio::spawn(carry(server, CancellationToken::new(), |_, channel| async move {
            let Channel { mut stdin, stdout, stderr, .. } = channel;
            drop((stdout, stderr));
            let mut text = String::new();
            stdin.read_to_string(&mut text).await.unwrap();
            Ended::Status(u32::from(text == "late"))
        }));
        say(&mut client, &["run"], None).await;
        for piece in ["late", ""] {
            assert_eq!(next(&mut client).await, Some(Frame::Want));
            frame::write(&mut client, &Frame::Stdin(piece.into())).await.unwrap();
        }
        assert_eq!(next(&mut client).await, Some(Frame::Ended(Ended::Status(1))));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_goes_away_hangs_up() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let serving = tokio::spawn(carry(server, CancellationToken::new(), |_, channel| async move {
            wait_for_hangup(channel).await;
            Ended::Status(0)
        }));
        say(&mut client, &["logs"], None).await;
        drop(client);
        tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn input_that_was_not_asked_for_hangs_up() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let serving = tokio::spawn(carry(server, CancellationToken::new(), |_, channel| async move {
            wait_for_hangup(channel).await;
            Ended::Status(0)
        }));
        say(&mut client, &["logs"], None).await;
        for _ in 0..2 {
            frame::write(&mut client, &Frame::Stdin(vec![1])).await.unwrap();
        }
        tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_terminal_changes_its_size() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let serving = tokio::spawn(carry(server, CancellationToken::new(), |_, channel| async move {
            let mut terminal = channel.terminal.unwrap();
            assert_eq!(terminal.term, "xterm");
            terminal.size.wait_for(|size| size.columns == 100).await.unwrap();
            Ended::Signal(9)
        }));
        let terminal = HelloTerminal { term: "xterm".into(), columns: 80, rows: 24 };
        say(&mut client, &["enter", "blog"], Some(terminal)).await;
        frame::write(&mut client, &Frame::Resize(WindowSize { columns: 100, rows: 30 })).await.unwrap();
        assert_eq!(next(&mut client).await, Some(Frame::Ended(Ended::Signal(9))));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn nonsense_is_not_served() {
        for nonsense in [Frame::Want, Frame::Stdin(vec![0; 100])] {
            let (mut client, server) = UnixStream::pair().unwrap();
            frame::write(&mut client, &nonsense).await.unwrap();
            carry(server, CancellationToken::new(), |_, _| async { unreachable!("nothing was asked for") }).await;
            assert_eq!(next(&mut client).await, None);
        }
    }
}
