//! The server against the real `git` and `ssh`.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod audit;
mod bounds;
mod bulk;
mod clients;
mod crash;
mod differential;
mod exec;
mod fetch;
mod forward;
mod harness;
mod hostile;
mod keys;
mod log;
mod push;
mod raw_push;
mod refs;
mod rekeying;
mod terminal;
