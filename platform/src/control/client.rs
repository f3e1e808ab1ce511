//! `airstrip COMMAND`: the client's side of the control socket.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use gitd::Ended;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::frame::{self, Frame, Hello, HelloTerminal};
use super::input::Input;
use super::terminal::{self, Raw};
use crate::failure::{Failure, Result};

/// Status of a program that wrote to a closed pipe, as shells show it.
const BROKEN_PIPE: u8 = 128 + 13;

/// Has the daemon at this socket carry out a command; gives back its exit status.
pub async fn call(socket: &Path, words: Vec<String>) -> Result<u8> {
    let stream = UnixStream::connect(socket).await.map_err(|e| unreachable(socket, &e))?;
    let (from, mut to) = stream.into_split();
    let on_terminal = terminal_is_for(&words) && terminal::interactive();
    let hello = Frame::Hello(Hello { words, env: env(), terminal: on_terminal.then(hello_terminal) });
    let lost = |e: &io::Error| Failure::io("talking to the server", e);
    frame::write(&mut to, &hello).await.map_err(|e| lost(&e))?;
    let raw = on_terminal.then(Raw::new).transpose().map_err(|e| lost(&e.into()))?;
    let status = converse(from, to, on_terminal).await;
    drop(raw);
    status.map_err(|e| lost(&e))
}

/// Commands that are sessions: their terminal is the program's.
fn terminal_is_for(words: &[String]) -> bool {
    matches!(words.first().map(String::as_str), Some("run" | "enter"))
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let home = socket.parent().unwrap_or(socket).display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::new(
            format!("no airstrip is running in {home}"),
            "start it with `airstrip serve`, or say where it runs with --home DIR",
        ),
        io::ErrorKind::PermissionDenied => Failure::new(
            format!("you may not reach the airstrip in {home}"),
            "run this as the user who runs `airstrip serve`, or over ssh",
        ),
        _ => Failure::io(socket.display(), error),
    }
}

/// What a program needs to know of the user's terminal and language.
fn env() -> Vec<(String, String)> {
    let wanted = |name: &str| matches!(name, "LANG" | "COLORTERM" | "NO_COLOR") || name.starts_with("LC_");
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| wanted(name))
        .collect()
}

fn hello_terminal() -> HelloTerminal {
    let size = terminal::size();
    HelloTerminal { term: std::env::var("TERM").unwrap_or_default(), columns: size.columns, rows: size.rows }
}

/// Passes everything both ways until the command has ended.
async fn converse(from: OwnedReadHalf, to: OwnedWriteHalf, on_terminal: bool) -> io::Result<u8> {
    let wanted = Notify::new();
    let resized = on_terminal.then(|| signal(SignalKind::window_change())).transpose()?;
    tokio::select! {
        status = show(from, &wanted) => status,
        failed = send(to, &wanted, resized) => match failed? {},
        // Otherwise a signal ends this program at once, which is right unless the terminal is to be restored.
        status = terminated(), if on_terminal => status,
    }
}

async fn terminated() -> io::Result<u8> {
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        _ = terminate.recv() => Ok(128 + 15),
        _ = hangup.recv() => Ok(128 + 1),
    }
}

/// Shows what the server sends, until the end.
async fn show(mut from: OwnedReadHalf, wanted: &Notify) -> io::Result<u8> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    while let Some(frame) = frame::read(&mut from).await? {
        let written = match frame {
            Frame::Stdout(bytes) => write(&mut stdout, &bytes).await,
            Frame::Stderr(bytes) => write(&mut stderr, &bytes).await,
            Frame::Want => {
                wanted.notify_one();
                Ok(())
            }
            Frame::Ended(ended) => return Ok(status(ended)),
            Frame::Hello(_) | Frame::Stdin(_) | Frame::Resize(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(BROKEN_PIPE),
            written => written?,
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it went away before the command had ended"))
}

async fn write(to: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

fn status(ended: Ended) -> u8 {
    match ended {
        Ended::Status(status) => u8::try_from(status).unwrap_or(255),
        Ended::Signal(signal) => u8::try_from(128 + signal).unwrap_or(255),
    }
}

/// Sends input as it is wanted, and the terminal's size when it changes.
async fn send(mut to: OwnedWriteHalf, wanted: &Notify, mut resized: Option<Signal>) -> io::Result<Infallible> {
    let input = Input::new(io::stdin())?;
    let mut asked = false;
    loop {
        let frame = tokio::select! {
            () = wanted.notified(), if !asked => {
                asked = true;
                continue;
            }
            // What cannot be read (a closed descriptor, for instance) is at its end.
            piece = input.piece(), if asked => {
                asked = false;
                Frame::Stdin(piece.unwrap_or_default())
            }
            Some(()) = changed(&mut resized) => Frame::Resize(terminal::size()),
        };
        if frame::write(&mut to, &frame).await.is_err() {
            // The server has ended the command and goes; `show` reads its last words.
            std::future::pending::<()>().await;
        }
    }
}

async fn changed(resized: &mut Option<Signal>) -> Option<()> {
    match resized {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_server_is_said_with_a_remedy() {
        let home = tempfile::tempdir().unwrap();
        let failure = call(&home.path().join("control.sock"), vec!["apps".into()]).await.unwrap_err();
        assert!(failure.message.starts_with("no airstrip is running in "), "{failure:?}");
        assert!(failure.remedy.unwrap().contains("airstrip serve"));
    }

    #[test]
    fn statuses() {
        assert_eq!(status(Ended::Status(3)), 3);
        assert_eq!(status(Ended::Status(256)), 255);
        assert_eq!(status(Ended::Signal(9)), 137);
    }
}
