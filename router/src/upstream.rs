//! The side towards the apps: choose a target, get a connection, send, and send again where that is safe.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};

use crate::body::{BodyError, Progress, RequestBody};
use crate::limits::{BUFFER_BYTES, Limits};
use crate::target::{InFlight, Target};
use crate::wire::{Answered, Wire};

/// A connection to a target that hyper drives in a task of its own, on the thread that opened it.
pub(crate) struct Connection {
    sender: SendRequest<RequestBody>,
    answered: Answered,
    thread: usize,
}

impl Connection {
    /// Whether it can take a request now.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
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
        if !target.is_draining() {
            target.pool().put(self.connection);
        }
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
    /// Sends `request` to the one of `targets` with the fewest in flight; `turn` decides between equals. Another is
    /// tried if it takes no connection.
    pub(crate) async fn send(
        &self,
        targets: &[Arc<Target>],
        turn: usize,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        let mut failed = Failed { failure: Failure::Drained, request: Some(Box::new(request)) };
        let mut tried = Vec::new();
        while let Some(request) = failed.request.take() {
            let Some((index, in_flight)) = choose(targets, turn, &tried) else {
                failed.request = Some(request);
                break;
            };
            match self.exchange(in_flight.target(), *request).await {
                Ok((response, connection)) => return Ok((response, Lease { connection, in_flight })),
                Err(again) => failed = again,
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
        if let Some(connection) = target.pool().take(self.thread) {
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

    async fn send_over(
        &self,
        mut connection: Connection,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Connection), Failed> {
        connection.answered.reset();
        let progress = request.body().progress();
        match self.in_time(connection.sender.try_send_request(request), progress).await {
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
        let (sender, connection) = protocol().handshake(wire).await.map_err(io::Error::other)?;
        let cut = target.cut().clone();
        // Ends with the connection, with the target, or with this thread's runtime.
        tokio::spawn(async move { cut.run_until_cancelled(connection.with_upgrades()).await });
        Ok(Connection { sender, answered, thread: self.thread })
    }
}

fn protocol() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.writev(false).max_buf_size(BUFFER_BYTES);
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

/// The target with the fewest in flight that is not in `tried` and does not drain.
fn choose(targets: &[Arc<Target>], turn: usize, tried: &[usize]) -> Option<(usize, InFlight)> {
    let rotated = (0..targets.len()).map(|offset| (turn.wrapping_add(offset)) % targets.len());
    let candidates = rotated.filter(|index| !tried.contains(index) && !targets[*index].is_draining());
    let index = candidates.min_by_key(|index| targets[*index].in_flight())?;
    match targets[index].enter() {
        Some(in_flight) => Some((index, in_flight)),
        // It began to drain just now.
        None => choose(targets, turn, tried),
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
