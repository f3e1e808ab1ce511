//! The stories: what a user can rely on, told with the real binary and real `git`, `ssh` and `curl`.
//!
//! They know the public contract and no crate of the workspace. Each story has a server of its own and leaves nothing
//! behind, so they run in parallel. A story that cannot run on this machine says so on standard output.
//!
//! `AIRSTRIP_TEST_POST_MB` sets the size of the large upload (64; the figure of the contract is 1024). With `AIRSTRIP_TEST_FETCH` set the
//! stories also tell what fetches more than 50 MB. `AIRSTRIP_TEST_PYTHON` is the interpreter that has the clients of gRPC and WebSocket (`grpcio`,
//! `websockets`; `python3`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a story fails by panicking, and says why"
)]
#![expect(unreachable_pub, reason = "nothing outside this program uses it")]

mod harness;

mod bad_input;
mod bounds;
mod browser;
mod buildpacks;
mod clients;
mod commands;
mod compiled;
mod configuration;
mod crash;
mod data;
mod demo;
mod disk;
mod engines;
mod faults;
mod https;
mod keys;
mod limits;
mod line;
mod network;
mod node;
mod ordinary_user;
mod pages;
mod processes;
mod projects;
mod protocols;
mod push;
mod python;
mod releases;
mod router;
mod ruby;
mod settings;
mod sharing;
mod shell;
mod sleep;
mod static_site;
mod steady;
mod trac;
mod transfers;
mod upgrade;
