//! The TCP connection under an SSH session: quick acknowledgements, and an end that always works.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A connection that fails on both sides as soon as it is killed, whatever the session waits for.
pub(crate) struct Socket {
    stream: TcpStream,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, kill: CancellationToken) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, killed: Box::pin(kill.cancelled_owned()) })
    }

    /// Also registers the task to be woken by the kill.
    fn alive(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.killed.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?;
        ready!(Pin::new(&mut self.stream).poll_read(context, out))?;
        // Without it the client's Nagle algorithm waits for our delayed acknowledgement: 40 ms in every push. The
        // kernel forgets the setting, hence after each read; failing only costs those milliseconds.
        let _slower = SockRef::from(&self.stream).set_tcp_quickack(true);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.alive(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
