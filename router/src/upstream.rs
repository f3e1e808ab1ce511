//! The side towards the apps: choose a target, get a connection, send, and send again where that is safe.

mod chunks;
mod head;
mod http1;
mod http2;
mod sending;

use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper::{Method, Request, Response};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

pub(crate) use self::http1::{Answer, BodyBroken};
use crate::balance::{Choice, choose};
use crate::body::{BodyError, Incoming, Progress, RequestBody};
use crate::limits::Limits;
use crate::meter::Place;
use crate::target::{InFlight, Protocol, Target};

/// A connection to a target that may take a request.
pub(crate) struct Connection {
    kind: Kind,
    thread: usize,
}

enum Kind {
    Http1(http1::Idle),
    Http2(http2::Shared),
}

impl Connection {
    /// Whether it can take a request now, as far as its own thread knows.
    pub(crate) fn is_ready(&self) -> bool {
        match &self.kind {
            Kind::Http1(idle) => idle.is_quiet(),
            Kind::Http2(shared) => shared.is_ready(),
        }
    }

    /// The same, asked on another thread.
    pub(crate) fn is_ready_elsewhere(&self) -> bool {
        match &self.kind {
            Kind::Http1(idle) => idle.is_really_quiet(),
            Kind::Http2(shared) => shared.is_ready(),
        }
    }

    /// Another handle of it, if it takes many requests at once.
    pub(crate) fn share(&self) -> Option<Self> {
        let Kind::Http2(shared) = &self.kind else { return None };
        Some(Self { kind: Kind::Http2(shared.clone()), thread: self.thread })
    }

    /// The thread that opened it.
    pub(crate) fn thread(&self) -> usize {
        self.thread
    }
}

/// A request's place in the count of a target, and the thread that opened the connection it uses.
pub(crate) struct Lease {
    thread: usize,
    in_flight: InFlight,
}

