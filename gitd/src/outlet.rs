//! Bytes from a command on their way to the client.
//!
//! What is written goes through a bounded queue to one writer task per channel, so that nobody who writes depends on
//! the session loop, and so that data, exit status, end of file and close leave in this order.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelWriteHalf};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, PollSender};

use crate::{Ended, signal};

/// Entries in the queue; with [`CHUNK`] the bound on what a channel buffers (1 MiB).
const QUEUE: usize = 32;
/// Bytes of one entry at most.
const CHUNK: usize = 32 * 1024;
/// SSH's code for standard error.
const STDERR: u32 = 1;

/// What the writer task sends.
pub(crate) enum Outgoing {
    /// Standard output.
    Data(Vec<u8>),
    /// Standard error.
    Error(Vec<u8>),
    /// No more data; the other direction goes on.
    Eof,
    /// The command ended: tell how, then close.
    End(Ended),
    /// Close without an exit status (forwarded connections have none).
    Close,
}

/// A queue to a writer task, not started yet.
pub(crate) fn queue() -> (mpsc::Sender<Outgoing>, mpsc::Receiver<Outgoing>) {
    mpsc::channel(QUEUE)
}

/// A stream into the queue.
pub(crate) struct Outlet {
    sender: PollSender<Outgoing>,
    wrap: fn(Vec<u8>) -> Outgoing,
}

impl Outlet {
    pub(crate) fn stdout(sender: &mpsc::Sender<Outgoing>) -> Self {
        Self { sender: PollSender::new(sender.clone()), wrap: Outgoing::Data }
    }

    pub(crate) fn stderr(sender: &mpsc::Sender<Outgoing>) -> Self {
        Self { sender: PollSender::new(sender.clone()), wrap: Outgoing::Error }
    }
}

impl AsyncWrite for Outlet {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.sender.poll_reserve(context)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        let count = bytes.len().min(CHUNK);
        let chunk = bytes.get(..count).unwrap_or_default().to_vec();
        let entry = (self.wrap)(chunk);
        self.sender.send_item(entry).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sender.close();
        Poll::Ready(Ok(()))
    }
}

/// The writer task of one channel. Ends with the channel, or at once when the client has gone.
pub(crate) async fn write_out(
    channel: ChannelWriteHalf<Msg>,
    handle: Handle,
    mut queue: mpsc::Receiver<Outgoing>,
    hangup: CancellationToken,
) {
    let sending = async {
        while send_next(&channel, &handle, queue.recv().await).await? {}
        Ok::<(), russh::Error>(())
    };
    // An exhausted window never wakes its writer when the connection ends: the token does.
    tokio::select! {
        _ = sending => {}
        () = hangup.cancelled() => {}
    }
}

/// Sends one entry; false after the last.
async fn send_next(
    channel: &ChannelWriteHalf<Msg>,
    handle: &Handle,
    entry: Option<Outgoing>,
) -> Result<bool, russh::Error> {
    match entry {
        Some(Outgoing::Data(bytes)) => channel.data_bytes(bytes).await?,
        Some(Outgoing::Error(bytes)) => channel.extended_data_bytes(STDERR, bytes).await?,
        Some(Outgoing::Eof) => channel.eof().await?,
        Some(Outgoing::End(ended)) => return end(channel, handle, ended).await.map(|()| false),
        Some(Outgoing::Close) => return channel.close().await.map(|()| false),
        // Whoever served the channel is gone without a word: it panicked.
        None => return end(channel, handle, Ended::Status(255)).await.map(|()| false),
    }
    Ok(true)
}

async fn end(channel: &ChannelWriteHalf<Msg>, handle: &Handle, ended: Ended) -> Result<(), russh::Error> {
    match ended {
        Ended::Status(status) => channel.exit_status(status).await?,
        Ended::Signal(number) => exit_signal(channel.id(), handle, number).await?,
    }
    channel.eof().await?;
    channel.close().await
}

async fn exit_signal(id: ChannelId, handle: &Handle, number: i32) -> Result<(), russh::Error> {
    let name = signal::name(number);
    handle
        .exit_signal_request(id, name, false, String::new(), String::new())
        .await
        .map_err(|()| russh::Error::SendError)
}
