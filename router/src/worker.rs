//! One thread of the router: a single-threaded runtime that accepts connections and serves them.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::edge::Edge;
use crate::head::Client;
use crate::limits::{BUFFER_BYTES, HEAD_BYTES, Limits, SWEEP};

/// When accepting fails for want of descriptors or memory, the pause before the next try.
const BREATH: Duration = Duration::from_millis(20);

/// The two steps of a shutdown, and what it waits for: shared by all threads, because a request of one may use a
/// connection that another drives.
#[derive(Clone, Default)]
pub(crate) struct Shutdown {
    /// No connection is accepted any more, and those that are idle end.
    pub(crate) stop: CancellationToken,
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
    /// Held while accepting.
    pub(crate) accepting: TaskTrackerToken,
}

impl Worker {
    /// Serves until it is told to stop and all threads have nothing open, or it is cut.
    pub(crate) async fn run(self, listener: std::net::TcpListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the listening socket cannot be used"),
        };
        let Shutdown { cut, open, .. } = self.shutdown.clone();
        let edge = Arc::clone(&self.edge);
        tokio::select! {
            () = async { self.accept(listener).await; open.wait().await } => {}
            () = sweep(&edge) => {}
            () = cut.cancelled() => {}
        }
    }

    async fn accept(self, listener: TcpListener) {
        let stop = self.shutdown.stop.clone();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let taken = stop.run_until_cancelled(self.take(accepted)).await;
            if taken.is_none() {
                break;
            }
        }
        // Connections that the kernel has completed would be reset with the listener.
        while let Some(accepted) = listener.accept().now_or_never() {
            if self.take(accepted).now_or_never().is_none() {
                break;
            }
        }
        drop(self.accepting);
    }

    /// Serves what was accepted, once there is a slot for it: one connection a thread may wait here, the others in the
    /// kernel's queue.
    async fn take(&self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, peer)) => {
                let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
                let connection = serve(Arc::clone(&self.edge), stream, peer, self.shutdown.stop.clone());
                self.shutdown.open.spawn(async move {
                    connection.await;
                    drop(slot);
                });
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
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        edge.sweep();
    }
}

/// Serves one client connection; once told to stop it ends after the answer in progress.
async fn serve(edge: Arc<Edge>, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
    let builder = protocol(edge.limits());
    let client = Client::new(peer, edge.port());
    let service = service_fn(move |request| {
        let (edge, client) = (Arc::clone(&edge), client.clone());
        async move { Ok::<_, std::convert::Infallible>(edge.answer(&client, request).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "client connection");
    }
}

fn protocol(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .writev(false);
    builder
}
