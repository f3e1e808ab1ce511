//! One thread of the router: a single-threaded runtime that accepts connections and serves them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::addresses::Addresses;
use crate::edge::Edge;
use crate::front::{self, Door};
use crate::limits::SWEEP;

/// When accepting fails for want of descriptors or memory, the pause before the next try.
const BREATH: Duration = Duration::from_millis(20);

/// Tells connections to end.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    /// No connection is accepted any more; clients are asked to connect anew.
    soon: CancellationToken,
    /// Connections that are idle end.
    now: CancellationToken,
    /// The two, for every request to look at.
    said: Arc<AtomicBool>,
    said_now: Arc<AtomicBool>,
}

impl Stop {
    pub(crate) fn say(&self, now: bool) {
        self.said.store(true, Ordering::Relaxed);
        self.soon.cancel();
        if now {
            self.said_now.store(true, Ordering::Relaxed);
            self.now.cancel();
        }
    }

    pub(crate) fn is_said(&self) -> bool {
        self.said.load(Ordering::Relaxed)
    }

    pub(crate) fn is_now(&self) -> bool {
        self.said_now.load(Ordering::Relaxed)
    }

    pub(crate) fn soon(&self) -> &CancellationToken {
        &self.soon
    }

    pub(crate) fn now(&self) -> &CancellationToken {
        &self.now
    }
}

/// The steps of a shutdown, and what it waits for: shared by all threads, because a request of one may use a
/// connection that another drives.
#[derive(Clone, Default)]
pub(crate) struct Shutdown {
    /// No connection is accepted any more, and those that are idle end.
    pub(crate) stop: Stop,
    /// What is left ends.
    pub(crate) cut: CancellationToken,
    /// Client connections, tunnels, and the threads that still accept.
    pub(crate) open: TaskTracker,
}

/// What a thread needs to run.
pub(crate) struct Worker {
    pub(crate) edge: Arc<Edge>,
    pub(crate) shutdown: Shutdown,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) addresses: Arc<Addresses>,
    /// Held while accepting.
    pub(crate) accepting: TaskTrackerToken,
}

impl Worker {
    /// Serves until it is told to stop and all threads have nothing open, or it is cut.
    pub(crate) async fn run(self, doors: Vec<(Arc<Door>, std::net::TcpListener)>) {
        let doors = doors.into_iter().map(|(door, listener)| Ok((door, TcpListener::from_std(listener)?)));
        let doors: Vec<_> = match doors.collect::<io::Result<_>>() {
            Ok(doors) => doors,
            Err(error) => return tracing::error!(%error, "the listening socket cannot be used"),
        };
        let Shutdown { cut, open, .. } = self.shutdown.clone();
        let edge = Arc::clone(&self.edge);
        tokio::select! {
            () = async { self.accept_all(doors).await; open.wait().await } => {}
            () = sweep(&edge) => {}
            () = cut.cancelled() => {}
        }
    }

    async fn accept_all(self, doors: Vec<(Arc<Door>, TcpListener)>) {
        join_all(doors.into_iter().map(|(door, listener)| self.accept(door, listener))).await;
        drop(self.accepting);
    }

    async fn accept(&self, door: Arc<Door>, listener: TcpListener) {
        let stop = self.shutdown.stop.soon().clone();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            // To the end, also when it is told to stop meanwhile: what was accepted is served.
            self.take(&door, accepted).await;
        }
        // Connections that the kernel has completed would be reset with the listener.
        while let Some(accepted) = listener.accept().now_or_never() {
            if self.take(&door, accepted).now_or_never().is_none() {
                break;
            }
        }
    }

    /// Serves what was accepted, once there is a slot for it: one connection a thread may wait here, the others in the
    /// kernel's queue.
    async fn take(&self, door: &Arc<Door>, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, peer)) => {
                let limits = self.edge.limits();
                let many = limits.proxies.trusts(peer.ip());
                let most = if many { usize::MAX } else { limits.connections_per_address };
                let Some(open) = self.addresses.enter(peer.ip(), most) else { return };
                let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
                let stop = self.shutdown.stop.clone();
                let connection = front::serve(Arc::clone(&self.edge), Arc::clone(door), stream, (peer, open), stop);
                // Not an async block: that would have room for the connection twice.
                self.shutdown.open.spawn(connection.map(move |()| drop(slot)));
            }
            // The client gave up before it was accepted.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn sweep(edge: &Edge) {
    let every = edge.clock().ticks_in(SWEEP);
    loop {
        edge.clock().tick().await;
        if edge.clock().now().is_multiple_of(every) {
            edge.sweep();
        }
    }
}
