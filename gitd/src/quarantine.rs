//! Where the objects of a push live until it is accepted: `objects/incoming-*/`, laid out as an object directory that
//! borrows from the real one, removed when dropped.
//!
//! Each holder of one also holds a shared lock on the repository's `incoming.lock`. Whoever gets that lock for himself
//! knows that nothing is in flight, and may remove what a crash left behind.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{RepositoryError, crash, durable, journal, skeleton};

const PREFIX: &str = "incoming-";
const LOCK: &str = "incoming.lock";

/// A quarantine, there until dropped.
#[derive(Debug)]
pub(crate) struct Quarantine {
    directory: TempDir,
    // Released after the directory is gone: fields are dropped in order.
    _lock: File,
}

impl Quarantine {
    /// An empty one.
    pub(crate) fn new(repository: &Path) -> io::Result<Self> {
        let lock = announce(repository)?;
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(repository.join("objects"))?;
        fs::create_dir(directory.path().join("pack"))?;
        fs::create_dir(directory.path().join("info"))?;
        fs::write(directory.path().join("info/alternates"), "..\n")?;
        crash::point("quarantine made");
        Ok(Self { directory, _lock: lock })
    }

    /// An object directory: what is in quarantine over what the repository has.
    pub(crate) fn objects(&self) -> &Path {
        self.directory.path()
    }

    /// Where a pack goes.
    pub(crate) fn pack(&self) -> PathBuf {
        self.directory.path().join("pack")
    }

    /// Moves the packs into the repository; durable on return.
    pub(crate) fn release(&self, repository: &Path) -> io::Result<()> {
        let to = repository.join("objects/pack");
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(self.pack())? {
            files.push(entry?.path());
        }
        // A pack is found by its index, so the index comes last.
        files.sort_by_key(|path| path.extension().is_some_and(|extension| extension == "idx"));
        for file in files {
            durable::sync_and_rename(&file, &to.join(file.file_name().unwrap_or_default()))?;
            crash::point(if file.extension().is_some_and(|extension| extension == "idx") {
                "index moved"
            } else {
                "pack moved"
            });
        }
        durable::sync(&to)
    }
}

/// Says that this repository is being written to, or read from, until the file is dropped.
pub(crate) fn announce(repository: &Path) -> io::Result<File> {
    let file = lock_file(repository)?;
    file.lock_shared()?;
    Ok(file)
}

/// Keeps everybody else out until the file is dropped; None if somebody is reading or writing.
pub(crate) fn alone(repository: &Path) -> io::Result<Option<File>> {
    let lock = lock_file(repository)?;
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(Some(lock)),
    }
}

/// Finishes or removes what crashes left behind, unless somebody is writing.
pub(crate) fn clean(repository: &Path) -> Result<(), RepositoryError> {
    let failed = |error| RepositoryError::io("cleaning", repository, error);
    let Some(_alone) = alone(repository).map_err(failed)? else { return Ok(()) };
    journal::finish(repository)?;
    remove_leftovers(repository).map_err(failed)
}

fn remove_leftovers(repository: &Path) -> io::Result<()> {
    skeleton::remove_asides(repository)?;
    remove_packs_without_index(&repository.join("objects/pack"))?;
    for entry in fs::read_dir(repository.join("objects"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    remove_locks(repository, 0)?;
    remove_locks(&repository.join("refs"), usize::MAX)
}

/// A pack comes before its index and goes after it.
fn remove_packs_without_index(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pack") && !path.with_extension("idx").exists() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Files that a crashed writer of a ref or of `HEAD` left.
fn remove_locks(directory: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if depth > 0 {
                remove_locks(&entry.path(), depth - 1)?;
            }
        } else if entry.file_name().to_string_lossy().ends_with(durable::ASIDE) && entry.file_name() != LOCK {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn lock_file(repository: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(repository.join(LOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_gone_when_dropped_and_cleaned_after_a_crash_only() {
        let home = tempfile::tempdir().unwrap();
        let repository = home.path().join("repo.git");
        skeleton::create(&repository).unwrap();
        let leftover = repository.join("objects/incoming-crashed/pack");
        let stale = repository.join("refs/heads/.new-1.lock");
        fs::create_dir_all(&leftover).unwrap();
        fs::write(&stale, "").unwrap();

        let quarantine = Quarantine::new(&repository).unwrap();
        let live = quarantine.objects().to_owned();
        clean(&repository).unwrap();
        assert!(live.is_dir() && leftover.is_dir() && stale.is_file());

        drop(quarantine);
        assert!(!live.exists());
        clean(&repository).unwrap();
        assert!(!leftover.exists() && !stale.exists());
    }
}
