//! The check that nothing is missing: every object that came names only objects that are here.
//!
//! All of them are looked at, not only those that the pushed refs lead to. So whatever the repository has is complete,
//! and for an object that it has already nothing needs to be walked. Each is also checked by itself ([`super::fsck`]), while it is
//! unpacked ([`Links`] is what remains of it). Blocking.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gix::objs::{CommitRefIter, Kind, TreeRefIter};

use super::fsck::{self, Problem, Special};
use crate::ObjectId;
use crate::index_pack::Inspect;
use crate::objects::Objects;

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;
/// Objects that may be there beside those in packs.
const LOOSE: usize = 1 << 20;

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

/// What the objects of a pack name, and what is known of that.
pub(crate) struct Links {
    /// By the last byte of the name: threads hardly ever wait for each other.
    any: Vec<Mutex<HashSet<ObjectId>>>,
    /// Targets of tags.
    typed: Mutex<Vec<(ObjectId, ObjectId, Kind)>>,
    /// Files of trees that git itself reads.
    special: Mutex<BTreeSet<(ObjectId, Special)>>,
    /// How many there are of the first.
    count: AtomicUsize,
    /// There are no more objects than these, in the pack and before.
    most: usize,
}

impl Links {
    /// None yet, where so many objects are known.
    pub(crate) fn new(known: u64) -> Self {
        let most = usize::try_from(known).unwrap_or(usize::MAX).saturating_add(LOOSE);
        let any = (0..=u8::MAX).map(|_| Mutex::default()).collect();
        Self { any, typed: Mutex::default(), special: Mutex::default(), count: AtomicUsize::new(0), most }
    }

    /// More names than objects: some are missing, and more of them need not be kept.
    fn too_many(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.most
    }

    fn add(&self, id: ObjectId) {
        let part = id.as_slice().last().and_then(|byte| self.any.get(usize::from(*byte)));
        if !self.too_many() && part.is_some_and(|part| held(part).insert(id)) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn add_special(&self, id: ObjectId, kind: Special) {
        self.add(id);
        if !self.too_many() {
            held(&self.special).insert((id, kind));
        }
    }

    fn tree(&self, content: &[u8]) -> Result<(), Problem> {
        fsck::check_tree(content, &mut |id, kind| self.add_special(id, kind))?;
        for entry in TreeRefIter::from_bytes(content, SHA1) {
            let entry = entry.map_err(|_| MALFORMED)?;
            // The commit of a submodule is in another repository.
            if !entry.mode.is_commit() {
                self.add(entry.oid.to_owned());
            }
        }
        Ok(())
    }

    fn commit(&self, content: &[u8]) -> Result<(), Problem> {
        fsck::check_commit(content)?;
        self.add(CommitRefIter::from_bytes(content, SHA1).tree_id().map_err(|_| MALFORMED)?);
        CommitRefIter::from_bytes(content, SHA1).parent_ids().for_each(|parent| self.add(parent));
        Ok(())
    }
}

fn held<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inspect for Links {
    type Problem = Problem;

    fn expect(&mut self, objects: u32) {
        self.most = self.most.saturating_add(objects as usize);
    }

    fn look(&self, id: ObjectId, kind: Kind, content: &[u8]) -> Result<(), Problem> {
        if self.too_many() {
            return Ok(());
        }
        match kind {
            Kind::Commit => self.commit(content),
            Kind::Tree => self.tree(content),
            Kind::Tag => {
                let (target, kind) = fsck::check_tag(content)?;
                held(&self.typed).push((target, id, kind));
                Ok(())
            }
            Kind::Blob => Ok(()),
        }
    }
}

/// Checks that all of that is in `directory`, or in the directories it borrows from.
pub(crate) fn check(
    links: &Links,
    directory: &Path,
    limit: usize,
    interrupt: &AtomicBool,
) -> Result<(), ConnectivityError> {
    if links.too_many() {
        return Err(ConnectivityError::Missing);
    }
    let objects = Objects::open(directory, limit).map_err(failed)?;
    let mut checker = Checker { objects, interrupt, content: Vec::new() };
    for part in &links.any {
        checker.heed()?;
        held(part).iter().try_for_each(|id| checker.exists(id))?;
    }
    held(&links.typed).iter().try_for_each(|(target, tag, kind)| checker.is(target, *kind, *tag))?;
    held(&links.special).iter().try_for_each(|(id, kind)| checker.special(*id, *kind))
}

struct Checker<'a> {
    objects: Objects,
    /// Raised when the pusher goes away.
    interrupt: &'a AtomicBool,
    content: Vec<u8>,
}

impl Checker<'_> {
    fn heed(&self) -> Result<(), ConnectivityError> {
        if self.interrupt.load(Ordering::Relaxed) { Err(ConnectivityError::Interrupted) } else { Ok(()) }
    }

    fn exists(&self, id: &ObjectId) -> Result<(), ConnectivityError> {
        if self.objects.exists(*id) { Ok(()) } else { Err(ConnectivityError::Missing) }
    }

    fn is(&self, target: &ObjectId, kind: Kind, tag: ObjectId) -> Result<(), ConnectivityError> {
        self.heed()?;
        let (found, _) = self.objects.try_header(*target).map_err(failed)?.ok_or(ConnectivityError::Missing)?;
        if found == kind { Ok(()) } else { Err(ConnectivityError::Unsound(tag, WRONG_TYPE)) }
    }

    /// Looks at a file that a tree has shown.
    fn special(&mut self, id: ObjectId, kind: Special) -> Result<(), ConnectivityError> {
        self.heed()?;
        let found = self.objects.try_read(id, &mut self.content).map_err(failed)?;
        let checked = match (found.ok_or(ConnectivityError::Missing)?, kind) {
            (Kind::Blob, Special::Submodules) => fsck::check_submodules(&self.content),
            (Kind::Blob, Special::Attributes) => fsck::check_attributes(&self.content),
            (_, Special::Submodules) => Err(Problem::new("gitmodulesBlob", "non-blob found at .gitmodules")),
            (_, Special::Attributes) => Err(Problem::new("gitattributesBlob", "non-blob found at .gitattributes")),
        };
        checked.map_err(|problem| ConnectivityError::Unsound(id, problem))
    }
}

const MALFORMED: Problem = Problem::new("badTree", "cannot be parsed");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_for_a_pusher_who_has_gone() {
        let home = tempfile::tempdir().unwrap();
        let (id, interrupt) = (ObjectId::null(SHA1), AtomicBool::new(true));
        let objects = Objects::open(home.path(), 100).unwrap();
        let mut checker = Checker { objects, interrupt: &interrupt, content: Vec::new() };
        // Looked for, it would be missing.
        assert!(matches!(checker.is(&id, Kind::Blob, id), Err(ConnectivityError::Interrupted)));
        assert!(matches!(checker.special(id, Special::Submodules), Err(ConnectivityError::Interrupted)));
    }
}
