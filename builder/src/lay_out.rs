//! Lays a tree out by its [`Inventory`], from content that comes from elsewhere and is checked with it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use nix::sys::stat::{Mode, fchmod};
use sha2::{Digest as _, Sha256};

use crate::directory::{self, Directory};
use crate::inventory::{Content, Inventory, Item};

/// Writes a file's content, which comes from outside.
pub type Fetch<'a> = dyn FnMut(&Item, &mut dyn Write) -> io::Result<()> + 'a;

/// Fills the empty directory `root` with what the inventory lists; `fetch` is asked for each file's content, in order. Content that is
/// not what is listed is `InvalidData`. Everything is given to `owner` (user and group) if that is some.
pub fn lay_out(inventory: &Inventory, root: &Path, owner: Option<u32>, fetch: &mut Fetch<'_>) -> io::Result<()> {
    let mut open = vec![(Vec::new(), Directory::open(root)?)];
    give(&open[0].1, owner)?;
    for item in inventory.items() {
        let (parent, name) = match item.path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&item.path[..slash], &item.path[slash + 1..]),
            None => (&b""[..], &item.path[..]),
        };
        // Parents come first, and the names in a directory together.
        while open.last().is_some_and(|(path, _)| path != parent) {
            open.pop();
        }
        let (_, directory) = open.last().ok_or(io::ErrorKind::InvalidData)?;
        match &item.content {
            Content::Directory => {
                let made = directory.make_directory(name)?;
                give(&made, owner)?;
                open.push((item.path.clone(), made));
            }
            Content::Symlink(target) => {
                directory.make_symlink(name, target)?;
                owner.map_or(Ok(()), |owner| directory.give(name, owner))?;
            }
            Content::File { executable, .. } => {
                let file = directory.create(name, 0o600)?;
                let file = check(item, file, fetch)?;
                fchmod(&file, Mode::from_bits_truncate(if *executable { 0o755 } else { 0o644 }))?;
                give(&file, owner)?;
            }
        }
    }
    Ok(())
}

/// Writes content that must be what is listed.
pub fn check<W: Write>(item: &Item, to: W, fetch: &mut Fetch<'_>) -> io::Result<W> {
    let Content::File { sha256, size, .. } = &item.content else { return Ok(to) };
    let mut checked = Checked { to, sha: Sha256::new(), left: *size };
    fetch(item, &mut checked)?;
    if checked.left != 0 || checked.sha.finalize()[..] != sha256[..] {
        let path = String::from_utf8_lossy(&item.path).escape_debug().to_string();
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path} is not what the list of files says")));
    }
    Ok(checked.to)
}

struct Checked<W> {
    to: W,
    sha: Sha256,
    left: u64,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.sha.update(&bytes[..written]);
        let longer = || io::Error::new(io::ErrorKind::InvalidData, "is longer than the list of files says");
        self.left = self.left.checked_sub(written as u64).ok_or_else(longer)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn give(made: impl std::os::fd::AsFd, owner: Option<u32>) -> io::Result<()> {
    owner.map_or(Ok(()), |owner| directory::give(made, owner))
}

/// Opens a file of a tree for reading, following no link on the way.
pub fn open(root: &Path, item: &Item) -> io::Result<File> {
    let mut directory = Directory::open(root)?;
    let mut parts = item.path.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return directory.file(part);
        }
        directory = directory.directory(part)?;
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::blocking::Cancel;
    use crate::tree;

    fn sample() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/deep/er")).unwrap();
        fs::create_dir_all(root.path().join("b")).unwrap();
        fs::write(root.path().join("a/deep/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(root.path().join("a/deep/run"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(root.path().join("b/notes"), "text").unwrap();
        symlink("/etc", root.path().join("a/out")).unwrap();
        root
    }

    fn listed(root: &Path) -> Inventory {
        tree::inventory(root, &Cancel::default()).unwrap()
    }

    #[test]
    fn a_tree_laid_out_by_its_list_is_the_same() {
        let (from, to) = (sample(), tempfile::tempdir().unwrap());
        let inventory = listed(from.path());
        let mut fetch = |item: &Item, to: &mut dyn Write| io::copy(&mut open(from.path(), item)?, to).map(drop);
        lay_out(&inventory, to.path(), None, &mut fetch).unwrap();
        assert_eq!(listed(to.path()), inventory);
    }

    #[test]
    fn content_that_is_not_what_is_listed_is_refused() {
        let inventory = listed(sample().path());
        for bad in ["", "#!/bin/sh", "#!/bin/zsh", "#!/bin/sh\n\n"] {
            let to = tempfile::tempdir().unwrap();
            let error = lay_out(&inventory, to.path(), None, &mut |_, to| to.write_all(bad.as_bytes())).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad:?}");
        }
    }
}
