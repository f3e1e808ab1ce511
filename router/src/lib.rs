//! The HTTP edge: requests in, the right instance out.
//!
//! A [`Router`] listens, looks the request's host up in an immutable [`Table`] (host -> [`Service`] -> [`Target`]s),
//! and passes request and response through, streaming. A deploy is three verbs of its user: make targets, wait until
//! they are [healthy](health), [swap](Router::swap) the table; then [drain](Target::drain) the replaced ones.
//!
//! It does not know where instances come from: a [`Target`] is whatever [`Dial`] connects to.

pub mod health;

mod router;
mod table;
mod target;

pub use router::{Router, RouterError};
pub use table::{HostName, InvalidHostName, Service, State, Table};
pub use target::{Dial, Target};
