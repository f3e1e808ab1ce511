//! What comes from an app over a connection.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio_util::io::poll_read_buf;

use super::head::{self, Garbled};
use super::http1::Broken;
use crate::limits::BUFFER_BYTES;

/// Most that one read of a head takes, and of what comes with it: mostly all of the answer.
const HEAD_ROOM: usize = 8 * 1024;

/// Room for one read of a body.
pub(super) const BODY_ROOM: usize = 64 * 1024;

/// What comes, and what has come of it.
pub(super) struct Reading {
    pub(super) source: Source,
    /// What has been read and not been used.
    pub(super) input: BytesMut,
    pub(super) eof: bool,
}

/// A connection, or its half, if the rest of a request is still being sent.
pub(super) enum Source {
    Whole(TcpStream),
    Half(OwnedReadHalf),
}

impl Reading {
    /// A whole head; the bytes before `seen` hold no end of one.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>, seen: &mut usize) -> Poll<Result<Bytes, Broken>> {
        loop {
            if let Some(end) = head::end(&self.input, *seen) {
                return Poll::Ready(Ok(self.input.split_to(end).freeze()));
            }
            *seen = self.input.len();
            if self.input.len() > BUFFER_BYTES {
                return Poll::Ready(Err(Broken::Garbled(Garbled::Long)));
            }
            let error = match ready!(self.poll_little(cx)) {
                Ok(()) if !self.eof => continue,
                Ok(()) => io::ErrorKind::UnexpectedEof.into(),
                Err(error) => error,
            };
            return Poll::Ready(Err(Broken::Closed { answered: !self.input.is_empty(), error }));
        }
    }

    /// Reads once, and keeps only as much memory as has come.
    pub(super) fn poll_little(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::uninit(); HEAD_ROOM];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.source).poll_read(cx, &mut read))?;
        self.input.extend_from_slice(read.filled());
        self.eof |= read.filled().is_empty();
        Poll::Ready(Ok(()))
    }

    /// Reads once; there is no memory for it before there is something to read.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<()>> {
        ready!(self.source.poll_ready(cx))?;
        if self.input.capacity() - self.input.len() < room / 4 {
            self.input.reserve(room);
        }
        let read = ready!(poll_read_buf(Pin::new(&mut self.source), cx, &mut self.input))?;
        self.eof |= read == 0;
        Poll::Ready(Ok(()))
    }
}

impl Source {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Whole(stream) => stream.poll_read_ready(cx),
            Self::Half(half) => half.as_ref().poll_read_ready(cx),
        }
    }
}

impl AsyncRead for Source {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Whole(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Half(half) => Pin::new(half).poll_read(cx, buf),
        }
    }
}
