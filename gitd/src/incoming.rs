//! Objects that have been received and checked but are not permanent yet.

use std::path::Path;

use crate::{ObjectId, RepositoryError, TreeEntry};

/// A push's objects: those in quarantine over those of the repository.
pub struct Incoming {}

impl Incoming {
    /// Visits every entry below the tree of `commit` (or of an annotated tag's commit), parents before children, in git's order. Blocking.
    /// The visitor's error ends the walk and is returned.
    pub fn visit<E: From<RepositoryError>>(
        &self,
        _commit: ObjectId,
        _visitor: &mut dyn FnMut(TreeEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        todo!()
    }

    /// Makes the objects permanent and durable now, before any ref points to them. Idempotent. Blocking (about a millisecond).
    pub fn keep(&self) -> Result<(), RepositoryError> {
        todo!()
    }

    /// The bare repository the objects are meant for.
    pub fn repository(&self) -> &Path {
        todo!()
    }
}
