//! Objects that have been received and checked but are not permanent yet.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::objects::Objects;
use crate::quarantine::Quarantine;
use crate::{ObjectId, RepositoryError, TreeEntry, tree};

/// A push's objects: those in quarantine over those of the repository.
pub struct Incoming {
    repository: PathBuf,
    object_bytes: usize,
    /// None once the objects are permanent, and for a push that brings none.
    quarantine: Mutex<Option<Quarantine>>,
}

impl Incoming {
    pub(crate) fn new(repository: &Path, quarantine: Option<Quarantine>, object_bytes: usize) -> Self {
        Self { repository: repository.to_owned(), object_bytes, quarantine: Mutex::new(quarantine) }
    }

    /// Visits every entry below the tree of `commit` (or of an annotated tag's commit), parents before children, in git's order. Blocking.
    /// The visitor's error ends the walk and is returned. Trees may be made to be enormous: the visitor is to count.
    pub fn visit<E: From<RepositoryError>>(
        &self,
        commit: ObjectId,
        visitor: &mut dyn FnMut(TreeEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        tree::visit(&self.directory(), commit, self.object_bytes, visitor)
    }

    /// Makes the objects permanent and durable now, before any ref points to them. Idempotent. Blocking (about a millisecond).
    pub fn keep(&self) -> Result<(), RepositoryError> {
        let mut quarantine = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = quarantine.as_ref() {
            held.release(&self.repository)
                .map_err(|error| RepositoryError::io("keeping objects in", &self.repository, error))?;
        }
        *quarantine = None;
        Ok(())
    }

    /// The bare repository the objects are meant for.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// Reads them.
    pub(crate) fn objects(&self) -> io::Result<Objects> {
        Objects::open(&self.directory(), self.object_bytes)
    }

    /// The object directory that has them now.
    pub(crate) fn directory(&self) -> PathBuf {
        let quarantine = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        match quarantine.as_ref() {
            Some(held) => held.objects().to_owned(),
            None => self.repository.join("objects"),
        }
    }
}
