//! The side towards the apps: choose a target, get a connection, send, and send again where that is safe.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, timeout, timeout_at};

use crate::balance::{Choice, choose};
use crate::body::{BodyError, Progress, RequestBody};
use crate::head;
use crate::limits::{BUFFER_BYTES, HEAD_BYTES, Limits, STREAM_WINDOW as WINDOW};
use crate::meter::Place;
use crate::target::{InFlight, Protocol, Target};
use crate::wire::{Answered, Wire};

enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

/// A connection to a target that hyper drives in a task of its own, on the thread that opened it.
pub(crate) struct Connection {
    sender: Sender,
    answered: Answered,
    thread: usize,
}

impl Connection {
    /// Whether it can take a request now.
    pub(crate) fn is_ready(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender) => sender.is_ready(),
        }
    }

    /// Another handle of it, if it takes many requests at once.
    pub(crate) fn share(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        // What has come says nothing about one of many requests.
        Some(Self { sender: Sender::Http2(sender.clone()), answered: Answered::default(), thread: self.thread })
    }

    /// Sends; an error has the request if nothing of it was written.
    async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(head::to_http2(request)).await,
        }
    }

    /// The thread that drives it.
    pub(crate) fn thread(&self) -> usize {
        self.thread
    }
}

/// A connection while its answer is on the way, and the place in the target's count.
pub(crate) struct Lease {
    connection: Connection,
    in_flight: InFlight,
}

impl Lease {
    /// The answer has been read to its end: another request may use the connection.
    pub(crate) fn give_back(self) {
        let target = self.in_flight.target();
        if !target.is_draining() && matches!(self.connection.sender, Sender::Http1(_)) {
            target.pool().put(self.connection);
        }
    }

    pub(crate) fn target(&self) -> &Target {
        self.in_flight.target()
    }

    /// The place in the service's count goes with it.
    pub(crate) fn hold(&mut self, place: Place) {
        self.in_flight.hold(place);
    }

    /// The connection is used up (by an upgrade); what is in flight goes on.
    pub(crate) fn into_in_flight(self) -> InFlight {
        self.in_flight
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Every target drains: the table has been replaced since it was read.
    #[error("every target drains")]
    Drained,
    /// There is no target, for this reason.
    #[error("{0}")]
    Unavailable(String),
    #[error("connecting: {0}")]
    Connect(#[source] io::Error),
    #[error("closed without an answer: {0}")]
    Closed(#[source] hyper::Error),
    #[error("not an HTTP response: {0}")]
    Garbled(#[source] hyper::Error),
    #[error("the client's body ended early: {0}")]
    Client(#[source] hyper::Error),
    #[error("no answer in time")]
    Late,
}

impl Failure {
    /// Whether the target seems to be broken.
    fn is_the_targets(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Closed(_) | Self::Garbled(_))
    }
}

/// A failure, and the request if it can still be sent elsewhere: nothing of it has been written.
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) request: Option<Box<Request<RequestBody>>>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, request: None }
    }
}

/// Sends requests for one thread.
pub(crate) struct Upstream {
    pub(crate) limits: Limits,
    pub(crate) thread: usize,
}

impl Upstream {
    /// Sends `request` to one of `targets`. Another is tried if it takes no connection.
    pub(crate) async fn send(
        &self,
        targets: &[Arc<Target>],
        choice: &Choice,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        let mut failed = Failed { failure: Failure::Drained, request: Some(Box::new(request)) };
        let mut tried = Vec::new();
        while let Some(request) = failed.request.take() {
            let Some((index, in_flight)) = choose(targets, choice, &tried) else {
                failed.request = Some(request);
                break;
            };
            match self.exchange(in_flight.target(), *request).await {
                Ok((response, connection)) => {
                    in_flight.target().circuit().succeeded();
                    return Ok((response, Lease { connection, in_flight }));
                }
                Err(again) => failed = again,
            }
            if failed.failure.is_the_targets() {
                in_flight.target().circuit().failed(Instant::now().into_std());
            }
            tried.push(index);
        }
        Err(failed)
    }

