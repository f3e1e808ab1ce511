//! What the lifecycle asks of its host: "run this apart from everything else".

use std::path::PathBuf;

use async_trait::async_trait;

/// Runs programs of buildpacks.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Runs one program to its end; standard output and error go to `output` as they come, mixed.
    /// When it returns, nothing that the program started runs any more: what it wrote is then read and sealed.
    /// Dropping the future kills the program and everything it started.
    async fn run(&self, step: &Step, output: &dyn Output) -> Result<StepExit, SandboxError>;
}

/// Takes what a build prints, as it prints it.
#[async_trait]
pub trait Output: Send + Sync {
    /// Bytes as they came.
    async fn write(&self, bytes: &[u8]);
}

/// One program to run, all paths in `argv`, `env` and `cwd` as seen inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// For the name of the sandbox and for errors: `detect airstrip/python`.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: PathBuf,
    /// What of the host is shown, in order.
    pub binds: Vec<Bind>,
    /// Symbolic links to make inside: (link, target).
    pub symlinks: Vec<(PathBuf, PathBuf)>,
    /// Whether the network may be used.
    pub network: bool,
    /// The user outside that it runs as. None: the user of the app's builds.
    pub owner: Option<u32>,
}

/// A directory or file shown inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: PathBuf,
    /// Whether it can be changed; the caller has made it writable to the build's user.
    pub writable: bool,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepExit {
    /// It exited.
    Status(i32),
    /// It was killed.
    Signal(i32),
}

/// The sandbox itself failed, not the program in it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SandboxError(pub String);
