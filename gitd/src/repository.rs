//! A bare repository on disk, for uses outside a push. Everything here blocks.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use gix::objs::Exists;
use gix::refs::FullName;

use crate::refs::{self, Refs};
use crate::{ObjectId, durable, quarantine, skeleton, tree};

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
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    /// Makes an empty bare repository (durable on return) if there is none, and opens it.
    pub fn init(path: &Path) -> Result<Self, RepositoryError> {
        if !path.exists()
            && let Err(error) = skeleton::create(path)
            // Somebody else may have made it in the meantime.
            && !path.exists()
        {
            return Err(RepositoryError::io("making", path, error));
        }
        Self::open(path)
    }

    /// Opens an existing one; drops what crashed pushes left in it (quarantines, locks).
    /// Pushes in flight, in this process or another, are not disturbed.
    pub fn open(path: &Path) -> Result<Self, RepositoryError> {
        if !path.join("objects").is_dir() || !path.join("HEAD").is_file() {
            return Err(RepositoryError::failed("opening", path, "not a bare git repository"));
        }
        quarantine::clean(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// What a ref points to.
    pub fn find_ref(&self, name: &str) -> Result<Option<ObjectId>, RepositoryError> {
        Refs::open(&self.path).find(&self.parse(name)?)
    }

    /// Makes a ref point to an object that exists, or deletes it, whatever it was before; durable on return.
    pub fn set_ref(&self, name: &str, to: Option<ObjectId>) -> Result<(), RepositoryError> {
        let _writing =
            quarantine::announce(&self.path).map_err(|error| RepositoryError::io("locking", &self.path, error))?;
        let (name, refs) = (self.parse(name)?, Refs::open(&self.path));
        let Some(to) = to else { return refs.delete(&name) };
        let objects = gix::odb::at(self.objects(), gix::hash::Kind::Sha1);
        if !objects.is_ok_and(|objects| objects.exists(&to)) {
            return Err(RepositoryError::failed(
                "setting",
                &self.path.join(name.as_bstr().to_string()),
                "no such object",
            ));
        }
        refs.set(&name, to)
    }

    /// Points `HEAD` to a branch, so that a clone checks it out.
    pub fn set_head(&self, branch: &str) -> Result<(), RepositoryError> {
        let name = self.parse(&format!("refs/heads/{branch}"))?;
        if Refs::open(&self.path).head()?.as_ref() == Some(&name) {
            return Ok(());
        }
        let head = self.path.join("HEAD");
        durable::write(&head, format!("ref: {}\n", name.as_bstr()).as_bytes(), 0o644)
            .map_err(|error| RepositoryError::io("writing", &head, error))
    }

    /// As [`crate::Incoming::visit`]. An object larger than `object_bytes` ([`crate::Limits::object_bytes`]) may be an error.
    pub fn visit<E: From<RepositoryError>>(
        &self,
        commit: ObjectId,
        object_bytes: usize,
        visitor: &mut dyn FnMut(TreeEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        tree::visit(&self.objects(), commit, object_bytes, visitor)
    }

    fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    fn parse(&self, name: &str) -> Result<FullName, RepositoryError> {
        refs::parse_name(name.as_bytes())
            .map_err(|reason| RepositoryError::failed("naming", &self.path.join(name), reason))
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

impl RepositoryError {
    pub(crate) fn failed(doing: &str, path: &Path, reason: impl Display) -> Self {
        Self::Failed { doing: format!("{doing} {}", path.display()), reason: reason.to_string() }
    }

    pub(crate) fn io(doing: &str, path: &Path, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        if is_disk_full(error.kind()) { Self::DiskFull } else { Self::failed(doing, path, error) }
    }
}

/// No space, or no more of it for us.
pub(crate) fn is_disk_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
