//! One exchange with an app in HTTP/1.1, over a socket of ours, in the task of the request.
//!
//! There is no task beside it that drives the connection: the request is written and the answer read by whoever waits
//! for them. Only a request that is answered before it has been sent gets a task for its rest, since the client may
//! send all of it before it reads the answer.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use hyper::{Response, StatusCode};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::chunks::{Chunks, Piece};
use super::head::{self, Framing, Garbled, Head};
use super::sending::Sending;
use crate::body::BodyError;
use crate::limits::BUFFER_BYTES;
use crate::onward::Onward;

/// Most that one read of a head takes, and of what comes with it: mostly all of the answer.
const HEAD_ROOM: usize = 8 * 1024;

/// Room for one read of a body.
const BODY_ROOM: usize = 64 * 1024;

/// Most bytes of an answer that is not passed on before all of it is there, if its request may be sent again; and how long
/// it is held for that.
const HELD: u64 = 16 * 1024;
const HELD_FOR: Duration = Duration::from_secs(1);

/// Answers that only promise another one, for one request.
const PROMISES: usize = 32;

/// A connection that no request uses.
pub(crate) struct Idle {
    stream: TcpStream,
    /// For the head of the next request.
    out: Vec<u8>,
}

/// Why there is no answer.
pub(super) enum Broken {
    /// The connection ended; with the first bytes of an answer or without.
    Closed {
        answered: bool,
        error: io::Error,
    },
    /// The connection ended within a small body. This is what has come of the answer.
    Short(Response<Box<Answer>>),
    /// The target was cut.
    Cut,
    Garbled(Garbled),
    Client(BodyError),
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

impl Idle {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, out: Vec::new() }
    }

    /// Whether nothing has come over it, not even its end, as far as this thread has been told.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same as the kernel knows it: for connections whose news another thread is told.
    pub(super) fn is_really_quiet(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = socket2::SockRef::from(&self.stream).peek(&mut byte);
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request, and reads the head of its answer. Whoever waits for it polls at every tick, and so sees that the
    /// target was cut.
    pub(super) async fn ask(
        self,
        onward: &mut Onward<'_>,
        cut: &CancellationToken,
    ) -> Result<Response<Box<Answer>>, Broken> {
        let mut exchange = Exchange {
            sending: Sending::new(self.out, onward),
            reading: Reading { source: Source::Whole(self.stream), input: BytesMut::new(), eof: false },
            sent: false,
        };
        let head = exchange.answer(onward, cut).await?;
        // Until something of an answer is passed on, another instance can be asked for it.
        let broken = onward.is_repeatable() && !exchange.holds(&head, cut).await && onward.may_be_repeated();
        let response = exchange.into_response(head, cut);
        if broken { Err(Broken::Short(response)) } else { Ok(response) }
    }
}

struct Exchange {
    sending: Sending,
    reading: Reading,
    sent: bool,
}

impl Exchange {
    /// The first head that is not a promise. Those are passed on.
    async fn answer(&mut self, onward: &Onward<'_>, cut: &CancellationToken) -> Result<Head, Broken> {
        for _ in 0..PROMISES {
            let bytes = self.head(cut).await?;
            let head = head::parse(&bytes, &onward.parts().method).map_err(Broken::Garbled)?;
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(head);
            }
            onward.promise(head.status, &head.headers);
        }
        Err(Broken::Garbled(Garbled::Promises))
    }

    /// A whole head; sends meanwhile.
    async fn head(&mut self, cut: &CancellationToken) -> Result<Bytes, Broken> {
        let mut seen = 0;
        poll_fn(|cx| {
            if !self.sent
                && let Source::Whole(stream) = &mut self.reading.source
            {
                self.sent = match self.sending.poll(cx, stream) {
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Client(error))),
                    Poll::Ready(Ok(())) => true,
                    Poll::Pending => false,
                };
            }
            match self.reading.poll_head(cx, &mut seen) {
                Poll::Pending if cut.is_cancelled() => Poll::Ready(Err(Broken::Cut)),
                polled => polled,
            }
        })
        .await
    }

    /// Waits for a small body that comes at once. False if it breaks off.
    async fn holds(&mut self, head: &Head, cut: &CancellationToken) -> bool {
        let Framing::Length(length @ 1..=HELD) = head.framing else { return true };
        let mut end = None;
        poll_fn(|cx| {
            while (self.reading.input.len() as u64) < length {
                let Poll::Ready(read) = self.reading.poll_little(cx) else {
                    // Polled at every tick, as above.
                    let late = Instant::now() >= *end.get_or_insert_with(|| Instant::now() + HELD_FOR);
                    return if late || cut.is_cancelled() { Poll::Ready(true) } else { Poll::Pending };
                };
                if read.is_err() || self.reading.eof {
                    return Poll::Ready(false);
                }
            }
            Poll::Ready(true)
        })
        .await
    }

    fn into_response(self, head: Head, cut: &CancellationToken) -> Response<Box<Answer>> {
        let Self { sending, mut reading, sent } = self;
        let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let (mut out, mut rest) = (None, None);
        if sent {
            out = sending.finish();
        } else if let Source::Whole(stream) = reading.source {
            let (read, write) = stream.into_split();
            rest = Some(AbortOnDropHandle::new(tokio::spawn(send_rest(sending, write, cut.clone()))));
            reading.source = Source::Half(read);
        }
        let body = match head.framing {
            Framing::Length(length) => Remaining::Length(length),
            Framing::Chunked => Remaining::Chunks(Chunks::default()),
            Framing::Close => Remaining::Close,
        };
        let out = out.filter(|_| head.keeps && !switched);
        let answer = Answer { reading, remaining: body, out, rest };
        let mut response = Response::new(Box::new(answer));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response
    }
}

