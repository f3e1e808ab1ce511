//! The HTTP edge: requests in, the right instance out.
//!
//! A [`Router`] listens, looks the request's host up in an immutable [`Table`] (host -> [`Service`] -> [`Target`]s),
//! and passes request and response through, streaming. A deploy is three verbs of its user: make targets, wait until
//! they are [healthy](health), [swap](Router::swap) the table; then [drain](Target::drain) the replaced ones.
//!
//! It does not know where instances come from: a [`Target`] is whatever [`Dial`] connects to.
//!
//! The way of a request: `worker` accepts the connection, `edge` finds the service, `head` checks and rewrites the
//! headers, `upstream` chooses a target and sends over a connection of its `pool`, `body` carries both bodies, `tunnel`
//! an upgraded connection, and `page` says what went wrong.

pub mod health;

mod body;
mod edge;
mod head;
mod limits;
mod page;
mod pool;
mod router;
mod table;
mod target;
mod tunnel;
mod upstream;
mod wire;
mod worker;

pub use limits::Limits;
pub use router::{Router, RouterError};
pub use table::{HostName, InvalidHostName, Service, State, Table};
pub use target::{Dial, Target};
