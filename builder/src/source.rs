//! Lays out a tree that came from outside: no path leaves the directory, nothing surprising is made.

use std::path::Path;

/// One entry of the tree, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Path from the root, `/` between parts, unchecked.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// A file's bytes or a symlink's target.
    pub content: &'a [u8],
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Regular file that can be executed.
    Executable,
    /// Symbolic link.
    Symlink,
    /// Directory.
    Directory,
    /// A commit of another repository, which the server does not have.
    Submodule,
}

/// Writes entries below one directory.
#[derive(Debug)]
pub struct Layout {}

impl Layout {
    /// `root` must exist and be empty. Everything made is given to `owner` (user and group) if that is some.
    pub fn new(_root: &Path, _owner: Option<u32>) -> Result<Self, SourceError> {
        todo!()
    }

    /// Checks and writes one entry; parents come before children.
    pub fn add(&mut self, _entry: Entry<'_>) -> Result<(), SourceError> {
        todo!()
    }

    /// Makes all of it durable.
    pub fn finish(self) -> Result<(), SourceError> {
        todo!()
    }
}

/// Why a tree is not laid out. Names the path.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A path that this server refuses.
    #[error("{path}: {reason}")]
    Refused {
        /// The path, printable.
        path: String,
        /// Why, in one sentence.
        reason: String,
    },
    /// A submodule.
    #[error(
        "{path} is a git submodule, which a push does not carry: add its files to the repository, or its package to requirements.txt"
    )]
    Submodule {
        /// The path, printable.
        path: String,
    },
    /// Writing failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
}
