//! The listening side.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::header::HeaderValue;
use tokio::sync::{Notify, Semaphore};

use crate::addresses::Addresses;
use crate::certificates::Certificates;
use crate::edge::{Edge, Shared};
use crate::front::Door;
use crate::listeners::Listeners;
use crate::tls::Acceptor;
use crate::worker::{Shutdown, Worker};
use crate::{Limits, Table};

/// A running edge: one thread and one single-threaded runtime per core, each accepting on the same address.
/// Dropped without [`shutdown`](Self::shutdown) it cuts everything.
pub struct Router {
    http: SocketAddr,
    https: Option<SocketAddr>,
    table: Arc<ArcSwap<Table>>,
    /// Wakes requests that wait for another table.
    changed: Arc<Notify>,
    shutdown: Shutdown,
    threads: Vec<JoinHandle<()>>,
}

impl Router {
    /// Listens on `address`; the first request already sees `table`.
    pub fn bind(address: SocketAddr, table: Table) -> Result<Self, RouterError> {
        Self::with_limits(address, table, &Limits::default())
    }

    /// As [`bind`](Self::bind), within these limits.
    pub fn with_limits(address: SocketAddr, table: Table, limits: &Limits) -> Result<Self, RouterError> {
        Self::open(address, None, table, limits)
    }

    /// Listens for HTTP, and for HTTPS if it is told with which certificates.
    pub fn open(http: SocketAddr, https: Option<Https>, table: Table, limits: &Limits) -> Result<Self, RouterError> {
        let https = https.map(|https| Ok((Listeners::bind(https.address, limits)?, https.certificates))).transpose()?;
        Self::on(Listeners::bind(http, limits)?, https, table, limits)
    }

    /// Accepts from sockets that listen already, such as those of another router.
    pub fn on(
        http: Listeners,
        https: Option<(Listeners, Arc<Certificates>)>,
        table: Table,
        limits: &Limits,
    ) -> Result<Self, RouterError> {
        let plain = Entrance::new(http, None, limits)?;
        let certificates = https.as_ref().map(|(_, certificates)| Arc::clone(certificates));
        let secure = https.map(|(listeners, certificates)| Entrance::new(listeners, Some(certificates), limits));
        let secure = secure.transpose()?;
        let mut router = Self {
            http: plain.address,
            https: secure.as_ref().map(|entrance| entrance.address),
            table: Arc::new(ArcSwap::from_pointee(table)),
            changed: Arc::default(),
            shutdown: Shutdown::default(),
            threads: Vec::new(),
        };
        router.start([Some(plain), secure].into_iter().flatten().collect(), certificates, limits)?;
        Ok(router)
    }

    fn start(
        &mut self,
        mut entrances: Vec<Entrance>,
        certificates: Option<Arc<Certificates>>,
        limits: &Limits,
    ) -> Result<(), RouterError> {
        let slots = Arc::new(Semaphore::new(limits.connections));
        let addresses = Arc::new(Addresses::default());
        let shared = Arc::new(Shared {
            table: Arc::clone(&self.table),
            changed: Arc::clone(&self.changed),
            certificates,
            https_port: self.https.map(|address| address.port()),
            tunnels: self.shutdown.open.clone(),
        });
        for thread in 0..limits.threads {
            let worker = Worker {
                edge: Arc::new(Edge::new(Arc::clone(&shared), limits.clone(), thread)),
                shutdown: self.shutdown.clone(),
                slots: Arc::clone(&slots),
                addresses: Arc::clone(&addresses),
                accepting: self.shutdown.open.token(),
            };
            let doors = entrances.iter_mut().flat_map(Entrance::of_next_thread).collect();
            self.threads.push(start(thread, worker, doors).map_err(RouterError::Thread)?);
        }
        self.shutdown.open.close();
        Ok(())
    }

    /// Where it listens for HTTP (the real port).
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Where it listens for HTTPS, if it does (the real port).
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https
    }

    /// Requests that begin from now on see `table`. The one before comes back: a large one takes a while to be freed.
    pub fn swap(&self, table: Table) -> Arc<Table> {
        let replaced = self.table.swap(Arc::new(table));
        self.changed.notify_waiters();
        replaced
    }

    /// Stops accepting, lets what is in flight end for at most `grace`, cuts the rest; returns when all threads have ended.
    pub async fn shutdown(self, grace: Duration) {
        self.leave(Duration::ZERO, grace).await;
    }

    /// The same, but clients may use the connections that they have for `linger` more: what is asked on them is answered
    /// with the request to connect anew. Another router accepts from the same sockets then, and no request is lost.
    pub async fn leave(mut self, linger: Duration, grace: Duration) {
        self.shutdown.stop.say(linger.is_zero());
        let threads = std::mem::take(&mut self.threads);
        let mut ended = tokio::task::spawn_blocking(move || threads.into_iter().for_each(join));
        if tokio::time::timeout(linger.min(grace), &mut ended).await.is_ok() {
            return;
        }
        self.shutdown.stop.say(true);
        if tokio::time::timeout(grace.saturating_sub(linger), &mut ended).await.is_err() {
            tracing::info!("shutdown: cutting the requests that are still in flight");
            self.shutdown.cut.cancel();
            // A task of ours that panicked has said so; there is nothing left to wait for.
            let _ = ended.await;
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shutdown.stop.say(true);
        self.shutdown.cut.cancel();
    }
}

/// Listening for HTTPS.
pub struct Https {
    /// Where.
    pub address: SocketAddr,
    /// With which certificates; they may change while it listens.
    pub certificates: Arc<Certificates>,
}

/// One address, and the listeners on it of each thread.
struct Entrance {
    address: SocketAddr,
    door: Arc<Door>,
    listeners: Vec<Vec<TcpListener>>,
}

impl Entrance {
    fn new(
        listeners: Listeners,
        certificates: Option<Arc<Certificates>>,
        limits: &Limits,
    ) -> Result<Self, RouterError> {
        let address = listeners.address();
        let tls = certificates.map(Acceptor::new).transpose().map_err(RouterError::Tls)?;
        let door = Arc::new(Door { port: HeaderValue::from(address.port()), tls });
        let listeners = listeners.shared_out(limits).map_err(|source| RouterError::Bind { address, source })?;
        Ok(Self { address, door, listeners })
    }

    fn of_next_thread(&mut self) -> Vec<(Arc<Door>, TcpListener)> {
        let listeners = self.listeners.pop().unwrap_or_default();
        listeners.into_iter().map(|listener| (Arc::clone(&self.door), listener)).collect()
    }
}

/// Why the router could not start.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The address is taken or not allowed.
    #[error("listening for HTTP on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// TLS could not be set up.
    #[error("setting up TLS: {0}")]
    Tls(rustls::Error),
    /// A thread could not be started.
    #[error("starting the router: {0}")]
    Thread(std::io::Error),
}

fn start(thread: usize, worker: Worker, doors: Vec<(Arc<Door>, TcpListener)>) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(format!("router-{thread}")).spawn(move || runtime.block_on(worker.run(doors)))
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the router panicked");
    }
}
