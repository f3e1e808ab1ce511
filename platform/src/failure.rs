//! What a user is told when something is not done: what went wrong, in what, and what to do.

use std::fmt;

/// A failed operation, in words for users. Nothing was changed unless the message says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong, in what. No full stop, no line ends.
    pub message: String,
    /// What to do about it, one sentence or command.
    pub remedy: Option<String>,
}

/// What an operation for users gives.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with a remedy.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: Some(remedy.into()) }
    }

    /// A failure that needs no advice, or for which there is none.
    pub fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None }
    }

    /// The lines shown to users, each behind ` !     `.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let lines = self.message.lines().chain(self.remedy.iter().flat_map(|remedy| remedy.lines()));
        lines.map(|line| format!(" !     {line}")).collect::<Vec<_>>().into_iter()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

const FREE_SPACE: &str = "free some space on the server's disk, for instance with `apps:destroy` of an app you no longer need, and try again";

impl Failure {
    /// The disk is full.
    pub fn disk_full() -> Self {
        Self::new("no space left on the server", FREE_SPACE)
    }

    /// An operating system's error while `doing` something.
    pub fn io(doing: impl fmt::Display, source: &std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::disk_full(),
            _ => Self::plain(format!("{doing}: {source}")),
        }
    }

    /// There is no such app.
    pub fn no_app(name: &str) -> Self {
        Self::new(format!("app {name} does not exist"), "see `apps` for those that do, or make it with `apps:create`")
    }

    /// The app was never deployed.
    pub fn no_release(app: &crate::names::AppName) -> Self {
        Self::new(
            format!("{app} has no release yet"),
            format!("deploy it first: git push ssh://airstrip@HOST/{app} main"),
        )
    }

    /// The daemon is about to end.
    pub fn shutting_down() -> Self {
        Self::new("the server is shutting down", "try again in a moment")
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        match error {
            crate::store::StoreError::DiskFull => Self::disk_full(),
            other => Self::plain(other.to_string()),
        }
    }
}

impl From<crate::names::InvalidName> for Failure {
    fn from(error: crate::names::InvalidName) -> Self {
        Self::plain(error.to_string())
    }
}

impl From<gitd::RepositoryError> for Failure {
    fn from(error: gitd::RepositoryError) -> Self {
        match error {
            gitd::RepositoryError::DiskFull => Self::disk_full(),
            other => Self::plain(other.to_string()),
        }
    }
}

impl From<engine::EngineError> for Failure {
    fn from(error: engine::EngineError) -> Self {
        Self::plain(error.to_string())
    }
}

impl From<crate::home::HomeError> for Failure {
    fn from(error: crate::home::HomeError) -> Self {
        match error {
            crate::home::HomeError::Io { path, source } => Self::io(path.display(), &source),
            other @ crate::home::HomeError::InUse { .. } => Self::plain(other.to_string()),
        }
    }
}
