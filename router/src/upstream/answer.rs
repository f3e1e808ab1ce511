//! The body of an answer in HTTP/1.1.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::net::TcpStream;

use super::chunks::{Chunks, Piece};
use super::head::{Framing, Garbled};
use super::http1::{Exchange, Idle};
use super::reading::{BODY_ROOM, Source};

/// The body of an answer, with the connection that it comes over.
pub(crate) struct Answer(Box<Exchange>);

/// What is to come of it.
pub(super) enum Remaining {
    Length(u64),
    Chunks(Chunks),
    /// All until the connection ends.
    Close,
}

impl From<Framing> for Remaining {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunks(Chunks::default()),
            Framing::Close => Self::Close,
        }
    }
}

/// Why an answer's body ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyBroken {
    #[error("reading from the app: {0}")]
    Io(#[from] io::Error),
    #[error("the app closed before the end")]
    Short,
    #[error(transparent)]
    Garbled(#[from] Garbled),
}

impl Answer {
    pub(super) fn new(exchange: Box<Exchange>) -> Self {
        Self(exchange)
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        loop {
            match self.take() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.is_end() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            if let Err(error) = ready!(self.poll_more(cx)) {
                return Poll::Ready(Some(Err(error)));
            }
            if self.0.reading.eof && !self.is_end() {
                return Poll::Ready(Some(Err(BodyBroken::Short)));
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyBroken>> {
        let room = match self.0.remaining {
            Remaining::Length(left) => usize::try_from(left).unwrap_or(usize::MAX).min(BODY_ROOM),
            Remaining::Chunks(_) | Remaining::Close => BODY_ROOM,
        };
        self.0.reading.poll_more(cx, room).map_err(BodyBroken::Io)
    }

    /// What has been read of the body.
    fn take(&mut self) -> Result<Option<Frame<Bytes>>, Garbled> {
        let Exchange { reading, remaining, .. } = &mut *self.0;
        let input = &mut reading.input;
        let taken = match remaining {
            Remaining::Chunks(chunks) => {
                return Ok(chunks.take(input)?.map(|piece| match piece {
                    Piece::Data(data) => Frame::data(data),
                    Piece::Trailers(trailers) => Frame::trailers(trailers),
                }));
            }
            Remaining::Length(left) => {
                let length = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                input.split_to(length)
            }
            Remaining::Close => input.split(),
        };
        Ok((!taken.is_empty()).then(|| Frame::data(taken.freeze())))
    }

    /// Whether all has been taken.
    pub(crate) fn is_end(&self) -> bool {
        match self.0.remaining {
            Remaining::Length(left) => left == 0,
            Remaining::Chunks(chunks) => chunks == Chunks::End,
            Remaining::Close => self.0.reading.eof && self.0.reading.input.is_empty(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.0.remaining {
            Remaining::Length(left) => SizeHint::with_exact(left),
            Remaining::Chunks(_) | Remaining::Close => SizeHint::default(),
        }
    }

    /// The connection, if it can take another request: request and answer have ended, and nothing follows.
    pub(super) fn into_idle(self) -> Option<Idle> {
        if self.is_end() { self.0.into_idle() } else { None }
    }

    /// The connection after a switch of protocols, and what has already come over it; None if the request is still
    /// being sent.
    pub(crate) fn into_switched(self) -> Option<(TcpStream, Bytes)> {
        let reading = self.0.reading;
        match reading.source {
            Source::Whole(stream) => Some((stream, reading.input.freeze())),
            Source::Half(_) => None,
        }
    }
}