/// The rest of a request whose answer has begun.
async fn send_rest(mut sending: Sending, mut write: tokio::net::tcp::OwnedWriteHalf, cut: CancellationToken) {
    let sent = cut.run_until_cancelled(poll_fn(|cx| sending.poll(cx, &mut write))).await;
    if matches!(sent, Some(Ok(()))) {
        // To end our side of the connection would look as if the client had left.
        write.forget();
    }
}

enum Source {
    Whole(TcpStream),
    Half(OwnedReadHalf),
}

struct Reading {
    source: Source,
    /// What has been read and not been used.
    input: BytesMut,
    eof: bool,
}

impl Reading {
    fn poll_head(&mut self, cx: &mut Context<'_>, seen: &mut usize) -> Poll<Result<Bytes, Broken>> {
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
    fn poll_little(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::uninit(); HEAD_ROOM];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.source).poll_read(cx, &mut read))?;
        self.input.extend_from_slice(read.filled());
        self.eof |= read.filled().is_empty();
        Poll::Ready(Ok(()))
    }

    /// Reads once; there is no memory for it before there is something to read.
    fn poll_more(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<()>> {
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

/// The body of an answer, with the connection that it comes over.
pub(crate) struct Answer {
    reading: Reading,
    remaining: Remaining,
    /// For the head of the next request, if another may follow.
    out: Option<Vec<u8>>,
    /// Sends the rest of the request.
    #[expect(dead_code, reason = "it ends when it is dropped")]
    rest: Option<AbortOnDropHandle<()>>,
}

enum Remaining {
    Length(u64),
    Chunks(Chunks),
    Close,
}

impl Answer {
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
            if self.reading.eof && !self.is_end() {
                return Poll::Ready(Some(Err(BodyBroken::Short)));
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyBroken>> {
        let room = match self.remaining {
            Remaining::Length(left) => usize::try_from(left).unwrap_or(usize::MAX).min(BODY_ROOM),
            Remaining::Chunks(_) | Remaining::Close => BODY_ROOM,
        };
        self.reading.poll_more(cx, room).map_err(BodyBroken::Io)
    }

    /// What has been read of the body.
    fn take(&mut self) -> Result<Option<Frame<Bytes>>, Garbled> {
        let input = &mut self.reading.input;
        let taken = match &mut self.remaining {
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
        match self.remaining {
            Remaining::Length(left) => left == 0,
            Remaining::Chunks(chunks) => chunks == Chunks::End,
            Remaining::Close => self.reading.eof && self.reading.input.is_empty(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.remaining {
            Remaining::Length(left) => SizeHint::with_exact(left),
            Remaining::Chunks(_) | Remaining::Close => SizeHint::default(),
        }
    }

    /// The connection, if it can take another request: request and answer have ended, and nothing follows.
    pub(super) fn into_idle(self) -> Option<Idle> {
        let over = self.is_end() && self.reading.input.is_empty() && !self.reading.eof;
        match (self.out, self.reading.source) {
            (Some(out), Source::Whole(stream)) if over => Some(Idle { stream, out }),
            _ => None,
        }
    }

    /// The connection after a switch of protocols, and what has already come over it; None if the request is still
    /// being sent.
    pub(crate) fn into_switched(self) -> Option<(TcpStream, Bytes)> {
        match self.reading.source {
            Source::Whole(stream) => Some((stream, self.reading.input.freeze())),
            Source::Half(_) => None,
        }
    }
}
