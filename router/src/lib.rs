//! The HTTP edge: requests in, the right instance out.
//!
//! A [`Router`] listens, looks the request's host up in an immutable [`Table`] (host -> [`Service`] -> [`Target`]s),
//! and passes request and response through, streaming. A deploy is three verbs of its user: make targets, wait until
//! they are [healthy](health), [swap](Router::swap) the table; then [drain](Target::drain) the replaced ones.
//!
//! Certificates come from their owner or from an authority by [`acme`].
//!
//! It does not know where instances come from: a [`Target`] is whatever [`Dial`] connects to.
//!
//! The way of a request: `worker` accepts the connection, `front` speaks `tls` (after what a trusted proxy says in
//! `proxy_protocol`; `proxies` are those) and HTTP/1.1 (through `strict`) or HTTP/2
//! over it, `edge` finds the service, `admit` asks its settings, `head` checks the headers, `onward`
//! says what the app gets of them, `upstream` chooses a target and sends over a connection of its `pool`, in HTTP/1.1 of its own or in HTTP/2,
//! `body` carries both bodies, `promises` what an app says before its answer, `switch` what a client wants to speak instead, `tunnel` an upgraded connection, `compress` may pack an answer, `page` says what went wrong,
//! and `sight` what happened, to the log and to `counts`. `pulse` and `conduct` watch how a connection is used, in ticks of the
//! thread's `clock` or by timers of their own.

pub mod acme;
pub mod health;
#[cfg(any(test, fuzzing))]
pub mod trials;

mod addresses;
mod admit;
mod authority;
mod balance;
mod body;
mod certificates;
mod circuit;
mod clock;
mod compress;
mod conduct;
mod counts;
mod edge;
mod front;
mod head;
mod limits;
mod listeners;
mod meter;
mod onward;
mod page;
mod pool;
mod promises;
mod proxies;
mod proxy_protocol;
mod pulse;
mod queue;
mod request_id;
mod router;
mod settings;
mod sight;
mod strict;
mod switch;
mod table;
mod target;
mod tls;
mod tunnel;
mod upstream;
mod worker;

pub use authority::{Authority, Issued};
pub use certificates::{Certificate, CertificateError, Certificates};
pub use counts::Counts;
pub use limits::Limits;
pub use listeners::Listeners;
pub use meter::Meter;
pub use page::Pages;
pub use proxies::{InvalidNetwork, Network, Proxies};
pub use router::{Https, Router, RouterError};
pub use settings::{Hsts, Queue, Rate, Settings};
pub use sight::{Log, Record};
pub use table::{HostName, InvalidHostName, Service, State, Table, Wake};
pub use target::{Dial, Protocol, Target};
