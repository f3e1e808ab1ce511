//! Lays out a tree that came from outside: no path leaves the directory, nothing surprising is made.
//!
//! Links are written as they are: a target that leads out of the tree is legal data, which resolves inside a sandbox only.
//! Nothing in this crate follows a link of the tree. Files are 0644 or 0755, directories 0755. Times are left as the clock says
//! rather than set to a constant: web frameworks make `ETag` and `Last-Modified` from them, and two releases of a file of
//! the same length would else look the same to every browser.

mod dot_git;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use crate::directory::{self, Directory};

/// Longest path: what Linux allows, less room for the directory that the tree is in.
const LONGEST_PATH: usize = 3840;
/// Longest name, and longest target of a link, of Linux's file systems.
const LONGEST_NAME: usize = 255;
const LONGEST_TARGET: usize = 4095;

/// One entry of the tree, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Path from the root, `/` between parts, unchecked.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// A file's bytes or a symlink's target.
    pub content: &'a [u8],
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Regular file that can be executed.
    Executable,
    /// Symbolic link.
    Symlink,
    /// Directory.
    Directory,
    /// A commit of another repository, which the server does not have.
    Submodule,
}

/// Writes entries below one directory.
#[derive(Debug)]
pub struct Layout {
    root: Directory,
    owner: Option<u32>,
    /// The directory that the last entry was in: its path and handle. Entries mostly come directory by directory.
    parent: Option<(Vec<u8>, Directory)>,
    /// Directories that were made because something in them came first. (Archives need not list directories.)
    implied: BTreeSet<Vec<u8>>,
}

impl Layout {
    /// `root` must exist and be empty. It and everything made in it are given to `owner` (user and group) if that is some.
    pub fn new(root: &Path, owner: Option<u32>) -> Result<Self, SourceError> {
        let opened = open_empty(root, owner);
        let root = opened.map_err(|source| SourceError::Io { doing: format!("opening {}", root.display()), source })?;
        Ok(Self { root, owner, parent: None, implied: BTreeSet::new() })
    }

    /// Checks and writes one entry. Missing parents are made; an entry that is there already is refused.
    pub fn add(&mut self, entry: Entry<'_>) -> Result<(), SourceError> {
        let path = entry.path;
        check_path(path)?;
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        check_kind(&entry, name)?;
        if entry.kind == Kind::Directory && self.implied.remove(path) {
            return Ok(());
        }
        self.enter(parent)?;
        let directory = self.parent.as_ref().map_or(&self.root, |(_, directory)| directory);
        write(directory, name, &entry, self.owner).map_err(|error| on_writing(path, error))
    }

    /// Makes `self.parent` the directory `path`, walking from the root without following links.
    fn enter(&mut self, path: &[u8]) -> Result<(), SourceError> {
        if path.is_empty() {
            self.parent = None;
            return Ok(());
        }
        if self.parent.as_ref().is_some_and(|(current, _)| current == path) {
            return Ok(());
        }
        let mut current: Option<Directory> = None;
        for end in ends_of_parts(path) {
            let below = current.as_ref().unwrap_or(&self.root);
            let next = open_or_make(below, &path[..end], self.owner, &mut self.implied);
            current = Some(next.map_err(|error| on_entering(&path[..end], error))?);
        }
        self.parent = current.map(|directory| (path.to_vec(), directory));
        Ok(())
    }
}

/// Why a tree is not laid out. Names the path.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A path that this server refuses.
    #[error("{path}: {reason}")]
    Refused {
        /// The path, printable.
        path: String,
        /// Why, in one sentence.
        reason: String,
    },
    /// A submodule.
    #[error(
        "{path} is a git submodule, which a push does not carry: add its files to the repository, or its package to requirements.txt"
    )]
    Submodule {
        /// The path, printable.
        path: String,
    },
    /// Writing failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

fn open_empty(root: &Path, owner: Option<u32>) -> io::Result<Directory> {
    let directory = Directory::open(root)?;
    if !directory.names()?.is_empty() {
        return Err(io::ErrorKind::DirectoryNotEmpty.into());
    }
    if let Some(owner) = owner {
        directory::give(&directory, owner)?;
    }
    Ok(directory)
}

fn check_path(path: &[u8]) -> Result<(), SourceError> {
    if path.is_empty() {
        return Err(refused(path, "an empty path"));
    }
    if path.len() > LONGEST_PATH {
        return Err(refused(path, &format!("the path is longer than {LONGEST_PATH} bytes")));
    }
    for part in path.split(|b| *b == b'/') {
        if let Some(reason) = fault_of_name(part) {
            return Err(refused(path, &reason));
        }
    }
    Ok(())
}

