//! The side towards the apps: choose a target, get a connection, send, and send again where that is safe.

mod answer;
mod chunks;
mod failure;
mod head;
mod http1;
mod http2;
mod reading;
mod sending;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::Response;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::answer::{Answer, BodyBroken};
pub(crate) use self::failure::{Failed, Failure};
use self::failure::{classify, explain};
use crate::balance::{Choice, choose};
use crate::body::{Incoming, Progress};
use crate::clock::Clock;
use crate::limits::Limits;
use crate::meter::Place;
use crate::onward::Onward;
use crate::target::{InFlight, Protocol, Target};

/// A connection to a target that may take a request.
pub(crate) struct Connection {
    kind: Kind,
    thread: usize,
}

enum Kind {
    Http1(http1::Idle),
    Http2(Box<http2::Shared>),
}

impl Connection {
    #[cfg(test)]
    pub(crate) fn over(stream: TcpStream, thread: usize) -> Self {
        Self { kind: Kind::Http1(http1::Idle::new(stream)), thread }
    }

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

    /// The answer is a stream that lasts.
    pub(crate) fn lasts(&mut self) {
        self.in_flight.lasts();
    }

    /// Ends the answer before its end.
    pub(crate) fn cut(&self) -> &CancellationToken {
        self.in_flight.cut()
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

/// Sends requests for one thread.
pub(crate) struct Upstream {
    pub(crate) limits: Limits,
    pub(crate) thread: usize,
    pub(crate) clock: Clock,
}

impl Upstream {
    /// Sends a request to one of `targets`. Others are tried if it takes no connection, or closes it
    /// without an answer and the request may be sent once more.
    pub(crate) async fn send(
        &self,
        targets: &[Arc<Target>],
        choice: &Choice,
        onward: &mut Onward<'_>,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        let mut failed = Failed::unsent(Failure::Drained);
        let mut tried = Vec::new();
        while failed.again
            && let Some((index, in_flight)) = choose(targets, choice, &tried)
        {
            match self.exchange(in_flight.target(), onward).await {
                Ok((response, thread)) => {
                    in_flight.target().circuit().succeeded();
                    return Ok((response, Lease { thread, in_flight }));
                }
                Err(error) => failed = error,
            }
            tried.push(index);
            match failed.partial.take() {
                // Nobody else can be asked. It may be all that there will ever be.
                Some(response) if tried.len() == targets.len() => {
                    return Ok((*response, Lease { thread: self.thread, in_flight }));
                }
                None if failed.failure.is_the_targets() => {
                    in_flight.target().circuit().failed(Instant::now().into_std());
                }
                _ => {}
            }
        }
        Err(failed)
    }

    /// Over a reused connection if there is one; over a fresh one if there is none, or the reused one turned out to be
    /// closed and the request may be sent again. The number is that of the thread that opened it.
    async fn exchange(&self, target: &Target, onward: &mut Onward<'_>) -> Result<(Response<Incoming>, usize), Failed> {
        if let Some(connection) = self.reuse(target) {
            let thread = connection.thread;
            match self.send_over(target, connection, onward).await {
                Ok(response) => return Ok((response, thread)),
                Err(failed) if !failed.again => return Err(failed),
                Err(_) => {}
            }
        }
        // On the heap, here and below, so that most requests need not be as large as some.
        let connection = match Box::pin(self.connect(target)).await {
            Ok(connection) => connection,
            Err(error) => return Err(Failed::unsent(Failure::Connect(error))),
        };
        self.send_over(target, connection, onward).await.map(|response| (response, self.thread))
    }

    fn reuse(&self, target: &Target) -> Option<Connection> {
        match target.protocol() {
            Protocol::Http1 => target.pool().take(self.thread),
            Protocol::H2c => target.pool().share(self.thread),
        }
    }

    async fn send_over(
        &self,
        target: &Target,
        connection: Connection,
        onward: &mut Onward<'_>,
    ) -> Result<Response<Incoming>, Failed> {
        let progress = onward.body.progress();
        let answer = match connection.kind {
            Kind::Http1(idle) => self.in_time(pin!(over_http1(target, idle, onward)), progress).await,
            Kind::Http2(shared) => self.in_time(Box::pin(over_http2(target, *shared, onward)).as_mut(), progress).await,
        };
        answer.unwrap_or_else(|| Err(Failure::Late.into()))
    }

    /// None if no answer came in time; the time begins anew with every part of the request's body that is passed on.
    async fn in_time<T>(&self, mut answer: Pin<&mut impl Future<Output = T>>, progress: Option<Progress>) -> Option<T> {
        let mut deadline = self.clock.after(self.limits.answer);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            // Whoever waits for the answer polls at every tick.
            if !self.clock.is_past(deadline) {
                return Poll::Pending;
            }
            let left = progress.as_ref().and_then(|progress| self.limits.answer.checked_sub(progress.last().elapsed()));
            let Some(left) = left else { return Poll::Ready(None) };
            deadline = self.clock.after(left);
            Poll::Pending
        })
        .await
    }

