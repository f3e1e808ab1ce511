//! Sandboxed processes.
//!
//! An *engine* runs programs apart from each other and from the host. It knows three ways to run one:
//!
//! - [`Engine::launch`]: an *instance*, long-lived, its output in a bounded log file. It outlives the daemon;
//!   a later daemon finds it again with [`Engine::list`].
//! - [`Engine::attach`]: a *one-off*, its standard streams in the caller's hands. It dies with the caller.
//! - [`Engine::exec`]: one more program inside a running instance, with or without a terminal.
//!
//! This crate does not know what an app, a release, a buildpack or an HTTP request is: callers say which
//! directories to show where, which program to run, and as which user.
//!
//! [`native`] is the engine that needs nothing but the kernel; [`docker`] has a Docker engine make the sandboxes. What a directory may
//! hold is no engine's concern, but the file system's: [`quota`].

mod abilities;
mod id;
mod process;
mod spec;

pub mod docker;
pub mod native;
pub mod quota;

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;

pub use abilities::{Abilities, Ability};
pub use id::{InstanceId, InvalidInstanceId};
pub use process::{Control, Exit, Process, Streams};
pub use spec::{Command, Egress, Limits, LogFile, Mount, MountKind, Spec, Symlink, WindowSize};

/// Runs programs in sandboxes. See the crate's documentation for the three ways.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Starts an instance and returns once its program has been executed (not once it is healthy).
    ///
    /// `labels` is opaque to the engine: it is kept beside the instance and given back by [`Engine::list`].
    async fn launch(&self, id: &InstanceId, spec: &Spec, labels: &str) -> Result<(), EngineError>;

    /// Starts a one-off whose streams belong to the caller. Dropping the [`Process`] kills it.
    async fn attach(&self, id: &InstanceId, spec: &Spec, terminal: Option<WindowSize>) -> Result<Process, EngineError>;

    /// Starts one more program inside the running instance `id`, under the same confinement.
    async fn exec(
        &self,
        id: &InstanceId,
        command: &Command,
        terminal: Option<WindowSize>,
    ) -> Result<Process, EngineError>;

    /// Opens a TCP connection to `port` on the instance's own loopback.
    async fn connect(&self, id: &InstanceId, port: u16) -> std::io::Result<TcpStream>;

    /// The addresses on which the instance's processes listen for TCP, for diagnosis.
    async fn listening(&self, id: &InstanceId) -> Result<Vec<SocketAddr>, EngineError>;

    /// Waits until the instance has ended and says how. Returns at once if it has ended already.
    /// May be called any number of times, until [`Engine::remove`].
    async fn wait(&self, id: &InstanceId) -> Result<Exit, EngineError>;

    /// Asks the instance to end (SIGTERM), kills it after `grace`, and returns when nothing of it is left running.
    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<Exit, EngineError>;

    /// Stops every process of the instance where it is, until [`Engine::thaw`]. What connects to it meanwhile waits; [`Engine::exec`]
    /// fails. [`Engine::stop`] thaws it. Does nothing to one that is frozen.
    async fn freeze(&self, id: &InstanceId) -> Result<(), EngineError>;

    /// Lets a frozen instance go on; does nothing to one that is not frozen.
    async fn thaw(&self, id: &InstanceId) -> Result<(), EngineError>;

    /// What of [`Limits`] and [`Egress`] this machine lets the engine enforce. Where it cannot, a launch succeeds without.
    fn abilities(&self) -> Abilities;

    /// Forgets an ended instance: its exit status and whatever the engine kept of it.
    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError>;

    /// Every instance the engine knows, running or ended and not yet removed, also from earlier daemons.
    async fn list(&self) -> Result<Vec<Listed>, EngineError>;
}

/// One line of [`Engine::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The instance.
    pub id: InstanceId,
    /// What the caller of [`Engine::launch`] gave.
    pub labels: String,
    /// Process id of the instance's first process as seen from the host, while it runs.
    pub pid: Option<u32>,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
    /// When it was started, as Unix time in milliseconds.
    pub started_at_ms: u64,
}

/// Why an engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No instance of this name is known.
    #[error("no instance {0}")]
    Unknown(InstanceId),
    /// An instance of this name exists.
    #[error("instance {0} exists already")]
    Exists(InstanceId),
    /// The instance has ended.
    #[error("instance {0} is not running")]
    NotRunning(InstanceId),
    /// The machine lacks something the engine needs; the text says what, and what to do.
    #[error("{0}")]
    Unsupported(String),
    /// Setting up the sandbox failed at the step named.
    #[error("sandbox of {id}: {step}: {reason}")]
    Setup {
        /// The instance.
        id: InstanceId,
        /// The call that failed, with what it was given.
        step: String,
        /// The operating system's answer.
        reason: String,
    },
    /// The program to run does not exist in the sandbox or cannot be executed.
    #[error("{program}: {reason}")]
    Program {
        /// First word of the command.
        program: String,
        /// The operating system's answer.
        reason: String,
    },
    /// Talking to a shim or to the file system failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, and to which file.
        doing: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
}
