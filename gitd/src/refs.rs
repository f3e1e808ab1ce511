//! Refs on disk: read with gix, written durably one file each.
//!
//! gix's own transaction neither syncs files nor finds conflicts with packed refs, so a ref is written here; they are
//! never packed by this crate, but refs that git packed on the server are read, and deleted where they are.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::bstr::BStr;
use gix::path::RelativePath;
use gix::refs::file::Store;
use gix::refs::store::{WriteReflog, init};
use gix::refs::transaction::{PreviousValue, RefEdit};
use gix::refs::{FullName, TargetRef};

use crate::durable::Aside;
use crate::repository::RepositoryError;
use crate::{ObjectId, crash, durable, quarantine};

/// Longest part of a name between slashes: what a file system takes, less the `.lock` of a writer.
const PART: usize = 250;

/// The refs of one repository.
pub(crate) struct Refs {
    store: Store,
    root: PathBuf,
}

impl Refs {
    pub(crate) fn open(repository: &Path) -> Self {
        let options = init::Options { write_reflog: WriteReflog::Disable, ..init::Options::default() };
        let store = Store::at_opts(repository.to_owned(), gix::hash::Kind::Sha1, options);
        Self { store, root: repository.to_owned() }
    }

    /// What a ref points to. Symbolic refs count as absent.
    pub(crate) fn find(&self, name: &FullName) -> Result<Option<ObjectId>, RepositoryError> {
        let found = self.store.try_find(name.as_ref()).map_err(|error| self.failed("reading", name, error))?;
        // A missing name is also looked for below other prefixes.
        let found = found.filter(|reference| reference.name == *name);
        Ok(found.and_then(|reference| id_of(reference.target.to_ref())))
    }

    /// The branch that `HEAD` names, whether it exists or not.
    pub(crate) fn head(&self) -> Result<Option<FullName>, RepositoryError> {
        let path = self.root.join("HEAD");
        let text = fs::read(&path).map_err(|error| RepositoryError::io("reading", &path, error))?;
        let name = text.strip_prefix(b"ref: ").map(<[u8]>::trim_ascii);
        Ok(name.and_then(|name| parse_name(name).ok()))
    }

    /// All refs, by name.
    pub(crate) fn all(&self) -> Result<Vec<(FullName, ObjectId)>, RepositoryError> {
        let failed = |error: &dyn std::fmt::Display| RepositoryError::failed("listing refs of", &self.root, error);
        let platform = self.store.iter().map_err(|error| failed(&error))?;
        let mut refs = Vec::new();
        for reference in platform.all().map_err(|error| failed(&error))? {
            let reference = reference.map_err(|error| failed(&error))?;
            refs.extend(id_of(reference.target.to_ref()).map(|id| (reference.name, id)));
        }
        Ok(refs)
    }

    /// The existing ref that `name` cannot exist beside: a directory of it, or below it.
    pub(crate) fn conflict(&self, name: &FullName) -> Result<Option<FullName>, RepositoryError> {
        let text = name.as_bstr();
        for end in (0..text.len()).filter(|end| text.get(*end) == Some(&b'/')) {
            // `refs` and `refs/heads` are no names.
            let Some(Ok(above)) = text.get(..end).map(parse_name) else { continue };
            if self.find(&above)?.is_some() {
                return Ok(Some(above));
            }
        }
        self.first_below(name)
    }

    /// Without a look at all the others: there may be many.
    fn first_below(&self, name: &FullName) -> Result<Option<FullName>, RepositoryError> {
        let failed = |error: &dyn std::fmt::Display| self.failed("reading", name, error);
        let prefix = [name.as_bstr().as_ref(), b"/".as_slice()].concat();
        // Not every name that git takes is a path to gix: `"` is not.
        let Ok(prefix) = <&RelativePath>::try_from(BStr::new(&prefix)) else {
            let all = self.all()?.into_iter().map(|(name, _)| name);
            return Ok(all.filter(|other| other.as_bstr().starts_with(&prefix)).min());
        };
        let platform = self.store.iter().map_err(|error| failed(&error))?;
        let mut below = platform.prefixed(prefix).map_err(|error| failed(&error))?;
        let first = below.next().transpose().map_err(|error| failed(&error))?;
        Ok(first.map(|reference| reference.name))
    }

    /// Makes a ref point to an object; durable on return.
    pub(crate) fn set(&self, name: &FullName, to: ObjectId) -> Result<(), RepositoryError> {
        self.prepare(name, to)?.set()
    }

    /// The same for whoever holds the repository alone.
    pub(crate) fn set_alone(&self, name: &FullName, to: ObjectId) -> Result<(), RepositoryError> {
        let path = self.path(name);
        let value = self.aside(to).map_err(|error| RepositoryError::io("writing", &path, error))?;
        put(value, &self.root, &path)
    }

    /// Deletes a ref, packed or not; durable on return.
    pub(crate) fn delete(&self, name: &FullName) -> Result<(), RepositoryError> {
        self.remove(name).map_err(|error| self.failed("deleting", name, error))?;
        crash::point("ref removed");
        let directory = existing_parent(&self.path(name), &self.root);
        durable::sync(&directory)
            .and_then(|()| durable::sync(&self.root))
            .map_err(|error| RepositoryError::io("deleting", &self.path(name), error))
    }

