//! The router against small servers in the same process: raw sockets where precise bytes matter, hyper elsewhere.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod acme;
mod answers;
mod awaiting;
mod compression;
mod deploys;
mod headers;
mod health;
mod hostile;
mod http2;
mod limits;
mod pages;
mod proxies;
mod retries;
mod routing;
mod seen;
mod streaming;
mod streams;
mod strict;
mod successors;
mod support;
mod tls;
mod upgrades;
