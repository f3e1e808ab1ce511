//! The server against the real `git` and `ssh`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod exec;
mod harness;
mod push;
