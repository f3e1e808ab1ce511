//! An SSH server that speaks git, without git.
//!
//! russh takes the connection, a public key becomes a [`Session`] by asking the [`Handler`], and each channel of
//! it becomes one of: a push or a fetch (on gitoxide), a command, a shell, a subsystem, a forwarded connection. What
//! those mean is the handler's business: this crate does not know what an app or a deploy is. One subsystem it can serve by itself,
//! in a process of its own: [`sftp`].
//!
//! The order in a push is the crate's promise: the pack goes into a quarantine, is checked, the handler is asked
//! ([`Session::update`]) with its output streamed to the pusher, and only when it agrees does the ref move.

mod admission;
mod authentication;
mod channel;
mod connection;
mod consolidation;
mod crash;
mod durable;
mod fork;
mod forward;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod git_command;
mod handler;
mod host_key;
mod incoming;
mod index_pack;
mod inlet;
mod journal;
mod limits;
mod objects;
mod open_channel;
mod outlet;
mod packing;
mod pktline;
mod public_key;
mod push_lock;
mod quarantine;
mod receive;
mod refs;
mod repository;
mod serve;
mod server;
pub mod sftp;
mod signal;
pub mod signature;
mod skeleton;
mod socket;
mod stall;
mod tree;
mod upload;

pub use channel::{Channel, Ended, Output, Terminal, WindowSize};
pub use handler::{Access, Duplex, Handler, Login, RefUpdate, Refusal, Session, Turn};
pub use incoming::Incoming;
pub use limits::Limits;
pub use public_key::{InvalidPublicKey, PublicKey};
pub use repository::{EntryKind, Repository, RepositoryError, TreeEntry};
pub use server::{Server, ServerError};

/// Name of a git object (SHA-1).
pub type ObjectId = gix::ObjectId;