impl Lease {
    /// An answer has come to its end: another request may use the connection.
    pub(crate) fn give_back(self, answer: Incoming) {
        let target = self.in_flight.target();
        if let Incoming::Http1(answer) = answer
            && !target.is_draining()
            && let Some(idle) = answer.into_idle()
        {
            target.pool().put(Connection { kind: Kind::Http1(idle), thread: self.thread });
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

/// What is behind a failure.
type Cause = Box<dyn Error + Send + Sync>;

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
    Closed(#[source] Cause),
    #[error("not an HTTP response: {0}")]
    Garbled(#[source] Cause),
    #[error("the client's body ended early: {0}")]
    Client(#[source] Cause),
    #[error("no answer in time")]
    Late,
}

impl Failure {
    /// Whether the target seems to be broken.
    fn is_the_targets(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Closed(_) | Self::Garbled(_))
    }

    /// What was wrong with the request's body, if that was it.
    pub(crate) fn of_body(&self) -> Option<&BodyError> {
        let Self::Client(cause) = self else { return None };
        let mut cause: Option<&(dyn Error + 'static)> = Some(&**cause);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref() {
                return Some(error);
            }
            cause = error.source();
        }
        None
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

/// What became of one try over one connection.
enum Tried {
    Answered(Response<Incoming>),
    /// The connection was closed without an answer, and the request may be sent twice.
    Again(Failure, Request<RequestBody>),
    Failed(Failed),
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
                Ok((response, thread)) => {
                    in_flight.target().circuit().succeeded();
                    return Ok((response, Lease { thread, in_flight }));
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
    /// closed and the request may be sent again. The number is that of the thread that opened it.
    async fn exchange(
        &self,
        target: &Target,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, usize), Failed> {
        if let Some(connection) = self.reuse(target) {
            let thread = connection.thread;
            match self.send_over(target, connection, request).await {
                Tried::Answered(response) => return Ok((response, thread)),
                Tried::Again(_, again) => request = again,
                Tried::Failed(Failed { request: Some(unsent), .. }) => request = *unsent,
                Tried::Failed(failed) => return Err(failed),
            }
        }
        let connection = match Box::pin(self.connect(target)).await {
            Ok(connection) => connection,
            Err(error) => return Err(Failed { failure: Failure::Connect(error), request: Some(Box::new(request)) }),
        };
        match self.send_over(target, connection, request).await {
            Tried::Answered(response) => Ok((response, self.thread)),
            Tried::Again(failure, _) => Err(failure.into()),
            Tried::Failed(failed) => Err(failed),
        }
    }

    fn reuse(&self, target: &Target) -> Option<Connection> {
        match target.protocol() {
            Protocol::Http1 => target.pool().take(self.thread),
            Protocol::H2c => target.pool().share(self.thread),
        }
    }

    async fn send_over(&self, target: &Target, connection: Connection, request: Request<RequestBody>) -> Tried {
        let progress = request.body().progress();
        let answer = pin!(async {
            match connection.kind {
                Kind::Http1(idle) => over_http1(target, idle, request).await,
                // On the heap, so that the others need not be as large.
                Kind::Http2(shared) => Box::pin(over_http2(shared, request)).await,
            }
        });
        self.in_time(answer, progress).await.unwrap_or(Tried::Failed(Failure::Late.into()))
    }

    /// None if no answer came in time; the time begins anew with every part of the request's body that is passed on.
    async fn in_time<T>(&self, mut answer: Pin<&mut impl Future<Output = T>>, progress: Option<Progress>) -> Option<T> {
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
        let stream = self.dial(target).await?;
        let kind = match target.protocol() {
            Protocol::Http1 => Kind::Http1(http1::Idle::new(stream)),
            Protocol::H2c => Kind::Http2(http2::Shared::open(stream, target.cut()).await.map_err(io::Error::other)?),
        };
        let connection = Connection { kind, thread: self.thread };
        // A share stays in the pool, so that the next request finds it.
        if let Some(share) = connection.share() {
            target.pool().put(share);
        }
        Ok(connection)
    }

    async fn dial(&self, target: &Target) -> io::Result<TcpStream> {
        let dialed = timeout(self.limits.connect, target.dialer().dial());
        let stream = match target.cut().run_until_cancelled(dialed).await {
            Some(Ok(dialed)) => dialed?,
            Some(Err(_)) => return Err(io::ErrorKind::TimedOut.into()),
            None => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn over_http1(target: &Target, idle: http1::Idle, request: Request<RequestBody>) -> Tried {
    let again = repeatable(&request);
    let (parts, body) = request.into_parts();
    let asked = {
        let asking = pin!(idle.ask(&parts, body, target.cut()));
        target.cut().run_until_cancelled(asking).await
    };
    match asked.unwrap_or_else(|| Err(http1::Broken::cut())) {
        Ok(response) => Tried::Answered(response.map(Incoming::Http1)),
        Err(http1::Broken::Closed { answered: false, error }) if again => {
            Tried::Again(Failure::Closed(error.into()), Request::from_parts(parts, RequestBody::empty()))
        }
        Err(broken) => Tried::Failed(Failure::from(broken).into()),
    }
}

async fn over_http2(shared: http2::Shared, request: Request<RequestBody>) -> Tried {
    let copy = repeatable(&request).then(|| copy(&request));
    match shared.ask(request).await {
        Ok(response) => Tried::Answered(response.map(Incoming::Http2)),
        Err((error, None)) => match (classify(error), copy) {
            (failure @ Failure::Closed(_), Some(copy)) => Tried::Again(failure, copy),
            (failure, _) => Tried::Failed(failure.into()),
        },
        Err((error, unsent)) => Tried::Failed(Failed { failure: classify(error), request: unsent }),
    }
}

impl From<http1::Broken> for Failure {
    fn from(broken: http1::Broken) -> Self {
        match broken {
            http1::Broken::Closed { error, .. } => Self::Closed(error.into()),
            http1::Broken::Garbled(garbled) => Self::Garbled(garbled.into()),
            http1::Broken::Client(error) => Self::Client(error.into()),
        }
    }
}

fn classify(error: hyper::Error) -> Failure {
    if error.is_parse() {
        Failure::Garbled(error.into())
    } else if error.source().is_some_and(<dyn Error>::is::<BodyError>) {
        Failure::Client(error.into())
    } else {
        Failure::Closed(error.into())
    }
}

/// Whether a request may be sent twice: it has no body, and doing it twice is doing it once (RFC 9110, 9.2.2).
fn repeatable(request: &Request<RequestBody>) -> bool {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    idempotent && request.body().is_empty()
}

fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}
