//! The check that nothing is missing: every object that came names only objects that are here.
//!
//! All of them are looked at, not only those that the pushed refs lead to. So whatever the repository has is complete,
//! and for an object that it has already nothing needs to be walked. Each is also checked by itself ([`super::fsck`]). Blocking.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::objs::{CommitRefIter, Exists, Find, Kind, TreeRefIter};
use gix::odb::{Handle, Header};
use gix_pack::index::File as Index;

use super::fsck::{self, Problem, Special};
use crate::{ObjectId, objects};

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;

/// Why the check failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectivityError {
    #[error("missing necessary objects")]
    Missing,
    #[error("object {0}: {1}")]
    Unsound(ObjectId, Problem),
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    Failed(String),
}

/// Checks every object of the packs in `directory`; what they name may also be in the directories it borrows from.
pub(crate) fn check(directory: &Path, limit: usize, interrupt: &AtomicBool) -> Result<(), ConnectivityError> {
    let objects = objects::open(directory, Some(limit)).map_err(failed)?;
    let mut checker = Checker { objects, content: Vec::new(), special: BTreeSet::new() };
    for entry in directory.join("pack").read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            checker.check_pack(&path, interrupt)?;
        }
    }
    checker.check_special()
}

struct Checker {
    objects: Handle,
    content: Vec<u8>,
    /// Files of trees that git itself reads.
    special: BTreeSet<(ObjectId, Special)>,
}

impl Checker {
    fn check_pack(&mut self, index: &Path, interrupt: &AtomicBool) -> Result<(), ConnectivityError> {
        let index = Index::at(index, SHA1).map_err(failed)?;
        let mut entries: Vec<_> = index.iter().collect();
        // In the order of the pack, deltas find their bases in the cache.
        entries.sort_by_key(|entry| entry.pack_offset);
        for entry in entries {
            if interrupt.load(Ordering::Relaxed) {
                return Err(ConnectivityError::Interrupted);
            }
            self.check_object(entry.oid)?;
        }
        Ok(())
    }

    fn check_object(&mut self, id: ObjectId) -> Result<(), ConnectivityError> {
        let header = self.objects.try_header(&id).map_err(failed)?.ok_or(ConnectivityError::Missing)?;
        if header.kind() == Kind::Blob {
            return Ok(());
        }
        let object =
            self.objects.try_find(&id, &mut self.content).map_err(failed)?.ok_or(ConnectivityError::Missing)?;
        let objects = &self.objects;
        let exists = |id: ObjectId| if objects.exists(&id) { Ok(()) } else { Err(ConnectivityError::Missing) };
        let unsound = |problem| ConnectivityError::Unsound(id, problem);
        let malformed = |_| unsound(Problem::new("badTree", "cannot be parsed"));
        match object.kind {
            Kind::Commit => {
                fsck::check_commit(object.data).map_err(unsound)?;
                exists(CommitRefIter::from_bytes(object.data, SHA1).tree_id().map_err(malformed)?)?;
                CommitRefIter::from_bytes(object.data, SHA1).parent_ids().try_for_each(exists)
            }
            Kind::Tree => {
                let special = &mut self.special;
                fsck::check_tree(object.data, &mut |id, kind| _ = special.insert((id, kind))).map_err(unsound)?;
                TreeRefIter::from_bytes(object.data, SHA1).try_for_each(|entry| {
                    let entry = entry.map_err(malformed)?;
                    // The commit of a submodule is in another repository.
                    if entry.mode.is_commit() { Ok(()) } else { exists(entry.oid.to_owned()) }
                })
            }
            Kind::Tag => {
                let (target, kind) = fsck::check_tag(object.data).map_err(unsound)?;
                let header = objects.try_header(&target).map_err(failed)?.ok_or(ConnectivityError::Missing)?;
                if header.kind() == kind { Ok(()) } else { Err(unsound(WRONG_TYPE)) }
            }
            Kind::Blob => Ok(()),
        }
    }

    /// Looks at the files that the trees have shown.
    fn check_special(mut self) -> Result<(), ConnectivityError> {
        for (id, kind) in std::mem::take(&mut self.special) {
            let object =
                self.objects.try_find(&id, &mut self.content).map_err(failed)?.ok_or(ConnectivityError::Missing)?;
            let checked = match (object.kind, kind) {
                (Kind::Blob, Special::Submodules) => fsck::check_submodules(object.data),
                (Kind::Blob, Special::Attributes) => fsck::check_attributes(object.data),
                (_, Special::Submodules) => Err(Problem::new("gitmodulesBlob", "non-blob found at .gitmodules")),
                (_, Special::Attributes) => Err(Problem::new("gitattributesBlob", "non-blob found at .gitattributes")),
            };
            checked.map_err(|problem| ConnectivityError::Unsound(id, problem))?;
        }
        Ok(())
    }
}

const WRONG_TYPE: Problem = Problem::new("badType", "the object is not of the type that the tag says");

fn failed(error: impl Into<Failure>) -> ConnectivityError {
    ConnectivityError::Failed(error.into().0)
}

/// The two kinds of errors below, as words.
struct Failure(String);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<gix::Error> for Failure {
    fn from(error: gix::Error) -> Self {
        Self(error.probable_cause().to_string())
    }
}
