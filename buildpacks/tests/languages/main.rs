//! The built-in buildpacks besides Python's, run the way a lifecycle runs them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says where; one that skips says why"
)]

mod go;
mod node;
mod platform;
mod registry;
mod ruby;
mod rust;
mod static_site;
mod web;
