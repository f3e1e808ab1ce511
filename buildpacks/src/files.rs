//! Trees of files: copied, and told apart by when they were changed.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Takes texts of any length one after the other, each for itself, and names them all.
#[derive(Default)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    /// Adds a text.
    pub(crate) fn add(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update((bytes.as_ref().len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The name of all that was added.
    pub(crate) fn finish(self) -> String {
        self.0.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// Adds every name, size and time of change below a path: enough to see that a program has changed something.
    pub(crate) fn add_times(&mut self, path: &Path, skipped: &[&str]) -> io::Result<()> {
        walk(path, skipped, &mut |path, found| {
            self.add(path.as_os_str().as_encoded_bytes());
            if !found.is_dir() {
                self.add(format!("{} {} {}", found.len(), found.ctime(), found.ctime_nsec()));
            }
            Ok(())
        })
    }
}

/// Copies a tree, without entries with a name in `skipped`. Links stay links.
pub(crate) fn copy(from: &Path, to: &Path, skipped: &[&str]) -> io::Result<()> {
    walk(from, skipped, &mut |path, found| {
        let target = match path.strip_prefix(from) {
            Ok(inner) if inner.as_os_str().is_empty() => to.to_owned(),
            Ok(inner) => to.join(inner),
            Err(error) => return Err(io::Error::other(error)),
        };
        if found.is_dir() {
            fs::create_dir_all(target)
        } else if found.is_symlink() {
            symlink(fs::read_link(path)?, target)
        } else {
            fs::copy(path, target).map(|_| ())
        }
    })
}

type Visit<'a> = dyn FnMut(&Path, &fs::Metadata) -> io::Result<()> + 'a;

/// Visits a path and all below it, directories before what is in them, in the order of names.
fn walk(path: &Path, skipped: &[&str], visit: &mut Visit<'_>) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    visit(path, &found)?;
    if !found.is_dir() {
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let is_skipped = |entry: &fs::DirEntry| skipped.iter().any(|name| entry.file_name() == *name);
    entries.iter().filter(|entry| !is_skipped(entry)).try_for_each(|entry| walk(&entry.path(), skipped, visit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_equal_and_a_change_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("a/.cache")).unwrap();
        fs::write(from.join("a/file"), "text").unwrap();
        symlink("file", from.join("a/link")).unwrap();
        copy(&from, &to, &[".cache"]).unwrap();
        assert_eq!(fs::read(to.join("a/link")).unwrap(), b"text");
        assert!(to.join("a/link").is_symlink() && !to.join("a/.cache").exists());

        let times = || {
            let mut print = Fingerprint::default();
            print.add_times(&from, &[".cache"]).unwrap();
            print.finish()
        };
        let before = times();
        fs::write(from.join("a/.cache/x"), "").unwrap();
        assert_eq!(times(), before);
        fs::write(from.join("a/file"), "more").unwrap();
        assert_ne!(times(), before);
    }
}