    /// Writes a ref's new value aside, where [`PreparedRef::set`] finds it even on a full disk.
    pub(crate) fn prepare(&self, name: &FullName, to: ObjectId) -> Result<PreparedRef, RepositoryError> {
        let path = self.path(name);
        let prepared = quarantine::announce(&self.root).and_then(|writing| {
            let value = self.aside(to)?;
            crash::point("ref prepared");
            Ok(PreparedRef { value, root: self.root.clone(), path: path.clone(), _writing: writing })
        });
        prepared.map_err(|error| RepositoryError::io("writing", &path, error))
    }

    fn aside(&self, to: ObjectId) -> io::Result<Aside> {
        Aside::write(&self.root, format!("{to}\n").as_bytes(), 0o644)
    }

    fn remove(&self, name: &FullName) -> Result<(), gix::Error> {
        let transaction = self.store.transaction();
        let edit = RefEdit::delete(name.clone(), PreviousValue::Any);
        let prepared = transaction.prepare(
            [edit],
            gix::lock::acquire::Fail::Immediately,
            gix::lock::acquire::Fail::Immediately,
        )?;
        prepared.commit(None).map(drop)
    }

    fn path(&self, name: &FullName) -> PathBuf {
        self.root.join(OsStr::from_bytes(name.as_bstr()))
    }

    fn failed(&self, doing: &str, name: &FullName, error: impl std::fmt::Display) -> RepositoryError {
        RepositoryError::failed(doing, &self.path(name), error)
    }
}

/// A ref's new value, durable but not in force.
pub(crate) struct PreparedRef {
    value: Aside,
    root: PathBuf,
    path: PathBuf,
    /// Files written aside are not taken for a crash's leftovers while this is held.
    _writing: File,
}

impl PreparedRef {
    /// Puts it in force; durable on return.
    pub(crate) fn set(self) -> Result<(), RepositoryError> {
        put(self.value, &self.root, &self.path)
    }
}

fn put(value: Aside, root: &Path, path: &Path) -> Result<(), RepositoryError> {
    let put = || {
        durable::create_directories(root, path.parent().unwrap_or(root))?;
        if path.is_dir() {
            remove_empty_directories(path)?;
        }
        crash::point("directories made");
        value.rename(path)
    };
    put().map_err(|error| RepositoryError::io("writing", path, error))
}

/// What git itself would not let anybody push to: the names are the server's own.
const HIDDEN: &[u8] = b"refs/airstrip/";

/// A checked name, or why it is none: only branches and tags are kept.
pub(crate) fn parse_name(name: &[u8]) -> Result<FullName, &'static str> {
    if !name.starts_with(b"refs/") {
        return Err("funny refname");
    }
    if is_hidden(name) {
        return Err("deny updating a hidden ref");
    }
    let namespace = [b"refs/heads/".as_slice(), b"refs/tags/"].into_iter().find(|prefix| name.starts_with(prefix));
    let Some(namespace) = namespace else { return Err("only branches and tags are kept here") };
    let short = name.get(namespace.len()..).unwrap_or_default();
    let too_long = name.len() > 1024 || name.split(|byte| *byte == b'/').any(|part| part.len() > PART);
    if short == b"HEAD" || too_long || std::str::from_utf8(name).is_err() {
        return Err("funny refname");
    }
    FullName::try_from(BStr::new(name)).map_err(|_| "funny refname")
}

/// Whether one name is a directory of the other: as files they cannot both be there.
pub(crate) fn exclude(one: &BStr, other: &BStr) -> bool {
    let below = |longer: &BStr, shorter: &BStr| {
        longer.strip_prefix(shorter.as_ref() as &[u8]).is_some_and(|rest| rest.starts_with(b"/"))
    };
    below(one, other) || below(other, one)
}

/// Whether the name is the server's own.
pub(crate) fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(HIDDEN)
}

/// Whether the ref is a branch.
pub(crate) fn is_branch(name: &FullName) -> bool {
    name.as_bstr().starts_with(b"refs/heads/")
}

fn id_of(target: TargetRef<'_>) -> Option<ObjectId> {
    target.try_id().map(ToOwned::to_owned)
}

/// Directories that deleted refs left behind.
fn remove_empty_directories(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        remove_empty_directories(&entry?.path())?;
    }
    fs::remove_dir(directory)
}

fn existing_parent(path: &Path, root: &Path) -> PathBuf {
    path.ancestors().skip(1).find(|parent| parent.is_dir()).unwrap_or(root).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        for name in ["refs/heads/main", "refs/heads/a/b", "refs/tags/v1", "refs/heads/é"] {
            assert!(parse_name(name.as_bytes()).is_ok(), "{name}");
        }
        let long = format!("refs/heads/{}", "x".repeat(251));
        for name in [
            "HEAD",
            "refs/heads/",
            "refs/heads",
            "refs/heads/HEAD",
            "refs/notes/x",
            "refs/for/main",
            "refs/heads/../../config",
            "refs/heads/a..b",
            "refs/heads/.hidden",
            "refs/heads/a.lock",
            "refs/heads/a.lock/b",
            "refs/heads//a",
            "refs/heads/a/",
            "refs/heads/a b",
            "refs/heads/a\\b",
            "refs/heads/a:b",
            "refs/heads/a^",
            "refs/heads/@{",
            "refs/heads/a\x7f",
            "/etc/passwd",
            "",
            &long,
        ] {
            assert!(parse_name(name.as_bytes()).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_the_repository(name in proptest::collection::vec(any::<u8>(), 0..60)) {
            let name = [b"refs/heads/".as_slice(), &name].concat();
            if let Ok(name) = parse_name(&name) {
                let path = PathBuf::from(OsStr::from_bytes(name.as_bstr()));
                let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
                prop_assert!(path.components().all(plain));
            }
        }
    }
}