    async fn connect(&self, target: &Target) -> io::Result<Connection> {
        let stream = self.dial(target).await?;
        let kind = match target.protocol() {
            Protocol::Http1 => Kind::Http1(http1::Idle::new(stream)),
            Protocol::H2c => {
                let opened = http2::Shared::open(stream, target.hang_up()).await;
                Kind::Http2(Box::new(opened.map_err(io::Error::other)?))
            }
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

async fn over_http1(target: &Target, idle: http1::Idle, onward: &mut Onward<'_>) -> Result<Response<Incoming>, Failed> {
    let broken = match idle.ask(onward, target.cut()).await {
        Ok(response) => return Ok(response.map(Incoming::Http1)),
        Err(broken) => broken,
    };
    let again = match &broken {
        // The kernel resets what the app has not read.
        http1::Broken::Closed { answered: false, error } if error.kind() == io::ErrorKind::ConnectionReset => {
            onward.is_repeatable()
        }
        // What has come of an answer has not been passed on.
        http1::Broken::Closed { .. } => onward.may_be_repeated(),
        http1::Broken::Short(_) => true,
        _ => false,
    };
    let (failure, partial) = explain(broken);
    Err(Failed { failure, again, partial })
}

async fn over_http2(
    target: &Target,
    shared: http2::Shared,
    onward: &mut Onward<'_>,
) -> Result<Response<Incoming>, Failed> {
    let Some(answer) = target.cut().run_until_cancelled(shared.ask(onward)).await else {
        return Err(Failure::Closed(io::Error::from(io::ErrorKind::ConnectionAborted).into()).into());
    };
    match answer {
        Ok(mut response) => {
            crate::head::to_client(&mut response);
            Ok(response.map(Incoming::Http2))
        }
        Err((error, unsent)) => {
            let failure = classify(error);
            let again = unsent || matches!(failure, Failure::Closed(_)) && onward.may_be_repeated();
            Err(Failed { failure, again, partial: None })
        }
    }
}

/// See [`crate::trials`]: an app's answer is read the same however it arrives; the first byte says how.
#[cfg(any(test, fuzzing))]
pub(crate) fn trial(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = bytes::Bytes::copy_from_slice(bytes);
    let cut_at = usize::from(*cut).min(bytes.len());
    let end = head::end(bytes, 0);
    assert_eq!(end, head::end(&bytes[..cut_at], 0).or_else(|| head::end(bytes, cut_at)), "the cut matters");
    let _ = end.map(|end| head::parse(&whole.slice(..end), &hyper::Method::GET));
    assert_eq!(
        chunks::trial([bytes.into(), bytes::BytesMut::new()]),
        chunks::trial(crate::trials::halves(bytes, *cut))
    );
}
