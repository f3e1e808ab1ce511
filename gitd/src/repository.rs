//! A bare repository on disk, for uses outside a push. Everything here blocks.

use std::path::Path;

use crate::ObjectId;

/// One entry of a commit's tree.
#[derive(Debug)]
pub struct TreeEntry<'a> {
    /// Full path from the root, `/` between parts, unchecked bytes.
    pub path: &'a [u8],
    /// What it is.
    pub kind: EntryKind,
    /// A file's bytes, a symlink's target, nothing for a directory or a submodule.
    pub content: &'a [u8],
}

/// What a tree entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Regular file.
    File,
    /// Regular file with the executable bit.
    Executable,
    /// Symbolic link.
    Symlink,
    /// Directory.
    Directory,
    /// A commit of another repository.
    Submodule,
}

/// A bare repository.
pub struct Repository {}

impl Repository {
    /// Makes an empty bare repository (durable on return) if there is none, and opens it.
    pub fn init(_path: &Path) -> Result<Self, RepositoryError> {
        todo!()
    }

    /// Opens an existing one; drops what crashed pushes left in it (quarantines, locks).
    pub fn open(_path: &Path) -> Result<Self, RepositoryError> {
        todo!()
    }

    /// What a ref points to.
    pub fn find_ref(&self, _name: &str) -> Result<Option<ObjectId>, RepositoryError> {
        todo!()
    }

    /// Makes a ref point to an object that exists, or deletes it, whatever it was before; durable on return.
    pub fn set_ref(&self, _name: &str, _to: Option<ObjectId>) -> Result<(), RepositoryError> {
        todo!()
    }

    /// Points `HEAD` to a branch, so that a clone checks it out.
    pub fn set_head(&self, _branch: &str) -> Result<(), RepositoryError> {
        todo!()
    }

    /// As [`crate::Incoming::visit`].
    pub fn visit<E: From<RepositoryError>>(
        &self,
        _commit: ObjectId,
        _visitor: &mut dyn FnMut(TreeEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        todo!()
    }
}

/// Why a repository could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// Reading or writing failed.
    #[error("{doing}: {reason}")]
    Failed {
        /// What was being done, with the path.
        doing: String,
        /// The cause.
        reason: String,
    },
    /// There is no space left, or a quota is used up.
    #[error("no space left on the server")]
    DiskFull,
    /// The object does not exist or is of the wrong kind.
    #[error("{0} is not a commit here")]
    NotACommit(ObjectId),
}
