//! Trees that a build left: listed, sealed, copied, and never followed out of.

mod hashing;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{FileStat, Mode, fchmod};

use crate::blocking::Cancel;
use crate::directory::{self, Directory, Found, found};
use crate::inventory::{Content, Inventory};
use hashing::{Hashers, Queue};

/// Deeper trees are refused: every level holds a file descriptor and a stack frame.
const DEEPEST: usize = 200;
/// Of a path below the root.
const LONGEST_PATH: usize = 4000;
/// A name that no layer is likely to have, for a file on its way to replace another.
const ASIDE: &[u8] = b".airstrip-aside";

/// Why a tree could not be worked through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// Something that cannot be part of a layer.
    #[error("{path}: {reason}")]
    Refused { path: String, reason: String },
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    /// Nobody wants the result.
    #[error("cancelled")]
    Cancelled,
}

impl From<TreeError> for io::Error {
    fn from(error: TreeError) -> Self {
        let kind = match &error {
            TreeError::Refused { .. } => io::ErrorKind::InvalidData,
            TreeError::Io { source, .. } => source.kind(),
            TreeError::Cancelled => io::ErrorKind::Interrupted,
        };
        Self::new(kind, error)
    }
}

/// What the tree at `root` holds.
pub(crate) fn inventory(root: &Path, cancel: &Cancel) -> Result<Inventory, TreeError> {
    let (files, queue) = Queue::new();
    std::thread::scope(|scope| {
        let hashers = Hashers::start(scope, files, &queue, cancel);
        let mut lister = Lister { found: Inventory::default(), path: Vec::new(), hashers };
        let visited = visit(root, cancel, &mut lister);
        let Lister { mut found, hashers, .. } = lister;
        let hashed = hashers.finish();
        visited?;
        for (number, hashed) in hashed {
            let failed = |error| on_io(Path::new(OsStr::from_bytes(&found.items()[number].path)), error);
            let (sha256, size) = hashed.map_err(failed)?;
            found.describe_file(number, sha256, size);
        }
        Ok(found)
    })
}

/// Makes the tree at `root` nobody's to change: owned by root if `privileged`, files 0444 or 0555, directories 0755, and no file
/// shared with another tree by a hard link.
pub(crate) fn seal(root: &Path, privileged: bool, cancel: &Cancel) -> Result<(), TreeError> {
    visit(root, cancel, &mut Seal { owner: privileged.then_some(0) })
}

/// Copies the tree at `from` to the new directory `to`, writable for its owner, times kept.
pub(crate) fn copy(from: &Path, to: &Path, owner: Option<u32>, cancel: &Cancel) -> Result<(), TreeError> {
    let made = to.parent().zip(to.file_name()).ok_or(io::ErrorKind::InvalidInput.into()).and_then(|(parent, name)| {
        let made = Directory::open(parent)?.make_directory(name.as_bytes())?;
        owner.map_or(Ok(()), |owner| directory::give(&made, owner))?;
        Ok(made)
    });
    let made = made.map_err(|source| TreeError::Io { path: to.display().to_string(), source })?;
    visit(from, cancel, &mut Copy { into: vec![made], owner })
}

/// What to do at each entry of a tree.
trait Visitor {
    fn enter(&mut self, name: &[u8], directory: &Directory, stat: &FileStat) -> io::Result<()>;
    fn file(&mut self, parent: &Directory, name: &[u8], stat: &FileStat, cancel: &Cancel) -> io::Result<()>;
    fn symlink(&mut self, parent: &Directory, name: &[u8]) -> io::Result<()>;
    fn leave(&mut self) {}
    /// Called once for the root.
    fn root(&mut self, _directory: &Directory) -> io::Result<()> {
        Ok(())
    }
}

fn visit(root: &Path, cancel: &Cancel, visitor: &mut impl Visitor) -> Result<(), TreeError> {
    let opened = Directory::open(root).and_then(|directory| visitor.root(&directory).map(|()| directory));
    let directory = opened.map_err(|source| TreeError::Io { path: root.display().to_string(), source })?;
    visit_entries(&directory, &mut PathBuf::new(), 0, cancel, visitor)
}

fn visit_entries(
    directory: &Directory,
    path: &mut PathBuf,
    depth: usize,
    cancel: &Cancel,
    visitor: &mut impl Visitor,
) -> Result<(), TreeError> {
    if depth > DEEPEST {
        return Err(refused(path, &format!("is more than {DEEPEST} directories deep")));
    }
    for name in directory.names().map_err(|error| on_io(path, error))? {
        if cancel.is_cancelled() {
            return Err(TreeError::Cancelled);
        }
        path.push(OsStr::from_bytes(&name));
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(refused(path, "the path is too long"));
        }
        let stat = directory.stat(&name).map_err(|error| on_io(path, error))?;
        match found(&stat) {
            Found::Directory => {
                let below = directory.directory(&name).map_err(|error| on_io(path, error))?;
                visitor.enter(&name, &below, &stat).map_err(|error| on_io(path, error))?;
                visit_entries(&below, path, depth + 1, cancel, visitor)?;
                visitor.leave();
            }
            Found::File => visitor.file(directory, &name, &stat, cancel).map_err(|error| on_io(path, error))?,
            Found::Symlink => visitor.symlink(directory, &name).map_err(|error| on_io(path, error))?,
            Found::Special => return Err(refused(path, "is neither a file, a directory nor a symbolic link")),
        }
        path.pop();
    }
    Ok(())
}