fn fault_of_name(name: &[u8]) -> Option<String> {
    if name.is_empty() {
        return Some("the path is absolute or has an empty part".into());
    }
    if name == b"." || name == b".." {
        return Some("the path has a part . or ..".into());
    }
    if name.contains(&0) {
        return Some("the path has a NUL byte".into());
    }
    if name.len() > LONGEST_NAME {
        return Some(format!("a name in the path is longer than {LONGEST_NAME} bytes"));
    }
    dot_git::is_dot_git(name).then(|| "a name that some systems take for .git".into())
}

fn check_kind(entry: &Entry<'_>, name: &[u8]) -> Result<(), SourceError> {
    match entry.kind {
        Kind::Submodule => Err(SourceError::Submodule { path: printable(entry.path) }),
        Kind::Symlink => match fault_of_link(name, entry.content) {
            Some(reason) => Err(refused(entry.path, reason)),
            None => Ok(()),
        },
        Kind::File | Kind::Executable | Kind::Directory => Ok(()),
    }
}

fn fault_of_link(name: &[u8], target: &[u8]) -> Option<&'static str> {
    if target.is_empty() || target.contains(&0) || target.len() > LONGEST_TARGET {
        return Some("the target of the symbolic link is empty, too long or has a NUL byte");
    }
    dot_git::is_git_modules(name).then_some("git reads .gitmodules, which must not be a symbolic link")
}

/// Positions in `path` at which a part ends.
fn ends_of_parts(path: &[u8]) -> impl Iterator<Item = usize> {
    let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    slashes.chain(std::iter::once(path.len()))
}

/// Opens the last part of `path` in `below`, the directory of the parts before it.
fn open_or_make(
    below: &Directory,
    path: &[u8],
    owner: Option<u32>,
    implied: &mut BTreeSet<Vec<u8>>,
) -> io::Result<Directory> {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    if let Some(directory) = below.directory_if_any(name)? {
        return Ok(directory);
    }
    let made = make_directory(below, name, owner)?;
    implied.insert(path.to_vec());
    Ok(made)
}

fn write(directory: &Directory, name: &[u8], entry: &Entry<'_>, owner: Option<u32>) -> io::Result<()> {
    match entry.kind {
        Kind::File => write_file(directory, name, entry.content, 0o644, owner),
        Kind::Executable => write_file(directory, name, entry.content, 0o755, owner),
        Kind::Directory => make_directory(directory, name, owner).map(drop),
        Kind::Symlink => {
            directory.make_symlink(name, entry.content)?;
            owner.map_or(Ok(()), |owner| directory.give(name, owner))
        }
        Kind::Submodule => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn write_file(directory: &Directory, name: &[u8], content: &[u8], mode: u32, owner: Option<u32>) -> io::Result<()> {
    let mut file = directory.create(name, mode)?;
    file.write_all(content)?;
    owner.map_or(Ok(()), |owner| directory::give(&file, owner))
}

fn make_directory(below: &Directory, name: &[u8], owner: Option<u32>) -> io::Result<Directory> {
    let made = below.make_directory(name)?;
    if let Some(owner) = owner {
        directory::give(&made, owner)?;
    }
    Ok(made)
}

fn on_entering(path: &[u8], source: io::Error) -> SourceError {
    if source.kind() == io::ErrorKind::NotADirectory {
        return refused(path, "something is to be in it, but it is a file or a symbolic link");
    }
    SourceError::Io { doing: format!("opening {}", printable(path)), source }
}

fn on_writing(path: &[u8], source: io::Error) -> SourceError {
    if source.kind() == io::ErrorKind::AlreadyExists {
        return refused(path, "it appears twice");
    }
    SourceError::Io { doing: format!("writing {}", printable(path)), source }
}

fn refused(path: &[u8], reason: &str) -> SourceError {
    SourceError::Refused { path: printable(path), reason: reason.to_owned() }
}

/// For messages: no control characters, nothing that turns the direction of text.
fn printable(path: &[u8]) -> String {
    let shown = String::from_utf8_lossy(path);
    let mut text = String::new();
    for c in shown.chars().take(1000) {
        if c.is_control() || dot_git::is_ignorable(c) || matches!(c, '\u{2066}'..='\u{2069}') {
            text.extend(c.escape_unicode());
        } else {
            text.push(c);
        }
    }
    text
}
