//! One thing that answers requests, and what is in flight to it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::circuit::Circuit;
use crate::meter::Place;
use crate::pool::Pool;

/// Opens connections to a target.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// A fresh TCP connection.
    async fn dial(&self) -> std::io::Result<TcpStream>;
}

/// What a target speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge: what gRPC needs.
    H2c,
}

/// One upstream of a service. Shared by every table that names it; the count of what is in flight is its own.
pub struct Target {
    name: String,
    label: Option<String>,
    dial: Box<dyn Dial>,
    protocol: Protocol,
    /// How many are in flight, and in the highest bit whether it drains: one word, so that whoever enters either is
    /// seen by the drain or sees it.
    load: AtomicUsize,
    /// How many of these last for as long as somebody lets them: upgraded connections, and streams of events.
    lasting: AtomicUsize,
    /// Told when less is in flight to a draining target.
    fewer: Notify,
    /// Ends every connection to it that carries requests.
    cut: CancellationToken,
    /// Ends streams of events.
    cut_streams: CancellationToken,
    /// Ends upgraded connections.
    hang_up: CancellationToken,
    pool: Pool,
    circuit: Circuit,
}

const DRAINING: usize = 1 << (usize::BITS - 1);

impl Target {
    /// A target of this name (for logs), reached by `dial`.
    pub fn new(name: impl Into<String>, dial: impl Dial) -> Self {
        Self {
            name: name.into(),
            label: None,
            dial: Box::new(dial),
            protocol: Protocol::default(),
            load: AtomicUsize::new(0),
            lasting: AtomicUsize::new(0),
            fewer: Notify::new(),
            cut: CancellationToken::new(),
            cut_streams: CancellationToken::new(),
            hang_up: CancellationToken::new(),
            pool: Pool::default(),
            circuit: Circuit::default(),
        }
    }

