//! Streams of a client that has to go on: where nothing moves for too long they fail.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::Channel;

/// Holds a channel's client to `limit`. One that takes nothing counts as gone.
pub(crate) fn bound(channel: &mut Channel, limit: Duration) {
    let stdin = std::mem::replace(&mut channel.stdin, Box::new(tokio::io::empty()));
    let stdout = std::mem::replace(&mut channel.stdout, Box::new(tokio::io::sink()));
    channel.stdin = Box::new(Bounded::new(stdin, limit, CancellationToken::new()));
    channel.stdout = Box::new(Bounded::new(stdout, limit, channel.hangup.clone()));
}

/// Nothing has moved for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client made no progress for {} s", .0.as_secs())]
pub(crate) struct Stalled(Duration);

impl Stalled {
    /// The one behind an error, if it is.
    pub(crate) fn behind(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|cause| cause.downcast_ref()).copied()
    }
}

struct Bounded<S> {
    stream: S,
    limit: Duration,
    /// Runs since the stream has been waited for, if it is.
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    stalled: CancellationToken,
}

impl<S> Bounded<S> {
    fn new(stream: S, limit: Duration, stalled: CancellationToken) -> Self {
        Self { stream, limit, timer: Box::pin(sleep(limit)), waiting: false, stalled }
    }

    fn watch<T>(&mut self, moved: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.waiting = false;
            return moved;
        }
        if !self.waiting {
            self.waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.limit);
        }
        ready!(self.timer.as_mut().poll(context));
        self.stalled.cancel();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Stalled(self.limit))))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, out);
        self.watch(read, context)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_progress_and_silence_is_not() {
        let (mut client, server) = duplex(1);
        let mut server = Bounded::new(server, LIMIT, CancellationToken::new());
        let sending = tokio::spawn(async move {
            for _ in 0..5 {
                sleep(LIMIT * 9 / 10).await;
                client.write_all(b"x").await.unwrap();
            }
            sleep(LIMIT * 2).await;
        });
        let mut bytes = [0; 5];
        server.read_exact(&mut bytes).await.unwrap();
        let error = server.read(&mut bytes).await.unwrap_err();
        assert_eq!(Stalled::behind(&error), Some(Stalled(LIMIT)));
        assert_eq!(error.to_string(), "the client made no progress for 10 s");
        sending.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_counts_as_gone() {
        let (_client, server) = duplex(1);
        let stalled = CancellationToken::new();
        let mut server = Bounded::new(server, LIMIT, stalled.clone());
        assert!(server.write_all(b"more than fits").await.is_err());
        assert!(stalled.is_cancelled());
    }
}
