//! The listening side.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Table;

/// A running edge: one thread and one single-threaded runtime per core, each accepting on the same address.
pub struct Router {}

impl Router {
    /// Listens on `address` with an empty table.
    pub fn bind(_address: SocketAddr) -> Result<Self, RouterError> {
        todo!()
    }

    /// Where it listens (the real port).
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// Requests that begin from now on see `table`.
    pub fn swap(&self, _table: Table) {
        todo!()
    }

    /// Stops accepting, lets what is in flight end for at most `grace`, cuts the rest; returns when all threads have ended.
    pub async fn shutdown(self, _grace: Duration) {
        todo!()
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
    /// A thread could not be started.
    #[error("starting the router: {0}")]
    Thread(std::io::Error),
}
