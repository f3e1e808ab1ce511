//! What an atomic push is about to do to the refs, durable before the first of them moves: a crash in the middle is made good
//! by doing all of it. Blocking.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use gix::refs::FullName;

use crate::durable::Aside;
use crate::refs::{self, Refs};
use crate::{ObjectId, RepositoryError, durable, quarantine};

const FILE: &str = "atomic.journal";

/// A note that is not in force yet.
pub(crate) struct Journal {
    note: Aside,
    repository: PathBuf,
    /// Nobody finishes it meanwhile.
    writing: File,
}

impl Journal {
    /// These refs are to be this; None is deleted. Durable, so that nothing later wants for space.
    pub(crate) fn prepare(repository: &Path, refs: &[(FullName, Option<ObjectId>)]) -> io::Result<Self> {
        let writing = quarantine::announce(repository)?;
        let null = ObjectId::null(gix::hash::Kind::Sha1);
        let lines = refs.iter().map(|(name, to)| format!("{} {}\n", to.unwrap_or(null), name.as_bstr()));
        let note = Aside::write(repository, lines.collect::<String>().as_bytes(), 0o644)?;
        Ok(Self { note, repository: repository.to_owned(), writing })
    }

    /// From here on a crash leaves all of it.
    pub(crate) fn begin(self) -> io::Result<Begun> {
        self.note.rename(&self.repository.join(FILE))?;
        Ok(Begun { repository: self.repository, _writing: self.writing })
    }
}

/// A note in force.
pub(crate) struct Begun {
    repository: PathBuf,
    _writing: File,
}

impl Begun {
    /// Everything is done, or undone.
    pub(crate) fn end(self) -> io::Result<()> {
        remove(&self.repository)
    }
}

/// Does what was noted, if anything was. The caller is alone.
pub(crate) fn finish(repository: &Path) -> Result<(), RepositoryError> {
    let path = repository.join(FILE);
    let failed = |error: io::Error| RepositoryError::io("finishing", &path, error);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.map_err(failed)?,
    };
    let broken = || failed(ErrorKind::InvalidData.into());
    let refs = Refs::open(repository);
    for line in text.lines() {
        let (id, name) = line.split_once(' ').ok_or_else(broken)?;
        let id = ObjectId::from_hex(id.as_bytes()).map_err(|_| broken())?;
        let name = refs::parse_name(name.as_bytes()).map_err(|_| broken())?;
        if id.is_null() { refs.delete(&name)? } else { refs.set_alone(&name, id)? }
    }
    remove(repository).map_err(failed)
}

fn remove(repository: &Path) -> io::Result<()> {
    fs::remove_file(repository.join(FILE))?;
    durable::sync(repository)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skeleton;

    #[test]
    fn what_was_noted_is_done_once() {
        let home = tempfile::tempdir().unwrap();
        let repository = home.path().join("repo.git");
        skeleton::create(&repository).unwrap();
        let id = ObjectId::from_hex(&[b'1'; 40]).unwrap();
        let [one, two] = ["refs/heads/a/b", "refs/tags/c"].map(|name| refs::parse_name(name.as_bytes()).unwrap());
        let refs = Refs::open(&repository);
        refs.set(&two, id).unwrap();
        let journal = Journal::prepare(&repository, &[(two.clone(), None), (one.clone(), Some(id))]).unwrap();
        drop(journal.begin().unwrap());
        for _ in 0..2 {
            finish(&repository).unwrap();
            assert_eq!(refs.all().unwrap(), [(one.clone(), id)]);
            assert!(!repository.join(FILE).exists());
        }
    }
}
