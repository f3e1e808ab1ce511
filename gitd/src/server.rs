//! The listening server: accepts, authenticates, hands channels out, and ends in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::{Algorithm, HashAlg};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, kex, mac};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, Admitted};
use crate::connection::{self, Connection, WINDOW};
use crate::push_lock::PushLocks;
use crate::{Handler, Limits, host_key};

/// A running SSH server. Dropped without [`Server::shutdown`] it stops by itself, but nobody waits for its tasks.
pub struct Server {
    address: SocketAddr,
    host_key: String,
    service: Arc<Service>,
    connections: TaskTracker,
}

impl Server {
    /// Listens on `address`; reads the host key, or makes one (0600, durable) if the file does not exist.
    pub async fn bind(
        address: SocketAddr,
        host_key: PathBuf,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(address).await.and_then(TcpListener::into_std);
        let listener = listener.map_err(|source| ServerError::Bind { address, source })?;
        Self::on(listener, host_key, limits, handler)
    }

    /// The same on a socket that listens already. While a copy of it is open elsewhere no connection is refused: what this server
    /// does not accept another can.
    pub fn on(
        listener: std::net::TcpListener,
        host_key: PathBuf,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, ServerError> {
        let address = listener.local_addr().map_err(ServerError::Socket)?;
        listener.set_nonblocking(true).map_err(ServerError::Socket)?;
        let listener = TcpListener::from_std(listener).map_err(ServerError::Socket)?;
        let key = host_key::load_or_create(&host_key)?;
        let public = host_key::public(&key)
            .map_err(|error| ServerError::HostKey { path: host_key, reason: error.to_string() })?;
        let service = Arc::new(Service::new(handler, limits));
        let connections = TaskTracker::new();
        let accepting =
            accept(listener, Arc::new(config(key, &service.limits)), Arc::clone(&service), connections.clone());
        connections.spawn(accepting);
        Ok(Self { address, host_key: public, service, connections })
    }

    /// Where it listens (the real port).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host's public key, as in `known_hosts`: algorithm and base64.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// Takes no new connection and no new channel any more. What waits in the socket can be accepted by another server.
    pub fn stop_accepting(&self) {
        self.service.stopping.cancel();
    }

    /// Stops accepting, lets pushes and commands in flight finish for at most `grace`, then disconnects. Returns when no task is left.
    pub async fn shutdown(self, grace: Duration) {
        self.stop_accepting();
        self.service.work.close();
        let _still_busy = tokio::time::timeout(grace, self.service.work.wait()).await;
        self.service.disconnect.cancel();
        self.connections.close();
        self.connections.wait().await;
        self.service.work.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.service.stopping.cancel();
        self.service.disconnect.cancel();
    }
}

/// What all connections of a server share.
pub(crate) struct Service {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) limits: Limits,
    pub(crate) push_locks: PushLocks,
    /// Packs are consolidated in one repository at a time.
    pub(crate) consolidating: Arc<Semaphore>,
    /// Pushes, commands, shells and forwarded connections in flight.
    pub(crate) work: TaskTracker,
    /// No new connections, no new channels.
    pub(crate) stopping: CancellationToken,
    /// Every connection is to end.
    pub(crate) disconnect: CancellationToken,
}

impl Service {
    fn new(handler: Arc<dyn Handler>, limits: Limits) -> Self {
        Self {
            handler,
            limits,
            push_locks: PushLocks::default(),
            consolidating: Arc::new(Semaphore::new(1)),
            work: TaskTracker::new(),
            stopping: CancellationToken::new(),
            disconnect: CancellationToken::new(),
        }
    }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken or not allowed.
    #[error("listening for SSH on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The socket is none that one can listen on.
    #[error("listening for SSH: {0}")]
    Socket(std::io::Error),
    /// The host key cannot be read, parsed or made.
    #[error("host key {}: {reason}", path.display())]
    HostKey {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
}

async fn accept(listener: TcpListener, config: Arc<Config>, service: Arc<Service>, connections: TaskTracker) {
    let admission = Arc::new(Admission::new(service.limits.clone()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = service.stopping.cancelled() => return,
        };
        match accepted.map(|(stream, peer)| (stream, peer, admission.admit(peer.ip()))) {
            Ok((stream, peer, Ok(admitted))) => {
                drop(connections.spawn(serve(stream, peer, admitted, Arc::clone(&config), Arc::clone(&service))));
            }
            Ok((stream, peer, Err(refused))) => {
                tracing::warn!(%peer, %refused, "connection refused");
                // Before its greeting a server may say other lines; OpenSSH shows them with `-v`.
                let _gone = stream.try_write(format!("{refused}\r\n").as_bytes());
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                // Out of descriptors, most likely: the connection stays in the queue, so do not spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, admitted: Admitted, config: Arc<Config>, service: Arc<Service>) {
    let connection = Connection::new(peer, admitted, Arc::clone(&service));
    match connection::run(stream, connection, config, &service).await {
        Ok(()) => tracing::debug!(%peer, "connection ended"),
        Err(error) => tracing::debug!(%peer, %error, "connection ended"),
    }
}

/// Those that authenticate what was encrypted. Ciphers that do that themselves need none.
const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];

fn config(key: PrivateKey, limits: &Limits) -> Config {
    let keys: Vec<Algorithm> = Preferred::DEFAULT
        .key
        .iter()
        .filter(|algorithm| !matches!(algorithm, Algorithm::Rsa { hash: None | Some(HashAlg::Sha256) }))
        .cloned()
        .collect();
    // 2048 bits are no longer enough for the years that what is recorded today is kept.
    let kex: Vec<kex::Name> =
        Preferred::DEFAULT.kex.iter().filter(|name| **name != kex::DH_G14_SHA256).copied().collect();
    Config {
        server_id: SshId::Standard(concat!("SSH-2.0-airstrip_", env!("CARGO_PKG_VERSION")).into()),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        // A public key cannot be guessed; the time only hides whether a key is known, and agents offer several.
        auth_rejection_time: Duration::from_millis(50),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        preferred: Preferred { key: keys.into(), kex: kex.into(), mac: MACS.into(), ..Preferred::DEFAULT },
        window_size: WINDOW,
        // Packets of 32 KiB at most that wait for the session loop, from all channels of a connection.
        event_buffer_size: 64,
        // Answers to keepalives count as activity: only a client that is gone or stopped runs into either.
        keepalive_interval: Some(Duration::from_secs(30)),
        keepalive_max: 4,
        inactivity_timeout: Some(Duration::from_secs(600)),
        // OpenSSH begins with a try that has no key, to hear what is possible.
        max_auth_attempts: limits.tries.saturating_add(1),
        nodelay: true,
        ..Config::default()
    }
}
