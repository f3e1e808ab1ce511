//! The listening server: accepts, authenticates, hands channels out, and ends in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Handler;

/// Bounds on what a client can make the server hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one pack.
    pub pack_bytes: u64,
    /// Bytes of one object, unpacked.
    pub object_bytes: usize,
    /// Connections at the same time.
    pub connections: usize,
    /// Time a client has to authenticate.
    pub login: Duration,
}

impl Default for Limits {
    /// 2 GiB, 256 MiB, 256, 20 s.
    fn default() -> Self {
        Self { pack_bytes: 2 << 30, object_bytes: 256 << 20, connections: 256, login: Duration::from_secs(20) }
    }
}

/// A running SSH server.
pub struct Server {}

impl Server {
    /// Listens on `address`; reads the host key, or makes one (0600, durable) if the file does not exist.
    pub async fn bind(
        _address: SocketAddr,
        _host_key: PathBuf,
        _limits: Limits,
        _handler: Arc<dyn Handler>,
    ) -> Result<Self, ServerError> {
        todo!()
    }

    /// Where it listens (the real port).
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// The host's public key, as in `known_hosts`: algorithm and base64.
    pub fn host_key(&self) -> &str {
        todo!()
    }

    /// Stops accepting, lets pushes and commands in flight finish for at most `grace`, then disconnects. Returns when no task is left.
    pub async fn shutdown(self, _grace: Duration) {
        todo!()
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
    /// The host key cannot be read, parsed or made.
    #[error("host key {}: {reason}", path.display())]
    HostKey {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
}
