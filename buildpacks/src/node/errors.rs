//! Why a Node.js build failed, in words for users.

use std::io;

use super::diagnosis;
use super::manager::ManagerError;
use super::package::PackageError;
use super::runtime::RuntimeError;
use crate::message::{Message, disk_full, message};
use crate::static_site::{self, SiteError};

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The app's description.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Node.js.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The package manager.
    #[error(transparent)]
    Manager(#[from] ManagerError),
    /// The site that a build script made.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A program failed.
    #[error("{command} failed")]
    Failed {
        /// As a user would write it.
        command: String,
        /// Whether it is a script of the app's.
        script: bool,
        /// What it printed.
        log: Vec<String>,
    },
    /// Reading or writing failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl NodeError {
    /// Says what was being done.
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// The lines to print.
pub(super) fn describe(error: &NodeError) -> Vec<String> {
    let message = match error {
        NodeError::Package(PackageError::Malformed(reason)) => {
            message("package.json cannot be read", reason, &["Correct the file."])
        }
        NodeError::Package(PackageError::Io(source)) => file("reading package.json", source),
        NodeError::Runtime(error) => runtime(error),
        NodeError::Manager(ManagerError::TwoLocks(first, second)) => message(
            "Two lock files",
            format!("The app has both {first} and {second}, which belong to different tools."),
            &["Delete the one that is not kept up to date."],
        ),
        NodeError::Manager(ManagerError::Unsupported(name)) => message(
            format!("{name} is not supported"),
            "Dependencies are installed with npm, yarn or pnpm.",
            &["Commit a package-lock.json, yarn.lock or pnpm-lock.yaml instead."],
        ),
        NodeError::Site(error) => return static_site::describe(error),
        NodeError::Failed { command, script, log } => {
            Message { log: log.clone(), ..diagnosis::failed(command, *script, log) }
        }
        NodeError::Io { doing, source } => file(doing, source),
    };
    message.lines()
}

fn runtime(error: &RuntimeError) -> Message {
    match error {
        RuntimeError::Missing => message(
            "No Node.js on the server",
            "There is no node on the server's PATH, and none could be had from the package index.",
            &["Install Node.js on the server, for example: apt-get install nodejs npm"],
        ),
        RuntimeError::Broken { program, reason } => message(
            "Node.js does not run",
            format!("{program}: {reason}"),
            &["Repair the server's Node.js, or start the platform with another node first on its PATH."],
        ),
        RuntimeError::OtherVersion { wish, available } => Message {
            remedies: vec![
                format!("Ask for the version that is there: \"engines\": {{\"node\": \"{}.x\"}}", major(available)),
                "Delete engines.node from package.json to use the server's Node.js.".to_owned(),
                format!("Install Node.js {wish} on the server."),
            ],
            ..message(
                format!("Node.js {wish} is not available"),
                format!("engines.node of package.json asks for {wish}. Available on this server: {available}."),
                &[],
            )
        },
        RuntimeError::Nonsense(wish) => message(
            "Unknown Node.js version",
            format!("engines.node of package.json: {wish:?} is no version."),
            &["Write a version such as 20.x, or delete it to use the server's Node.js."],
        ),
    }
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

fn file(doing: &str, error: &io::Error) -> Message {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(),
        _ => message("The build cannot go on", format!("{doing}: {error}"), &[]),
    }
}
