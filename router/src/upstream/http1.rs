//! One exchange with an app in HTTP/1.1, over a socket of ours, in the task of the request.
//!
//! There is no task beside it that drives the connection: the request is written and the answer read by whoever waits
//! for them. Only a request that is answered before it has been sent gets a task for its rest, since the client may
//! send all of it before it reads the answer.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::{Response, StatusCode};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::answer::{Answer, Remaining};
use super::head::{self, Framing, Garbled, Head};
use super::reading::{Reading, Source};
use super::sending::Sending;
use crate::body::BodyError;
use crate::onward::Onward;

/// Most bytes of an answer that is not passed on before all of it is there, if its request may be sent again; and how long
/// it is held for that.
const HELD: u64 = 16 * 1024;
const HELD_FOR: Duration = Duration::from_secs(1);

/// Answers that only promise another one, for one request.
const PROMISES: usize = 32;

/// A connection that no request uses.
pub(crate) struct Idle(Box<Exchange>);

/// A connection, and what is under way over it. It has one place for as long as the connection lasts, whoever holds it.
pub(super) struct Exchange {
    sending: Sending,
    pub(super) reading: Reading,
    /// Of the answer's body.
    pub(super) remaining: Remaining,
    /// The request has been sent, all of it.
    sent: bool,
    /// Another request may follow.
    keeps: bool,
    /// Sends the rest of a request that was answered early.
    #[expect(dead_code, reason = "it ends when it is dropped")]
    rest: Option<AbortOnDropHandle<()>>,
}

/// Why there is no answer.
pub(super) enum Broken {
    /// The connection ended; with the first bytes of an answer or without.
    Closed {
        answered: bool,
        error: io::Error,
    },
    /// The connection ended within a small body. This is what has come of the answer.
    Short(Response<Answer>),
    /// The target was cut.
    Cut,
    Garbled(Garbled),
    Client(BodyError),
}

impl Idle {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Box::new(Exchange::over(Source::Whole(stream))))
    }

    /// Whether nothing has come over it, not even its end, as far as this thread has been told.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let read = self.stream().map(|stream| stream.try_read(&mut byte));
        matches!(read, Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same as the kernel knows it: for connections whose news another thread is told.
    pub(super) fn is_really_quiet(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = self.stream().map(|stream| socket2::SockRef::from(stream).peek(&mut byte));
        matches!(peeked, Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request, and reads the head of its answer. Whoever waits for it polls at every tick, and so sees that the
    /// target was cut.
    pub(super) async fn ask(
        self,
        onward: &mut Onward<'_>,
        cut: &CancellationToken,
    ) -> Result<Response<Answer>, Broken> {
        let mut exchange = self.0;
        exchange.begin(onward);
        let head = exchange.answer(onward, cut).await?;
        // Until something of an answer is passed on, another instance can be asked for it.
        let broken = onward.is_repeatable() && !exchange.holds(&head, cut).await && onward.may_be_repeated();
        let response = exchange.into_response(head, cut);
        if broken { Err(Broken::Short(response)) } else { Ok(response) }
    }

    fn stream(&self) -> Option<&TcpStream> {
        match &self.0.reading.source {
            Source::Whole(stream) => Some(stream),
            Source::Half(_) => None,
        }
    }
}

impl Exchange {
    fn over(source: Source) -> Self {
        Self {
            sending: Sending::default(),
            reading: Reading { source, input: BytesMut::new(), eof: false },
            remaining: Remaining::Close,
            sent: false,
            keeps: false,
            rest: None,
        }
    }

    fn begin(&mut self, onward: &mut Onward<'_>) {
        self.sending.begin(onward);
        self.sent = false;
    }

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

    fn into_response(mut self: Box<Self>, head: Head, cut: &CancellationToken) -> Response<Answer> {
        if !self.sent {
            self = self.send_rest_aside(cut);
        }
        let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
        self.keeps = self.sent && self.sending.finish() && head.keeps && !switched;
        self.remaining = head.framing.into();
        let mut response = Response::new(Answer::new(self));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response
    }

    /// The answer's half of the connection; the request's gets a task of its own.
    fn send_rest_aside(self: Box<Self>, cut: &CancellationToken) -> Box<Self> {
        let Self { sending, reading: Reading { source, input, eof }, .. } = *self;
        let (source, rest) = match source {
            Source::Whole(stream) => {
                let (read, write) = stream.into_split();
                let rest = tokio::spawn(send_rest(sending, write, cut.clone()));
                (Source::Half(read), Some(AbortOnDropHandle::new(rest)))
            }
            half @ Source::Half(_) => (half, None),
        };
        let mut aside = Self { rest, ..Self::over(source) };
        (aside.reading.input, aside.reading.eof) = (input, eof);
        Box::new(aside)
    }

    /// The connection, if it can take another request: nothing follows the answer. It is whole, then: all of the request was sent.
    pub(super) fn into_idle(mut self: Box<Self>) -> Option<Idle> {
        let reading = &mut self.reading;
        let over = self.keeps && reading.input.is_empty() && !reading.eof;
        // What it was cut off from is the answer's memory.
        reading.input = BytesMut::new();
        over.then(|| Idle(self))
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
