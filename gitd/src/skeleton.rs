//! The files of an empty bare repository. (gitrepository-layout(5))

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use crate::{crash, durable};

const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
const HEAD: &str = "ref: refs/heads/main\n";
const DIRECTORIES: [&str; 4] = ["objects/info", "objects/pack", "refs/heads", "refs/tags"];

/// Letters of chance in the name of a repository in the making.
const RANDOM: usize = 6;

/// Makes the repository beside its place and moves it there: it is complete or absent.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(parent)?;
    let aside = tempfile::Builder::new().prefix(&prefix(path)).rand_bytes(RANDOM).tempdir_in(parent)?;
    let in_the_making = File::open(aside.path())?;
    in_the_making.lock_shared()?;
    fill(aside.path())?;
    crash::point("repository made aside");
    fs::rename(aside.path(), path)?;
    crash::point("repository renamed");
    // It has moved: there is nothing left to remove.
    let _moved = aside.keep();
    durable::sync(parent)
}

/// Removes what crashes left beside a repository that is there by now, but not what others, who are late, are still making.
pub(crate) fn remove_asides(path: &Path) -> io::Result<()> {
    let prefix = prefix(path);
    for entry in fs::read_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)? {
        let entry = entry?;
        let name = entry.file_name().into_encoded_bytes();
        if name.strip_prefix(prefix.as_encoded_bytes()).is_some_and(|random| random.len() == RANDOM) {
            match remove_left(&entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn remove_left(aside: &Path) -> io::Result<()> {
    let left = File::open(aside)?;
    match left.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => fs::remove_dir_all(aside),
    }
}

fn prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".new-");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

fn fill(directory: &Path) -> io::Result<()> {
    for name in DIRECTORIES {
        durable::create_directories(directory, &directory.join(name))?;
    }
    durable::write(&directory.join("config"), CONFIG.as_bytes(), 0o644)?;
    durable::write(&directory.join("HEAD"), HEAD.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::Repository;

    #[test]
    fn is_made_once_by_many_at_once() {
        for _ in 0..20 {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("repo.git");
            thread::scope(|scope| {
                let made: Vec<_> = (0..8).map(|_| scope.spawn(|| Repository::init(&path).map(drop))).collect();
                for made in made {
                    made.join().unwrap().unwrap();
                }
            });
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        }
    }
}