    /// The same, speaking this.
    #[must_use]
    pub fn speaking(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// The same, called this in records of requests.
    #[must_use]
    pub fn labelled(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// What records of requests call it: its name, unless that was changed.
    pub fn label(&self) -> &str {
        self.label.as_ref().unwrap_or(&self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Requests and upgraded connections in flight.
    pub fn in_flight(&self) -> usize {
        self.load.load(Ordering::SeqCst) & !DRAINING
    }

    /// Waits until nothing is in flight; after `limit` cuts what is left (streams and upgraded connections too). Idle pooled connections are closed.
    /// Call it after a table without this target has been swapped in. A drained target takes no request any more.
    pub async fn drain(&self, limit: Duration) {
        self.drain_until(limit, |target| target.in_flight() == 0).await;
        self.cut_streams();
        self.hang_up.cancel();
    }

    /// The same, but streams of events and upgraded connections are neither waited for nor cut: wait for [`emptied`](Self::emptied),
    /// and [cut](Self::cut_streams) the streams. An app that is told to end closes upgraded connections with a word.
    pub async fn drain_requests(&self, limit: Duration) {
        self.drain_until(limit, Self::has_no_request).await;
    }

    async fn drain_until(&self, limit: Duration, done: impl Fn(&Self) -> bool) {
        self.load.fetch_or(DRAINING, Ordering::SeqCst);
        self.pool.clear();
        if tokio::time::timeout(limit, self.become_so(done)).await.is_err() {
            tracing::info!(
                target = self.name,
                in_flight = self.in_flight(),
                "drain limit reached: cutting what is left"
            );
        }
        self.cut.cancel();
        self.pool.clear();
    }

    /// Ends streams of events, whose clients come again by themselves.
    pub fn cut_streams(&self) {
        self.cut_streams.cancel();
    }

    /// Waits until nothing is in flight to a target that drains.
    pub async fn emptied(&self) {
        self.become_so(|target| target.in_flight() == 0).await;
    }

    async fn become_so(&self, done: impl Fn(&Self) -> bool) {
        loop {
            let told = self.fewer.notified();
            if done(self) {
                return;
            }
            told.await;
        }
    }

    /// Nothing counts as lasting but while it is in flight, so there is never too much of it here.
    fn has_no_request(&self) -> bool {
        let lasting = self.lasting.load(Ordering::SeqCst);
        self.in_flight() <= lasting
    }

    /// Counts one more in flight; None if the target drains or has been drained.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<InFlight> {
        let before = self.load.fetch_add(1, Ordering::SeqCst);
        let entered = InFlight { target: Arc::clone(self), place: None, lasts: false };
        (before & DRAINING == 0).then_some(entered)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.load.load(Ordering::SeqCst) & DRAINING != 0
    }

    pub(crate) fn dialer(&self) -> &dyn Dial {
        &*self.dial
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    pub(crate) fn hang_up(&self) -> &CancellationToken {
        &self.hang_up
    }

    fn tell_if_draining(&self, load: usize) {
        if load & DRAINING != 0 {
            self.fewer.notify_waiters();
        }
    }

    pub(crate) fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One request or upgraded connection in flight; dropping it ends the count.
pub(crate) struct InFlight {
    target: Arc<Target>,
    /// Its place in the count of the service.
    place: Option<Place>,
    lasts: bool,
}

impl InFlight {
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    pub(crate) fn hold(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// It is an upgraded connection or a stream from now on.
    pub(crate) fn lasts(&mut self) {
        self.lasts = true;
        self.target.lasting.fetch_add(1, Ordering::SeqCst);
        self.target.tell_if_draining(self.target.load.load(Ordering::SeqCst));
    }

    /// Ends an answer.
    pub(crate) fn cut(&self) -> &CancellationToken {
        if self.lasts { &self.target.cut_streams } else { &self.target.cut }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.lasts {
            self.target.lasting.fetch_sub(1, Ordering::SeqCst);
        }
        self.target.tell_if_draining(self.target.load.fetch_sub(1, Ordering::SeqCst));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    #[async_trait]
    impl Dial for Nowhere {
        async fn dial(&self) -> std::io::Result<TcpStream> {
            Err(std::io::ErrorKind::NotConnected.into())
        }
    }

    #[tokio::test]
    async fn nothing_enters_once_a_drain_has_begun() {
        let target = Arc::new(Target::new("old", Nowhere));
        let early = target.enter().unwrap();
        let drain = target.drain(Duration::from_secs(60));
        let mut drain = std::pin::pin!(drain);
        assert!(futures_util::poll!(&mut drain).is_pending());
        assert!(target.enter().is_none());
        assert_eq!(target.in_flight(), 1, "the one turned away does not count");
        drop(early);
        drain.await;
        assert!(target.enter().is_none());
        assert_eq!(target.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_drain_of_requests_leaves_upgraded_connections_alone() {
        let target = Arc::new(Target::new("old", Nowhere));
        let (request, mut socket) = (target.enter().unwrap(), target.enter().unwrap());
        let mut drain = std::pin::pin!(target.drain_requests(Duration::from_secs(60)));
        assert!(futures_util::poll!(&mut drain).is_pending());
        socket.lasts();
        assert!(futures_util::poll!(&mut drain).is_pending(), "the other is one still");
        drop(request);
        drain.await;
        assert!(target.cut().is_cancelled() && !target.hang_up().is_cancelled() && target.enter().is_none());
        let mut emptied = std::pin::pin!(target.emptied());
        assert!(futures_util::poll!(&mut emptied).is_pending());
        drop(socket);
        emptied.await;
        assert_eq!(target.in_flight(), 0);
    }

    /// Many threads enter and leave while one drains: it ends with the last of them, and lets none in after that.
    #[test]
    fn threads_cannot_slip_past_a_drain() {
        for _ in 0..200 {
            let target = Arc::new(Target::new("old", Nowhere));
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        start.wait();
                        // Until it is turned away.
                        while let Some(entered) = target.enter() {
                            drop(entered);
                        }
                    });
                }
                start.wait();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                let drained = target.drain(Duration::from_secs(20));
                let began = std::time::Instant::now();
                runtime.block_on(drained);
                assert!(began.elapsed() < Duration::from_secs(20), "a wake-up was lost");
                assert!(target.enter().is_none());
            });
            assert_eq!(target.in_flight(), 0);
        }
    }
}
