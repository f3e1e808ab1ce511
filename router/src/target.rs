//! One thing that answers requests, and what is in flight to it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;

/// Opens connections to a target.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// A fresh TCP connection.
    async fn dial(&self) -> std::io::Result<TcpStream>;
}

/// One upstream of a service. Shared by every table that names it; the count of what is in flight is its own.
pub struct Target {
    name: String,
}

impl Target {
    /// A target of this name (for logs), reached by `dial`.
    pub fn new(_name: impl Into<String>, _dial: impl Dial) -> Self {
        todo!()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Requests and upgraded connections in flight.
    pub fn in_flight(&self) -> usize {
        todo!()
    }

    /// Waits until nothing is in flight; after `limit` cuts what is left (upgraded connections too). Idle pooled connections are closed.
    /// Call it after a table without this target has been swapped in.
    pub async fn drain(&self, _limit: Duration) {
        todo!()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}
