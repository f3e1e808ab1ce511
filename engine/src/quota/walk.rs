//! Everything in a directory whose content others may change meanwhile: no link is followed, no other file system entered, and
//! what is gone when it is looked at is passed over.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open as open_path, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

/// Each level takes a descriptor and some of the stack.
pub(super) const DEEPEST: usize = 128;

/// What is found.
pub(super) enum Entry<'a> {
    /// A directory, before what is in it. The first is that which was to be walked.
    Directory(&'a OwnedFd, &'a FileStat),
    /// Anything else.
    Other { directory: &'a OwnedFd, name: &'a Path, found: &'a FileStat },
}

/// Sees an entry, and says whether to go on.
type See<'a> = dyn FnMut(Entry<'_>) -> io::Result<ControlFlow<()>> + 'a;

fn flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// A directory, but not through a link.
pub(super) fn open(directory: &Path) -> io::Result<OwnedFd> {
    Ok(open_path(directory, flags(), Mode::empty())?)
}

/// Shows a directory and everything in it.
pub(super) fn walk(directory: &Path, see: &mut See<'_>) -> io::Result<ControlFlow<()>> {
    let directory = open(directory)?;
    let found = fstat(&directory)?;
    descend(&directory, &found, 0, see)
}

fn descend(directory: &OwnedFd, found: &FileStat, depth: usize, see: &mut See<'_>) -> io::Result<ControlFlow<()>> {
    if depth > DEEPEST {
        return Err(io::Error::other(format!("directories are nested deeper than {DEEPEST}")));
    }
    if see(Entry::Directory(directory, found))?.is_break() {
        return Ok(ControlFlow::Break(()));
    }
    for entry in fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))? {
        let name = entry?.file_name();
        if visit(directory, Path::new(&name), found, depth, see)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn visit(
    directory: &OwnedFd,
    name: &Path,
    parent: &FileStat,
    depth: usize,
    see: &mut See<'_>,
) -> io::Result<ControlFlow<()>> {
    let found = match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) if found.st_dev == parent.st_dev => found,
        Ok(_) | Err(Errno::ENOENT) => return Ok(ControlFlow::Continue(())),
        Err(error) => return Err(error.into()),
    };
    if found.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return see(Entry::Other { directory, name, found: &found });
    }
    match openat(directory, name, flags(), Mode::empty()) {
        Ok(below) => descend(&below, &found, depth + 1, see),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(ControlFlow::Continue(())),
        Err(error) => Err(error.into()),
    }
}
