//! What the stories are told with: a server in a temporary home, people with keys, apps, terminals and requests.
//!
//! Every wait has a limit and every temporary thing an owner that removes it, also when the story panics.

mod app;
mod authority;
mod client;
mod docker;
mod https;
mod leftovers;
mod live;
mod load;
mod noise;
mod operator;
mod outside;
mod page;
mod pebble;
pub mod receive_pack;
mod reply;
mod server;
mod skipped;
mod terminal;
mod tool;
mod waiting;

pub use app::{App, Push};
pub use authority::Authority;
pub use client::{Client, public_key};
pub use docker::DockerEngine;
pub use https::Https;
pub use leftovers::{Found, processes_that_mention};
pub use live::Live;
pub use load::Load;
pub use noise::noise;
pub use outside::{HOST, INTERNET, PRIVATE, with_outside};
pub use page::{Http, Page};
pub use pebble::Pebble;
pub use reply::{Reply, run};
pub use server::Server;
pub use skipped::skipped;
pub use terminal::Terminal;
pub use tool::tool;
pub use waiting::{PATIENCE, wait_until};