    /// Over a reused connection if there is one; over a fresh one if there is none, or the reused one turned out to be
    /// closed and the request may be sent again.
    async fn exchange(
        &self,
        target: &Target,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Connection), Failed> {
        if let Some(connection) = self.reuse(target) {
            let copy = repeatable(&request);
            let answered = connection.answered.clone();
            match self.send_over(connection, request).await {
                Ok(done) => return Ok(done),
                Err(Failed { request: Some(unsent), .. }) => request = *unsent,
                Err(failed) => match copy {
                    Some(copy) if matches!(failed.failure, Failure::Closed(_)) && !answered.get() => request = copy,
                    _ => return Err(failed),
                },
            }
        }
        match self.connect(target).await {
            Ok(connection) => self.send_over(connection, request).await,
            Err(error) => Err(Failed { failure: Failure::Connect(error), request: Some(Box::new(request)) }),
        }
    }

    fn reuse(&self, target: &Target) -> Option<Connection> {
        match target.protocol() {
            Protocol::Http1 => target.pool().take(self.thread),
            Protocol::H2c => target.pool().share(self.thread),
        }
    }

    async fn send_over(
        &self,
        mut connection: Connection,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Connection), Failed> {
        connection.answered.reset();
        let progress = request.body().progress();
        match self.in_time(connection.send(request), progress).await {
            Some(Ok(response)) => Ok((response, connection)),
            Some(Err(mut error)) => {
                let request = error.take_message().map(Box::new);
                Err(Failed { failure: classify(error.into_error()), request })
            }
            None => Err(Failure::Late.into()),
        }
    }

    /// None if no answer came in time; the time begins anew with every part of the request's body that is passed on.
    async fn in_time<T>(&self, answer: impl Future<Output = T>, progress: Option<Progress>) -> Option<T> {
        let mut answer = pin!(answer);
        let mut deadline = Instant::now() + self.limits.answer;
        loop {
            if let Ok(answer) = timeout_at(deadline, answer.as_mut()).await {
                return Some(answer);
            }
            let later = progress.as_ref()?.last() + self.limits.answer;
            if later <= deadline {
                return None;
            }
            deadline = later;
        }
    }

    async fn connect(&self, target: &Target) -> io::Result<Connection> {
        let dialed = timeout(self.limits.connect, target.dialer().dial());
        let stream = match target.cut().run_until_cancelled(dialed).await {
            Some(Ok(dialed)) => dialed?,
            Some(Err(_)) => return Err(io::ErrorKind::TimedOut.into()),
            None => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        stream.set_nodelay(true)?;
        let answered = Answered::default();
        let wire = TokioIo::new(Wire::new(stream, answered.clone()));
        match target.protocol() {
            Protocol::Http1 => self.http1(target, wire, answered).await,
            Protocol::H2c => self.http2(target, wire, answered).await,
        }
        .map_err(io::Error::other)
    }

    /// The connection ends by itself, with the target, or with this thread's runtime.
    async fn http1(&self, target: &Target, wire: TokioIo<Wire>, answered: Answered) -> hyper::Result<Connection> {
        let (sender, connection) = protocol().handshake(wire).await?;
        let cut = target.cut().clone();
        tokio::spawn(async move { cut.run_until_cancelled(connection.with_upgrades()).await });
        Ok(Connection { sender: Sender::Http1(sender), answered, thread: self.thread })
    }

    /// As with HTTP/1.1; one handle stays in the pool, so that the next request finds it.
    async fn http2(&self, target: &Target, wire: TokioIo<Wire>, answered: Answered) -> hyper::Result<Connection> {
        let (sender, connection) = multiplexed().handshake(wire).await?;
        let cut = target.cut().clone();
        tokio::spawn(async move { cut.run_until_cancelled(connection).await });
        let connection = Connection { sender: Sender::Http2(sender), answered, thread: self.thread };
        if let Some(share) = connection.share() {
            target.pool().put(share);
        }
        Ok(connection)
    }
}

fn protocol() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.writev(false).max_buf_size(BUFFER_BYTES);
    builder
}

fn multiplexed() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(8 * WINDOW)
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        .max_send_buf_size(BUFFER_BYTES);
    builder
}

fn classify(error: hyper::Error) -> Failure {
    if error.is_parse() {
        Failure::Garbled(error)
    } else if error.source().is_some_and(<dyn Error>::is::<BodyError>) {
        Failure::Client(error)
    } else {
        Failure::Closed(error)
    }
}

/// A copy of a request that may be sent twice: it has no body, and doing it twice is doing it once (RFC 9110, 9.2.2).
fn repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    if !idempotent || !request.body().is_empty() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}
