//! What an HTTP/1 client sends, checked on its way to hyper.
//!
//! hyper takes some things that another server before or behind us may understand otherwise, and then hides them: a
//! `Content-Length` beside `Transfer-Encoding`, the same length twice, lines that end with a bare line feed. Wherever
//! two servers can disagree about where a request ends, a request can be smuggled past one of them (RFC 9112, 11.2). So
//! the bytes are followed here by the strictest reading of the RFC, and where a request leaves it, hyper is given a NUL
//! in place of the byte that did: that it refuses everywhere, with 400 and the end of the connection.
//!
//! What hyper checks well itself (names, values, sizes) is not checked here. What is written passes as it is; promises
//! ([`crate::promises`]) are put between.
//!
//! While an answer is awaited hyper could read, too, to see whether the client is still there, but it takes a buffer of 8 kB for that, for
//! each request anew. So it is told that clients may close their halves ([`crate::limits::http1`]), and the look is taken here.

mod reading;

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_write_buf;

pub(crate) use self::reading::may_upgrade;
use self::reading::{Inadmissible, Reading};
use crate::promises::Promises;
use crate::pulse::Pulse;

/// Most that is read ahead of hyper.
const AHEAD: usize = 4 * 1024;

/// A client's connection.
pub(crate) struct Strict<I> {
    stream: I,
    /// Bytes that have been read from it, and that hyper has not.
    unread: Bytes,
    /// None: not HTTP/1.
    reading: Option<Reading>,
    broken: bool,
    pulse: Arc<Pulse>,
    promises: Arc<Promises>,
    /// Those that are being written.
    begun: BytesMut,
    /// All that hyper had to write has been written.
    flushed: bool,
}

impl<I> Strict<I> {
    /// Checks everything, beginning with what was read `first`.
    pub(crate) fn new(stream: I, first: Bytes, pulse: Arc<Pulse>, promises: Arc<Promises>) -> Self {
        Self { reading: Some(Reading::default()), pulse, promises, ..Self::unchecked(stream, first) }
    }

    /// Checks nothing.
    pub(crate) fn unchecked(stream: I, first: Bytes) -> Self {
        let (pulse, promises) = (Arc::default(), Arc::default());
        let begun = BytesMut::new();
        Self { stream, unread: first, reading: None, broken: false, pulse, promises, begun, flushed: true }
    }

    /// The connection itself.
    pub(crate) fn stream(&self) -> &I {
        &self.stream
    }

    fn check(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let Some(reading) = &mut self.reading else { return };
        if let Err(Inadmissible { at }) = reading.take(&buf.filled()[before..]) {
            buf.filled_mut()[before + at] = 0;
            buf.set_filled(before + at + 1);
            self.broken = true;
        }
        self.pulse.read(reading.is_between() && self.unread.is_empty() && !self.broken);
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Strict<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if self.unread.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            let length = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread[..length]);
            self.unread.advance(length);
            if self.unread.is_empty() {
                // Else the memory would be kept, too.
                self.unread = Bytes::new();
            }
        }
        self.check(buf, before);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + Unpin> Strict<I> {
    /// An error, if the client goes away while it is answered. What comes instead of its end is kept for hyper; once something has, and
    /// while hyper still has something to read or to write, its end is not seen.
    fn look_ahead(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.unread.is_empty() || !self.is_answered() {
            return Ok(());
        }
        let mut space = [MaybeUninit::uninit(); AHEAD];
        let mut ahead = ReadBuf::uninit(&mut space);
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut ahead) else { return Ok(()) };
        read?;
        if ahead.filled().is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread = Bytes::copy_from_slice(ahead.filled());
        self.pulse.read(false);
        Ok(())
    }

    /// Whether all that has come has been read by hyper and is being answered.
    fn is_answered(&self) -> bool {
        let answering = self.pulse.answering().filter(|_| !self.broken);
        answering.is_some_and(|begun| self.reading.as_ref().is_some_and(|reading| reading.has_come(begun)))
    }
}

impl<I: AsyncWrite + Unpin> Strict<I> {
    /// Writes promises, if hyper has written answers to their ends. Whatever it writes next is the answer that was promised, or what
    /// comes before that; and when that has begun, it is too late.
    fn poll_promises(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(promises) = self.promises.take()
            && self.flushed
        {
            self.begun.extend_from_slice(&promises);
        }
        while !self.begun.is_empty() {
            let Self { stream, begun, .. } = &mut *self;
            if ready!(poll_write_buf(Pin::new(stream), cx, begun))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Before each write of hyper's.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_promises(cx))?;
        self.flushed = false;
        self.pulse.wrote(false);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Strict<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_begin(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_begin(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Asked for when there is nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_promises(cx))?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.flushed = true;
        self.pulse.wrote(true);
        Poll::Ready(self.look_ahead(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