fn refused(path: &Path, reason: &str) -> TreeError {
    TreeError::Refused { path: path.display().to_string(), reason: reason.to_owned() }
}

fn on_io(path: &Path, source: io::Error) -> TreeError {
    if source.kind() == io::ErrorKind::Interrupted {
        return TreeError::Cancelled;
    }
    TreeError::Io { path: path.display().to_string(), source }
}

fn is_executable(stat: &FileStat) -> bool {
    stat.st_mode & 0o111 != 0
}

struct Lister<'scope> {
    found: Inventory,
    /// Of the directory that is being listed, with a `/` at its end.
    path: Vec<u8>,
    hashers: Hashers<'scope>,
}

impl Lister<'_> {
    fn push(&mut self, name: &[u8], content: Content) {
        let path = [&self.path, name].concat();
        self.found.push(&path, content);
    }
}

impl Visitor for Lister<'_> {
    fn enter(&mut self, name: &[u8], _: &Directory, _: &FileStat) -> io::Result<()> {
        self.push(name, Content::Directory);
        self.path.extend([name, b"/"].concat());
        Ok(())
    }

    fn file(&mut self, parent: &Directory, name: &[u8], stat: &FileStat, _: &Cancel) -> io::Result<()> {
        self.hashers.hash(self.found.items().len(), parent.file(name)?)?;
        // What else there is to say of it comes later.
        self.push(name, Content::File { sha256: [0; 32], size: 0, executable: is_executable(stat) });
        Ok(())
    }

    fn symlink(&mut self, parent: &Directory, name: &[u8]) -> io::Result<()> {
        self.push(name, Content::Symlink(parent.link_target(name)?.as_bytes().to_vec()));
        Ok(())
    }

    fn leave(&mut self) {
        self.path.pop();
        let parent = self.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        self.path.truncate(parent);
    }
}

struct Seal {
    owner: Option<u32>,
}

impl Seal {
    fn seal(&self, open: impl std::os::fd::AsFd, mode: u32) -> io::Result<()> {
        if let Some(owner) = self.owner {
            directory::give(&open, owner)?;
        }
        Ok(fchmod(&open, Mode::from_bits_truncate(mode))?)
    }
}

impl Visitor for Seal {
    fn root(&mut self, directory: &Directory) -> io::Result<()> {
        self.seal(directory, 0o755)
    }

    fn enter(&mut self, _: &[u8], directory: &Directory, _: &FileStat) -> io::Result<()> {
        self.seal(directory, 0o755)
    }

    fn file(&mut self, parent: &Directory, name: &[u8], stat: &FileStat, _: &Cancel) -> io::Result<()> {
        if stat.st_nlink > 1 {
            // The other name may be in a cache that later builds can write to.
            copy_file(&parent.file(name)?, parent, ASIDE, 0o600)?;
            parent.rename(ASIDE, name)?;
        }
        self.seal(&parent.file(name)?, if is_executable(stat) { 0o555 } else { 0o444 })
    }

    fn symlink(&mut self, parent: &Directory, name: &[u8]) -> io::Result<()> {
        self.owner.map_or(Ok(()), |owner| parent.give(name, owner))
    }
}

struct Copy {
    /// Handles of the new directories from the root to the one that is being filled.
    into: Vec<Directory>,
    owner: Option<u32>,
}

impl Copy {
    fn current(&self) -> io::Result<&Directory> {
        self.into.last().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Visitor for Copy {
    fn enter(&mut self, name: &[u8], _: &Directory, _: &FileStat) -> io::Result<()> {
        let made = self.current()?.make_directory(name)?;
        self.owner.map_or(Ok(()), |owner| directory::give(&made, owner))?;
        self.into.push(made);
        Ok(())
    }

    fn file(&mut self, parent: &Directory, name: &[u8], stat: &FileStat, _: &Cancel) -> io::Result<()> {
        let mode = if is_executable(stat) { 0o755 } else { 0o644 };
        let copied = copy_file(&parent.file(name)?, self.current()?, name, mode)?;
        self.owner.map_or(Ok(()), |owner| directory::give(&copied, owner))
    }

    fn symlink(&mut self, parent: &Directory, name: &[u8]) -> io::Result<()> {
        let into = self.current()?;
        into.make_symlink(name, parent.link_target(name)?.as_bytes())?;
        self.owner.map_or(Ok(()), |owner| into.give(name, owner))
    }

    fn leave(&mut self) {
        self.into.pop();
    }
}

/// Copies a file's bytes (inside the kernel, by reference where the file system can) and its time of change.
fn copy_file(mut from: &File, into: &Directory, name: &[u8], mode: u32) -> io::Result<File> {
    let mut to = into.create(name, mode)?;
    io::copy(&mut from, &mut to)?;
    to.set_modified(from.metadata()?.modified()?)?;
    Ok(to)
}

#[cfg(test)]
mod tests;
