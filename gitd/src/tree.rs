//! Walking the tree of a commit. Trees come from outside: nothing here recurses or trusts them.

use std::path::Path;

use gix::objs::tree::EntryKind as Mode;
use gix::objs::{CommitRefIter, Kind, TagRefIter, TreeRefIter};

use crate::objects::Objects;
use crate::{EntryKind, ObjectId, RepositoryError, TreeEntry};

/// Longest path; no file system takes longer ones.
const PATH_BYTES: usize = 4096;
/// Tags of tags of tags of a commit.
const TAGS: usize = 16;
const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;

/// Visits every entry below the tree of a commit, parents before children, in git's order. No object is larger than `limit` bytes.
pub(crate) fn visit<E: From<RepositoryError>>(
    directory: &Path,
    commit: ObjectId,
    limit: usize,
    visitor: &mut dyn FnMut(TreeEntry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let objects = Objects::open(directory, limit).map_err(|error| RepositoryError::io("opening", directory, error))?;
    let mut walk = Walk { objects, content: Vec::new(), waiting: Vec::new() };
    let tree = walk.root(commit)?;
    walk.expand(tree, &[])?;
    while let Some(entry) = walk.waiting.pop() {
        walk.visit(&entry, visitor)?;
    }
    Ok(())
}

struct Walk {
    objects: Objects,
    /// The one object in memory.
    content: Vec<u8>,
    /// What is to be visited, the next one last.
    waiting: Vec<Entry>,
}

struct Entry {
    path: Vec<u8>,
    kind: EntryKind,
    id: ObjectId,
}

impl Walk {
    fn visit<E: From<RepositoryError>>(
        &mut self,
        entry: &Entry,
        visitor: &mut dyn FnMut(TreeEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let content = match entry.kind {
            EntryKind::Directory | EntryKind::Submodule => &[],
            _ => self.read(entry.id, Kind::Blob)?,
        };
        visitor(TreeEntry { path: &entry.path, kind: entry.kind, content })?;
        if entry.kind == EntryKind::Directory {
            self.expand(entry.id, &entry.path)?;
        }
        Ok(())
    }

    /// Puts the entries of a tree in front of all that wait.
    fn expand(&mut self, tree: ObjectId, parent: &[u8]) -> Result<(), RepositoryError> {
        self.read(tree, Kind::Tree)?;
        let before = self.waiting.len();
        for entry in TreeRefIter::from_bytes(&self.content, SHA1) {
            let entry = entry.map_err(|error| broken(tree, error))?;
            let path = join(parent, entry.filename);
            if path.len() > PATH_BYTES {
                return Err(broken(tree, "a path is too long"));
            }
            self.waiting.push(Entry { path, kind: kind_of(entry.mode.kind()), id: entry.oid.to_owned() });
        }
        self.waiting.get_mut(before..).unwrap_or_default().reverse();
        Ok(())
    }

    /// The tree of a commit, or of the commit that a tag leads to.
    fn root(&mut self, commit: ObjectId) -> Result<ObjectId, RepositoryError> {
        let mut id = commit;
        for _ in 0..TAGS {
            let found = self.objects.try_read(id, &mut self.content).map_err(|error| broken(id, error))?;
            match found.ok_or(RepositoryError::NotACommit(commit))? {
                Kind::Commit => {
                    return CommitRefIter::from_bytes(&self.content, SHA1).tree_id().map_err(|error| broken(id, error));
                }
                Kind::Tag => {
                    let target = TagRefIter::from_bytes(&self.content, SHA1).target_id();
                    id = target.map_err(|error| broken(id, error))?;
                }
                Kind::Tree | Kind::Blob => break,
            }
        }
        Err(RepositoryError::NotACommit(commit))
    }

    fn read(&mut self, id: ObjectId, kind: Kind) -> Result<&[u8], RepositoryError> {
        match self.objects.try_read(id, &mut self.content).map_err(|error| broken(id, error))? {
            Some(found) if found == kind => Ok(&self.content),
            Some(found) => Err(broken(id, format!("is a {found}, not a {kind}"))),
            None => Err(broken(id, "does not exist")),
        }
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

fn kind_of(mode: Mode) -> EntryKind {
    match mode {
        Mode::Tree => EntryKind::Directory,
        Mode::Blob => EntryKind::File,
        Mode::BlobExecutable => EntryKind::Executable,
        Mode::Link => EntryKind::Symlink,
        Mode::Commit => EntryKind::Submodule,
    }
}

fn broken(id: ObjectId, reason: impl std::fmt::Display) -> RepositoryError {
    RepositoryError::Failed { doing: format!("reading object {id}"), reason: reason.to_string() }
}
