//! How much a directory may hold.
//!
//! ext4 and XFS count space by *project*, a number that files have beside their owner; a directory can hand its own on to whatever comes
//! to be in it. [`take`] gives a directory a project that nothing else has, [`limit`] bounds what a project may use, [`count`] has what is in
//! the directory already counted, too, [`used`] says how much it is. Programs in sandboxes cannot leave their project.
//!
//! Where the file system does not do that ([`ability`] says why), [`measure`] at least finds out.
//!
//! Nothing is kept here: which project a directory has, and what a project may use, the file system knows.

mod walk;

use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::native::sys;
use crate::{Ability, EngineError};
use walk::{Entry, walk};

/// `st_blocks` counts in these.
const BLOCK: u64 = 512;
/// The unit of quotas.
const KIBIBYTE: u64 = 1024;
/// A file with anything in it takes at least so much; empty ones shall not be without number.
const BYTES_PER_FILE: u64 = 4096;
/// A small quota has room for so many.
const LEAST_FILES: u64 = 1024;

/// Two takers that both find a project free would both take it.
static TAKING: Mutex<()> = Mutex::new(());

/// Whether the file system of a directory refuses what is more than a limit; why not, and what to do, if it does not.
pub fn ability(directory: &Path) -> Ability {
    if !nix::unistd::geteuid().is_root() {
        return Err("only root can set quotas of a file system".to_owned());
    }
    let enforced = walk::open(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    match sys::enforces_projects(enforced.as_fd()) {
        Ok(true) if sys::project_quota(enforced.as_fd(), 0) == Err(Errno::EPERM) => {
            Err("this machine lets root set no quotas: it needs the capability CAP_SYS_ADMIN".to_owned())
        }
        Ok(true) => Ok(()),
        _ => Err(format!(
            "the file system of {} has no project quotas: since Linux 5.14 ext4 (with the features quota and project) and XFS have them, \
             mounted with the option prjquota",
            directory.display()
        )),
    }
}

/// The project that a directory is counted under, and what comes to be in it; `None` if that is nothing's.
pub fn project(directory: &Path) -> Result<Option<u32>, EngineError> {
    let found = walk::open(directory).and_then(|directory| Ok(sys::attribution(directory.as_fd())?));
    let found = found.map_err(doing("read the project of", directory))?;
    Ok((found.flags & sys::INHERIT_PROJECT != 0).then_some(found.project))
}

/// Gives a directory a project of these, one that nothing is counted under; if it has one of them, it keeps that.
pub fn take(directory: &Path, projects: &RangeInclusive<u32>) -> Result<u32, EngineError> {
    let _turn = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(own) = project(directory)?.filter(|own| projects.contains(own)) {
        return Ok(own);
    }
    let taken = walk::open(directory).and_then(|directory| {
        let free = find_free(directory.as_fd(), projects)?;
        attribute(directory.as_fd(), free, sys::INHERIT_PROJECT)?;
        Ok(free)
    });
    taken.map_err(doing("find a project for", directory))
}

fn find_free(directory: BorrowedFd<'_>, projects: &RangeInclusive<u32>) -> io::Result<u32> {
    for project in projects.clone() {
        match sys::project_quota(directory, project) {
            Ok(quota) if quota.dqb_curinodes > 0 || quota.dqb_curspace > 0 => {}
            Ok(_) | Err(Errno::ENOENT | Errno::ESRCH) => return Ok(project),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(format!("the projects {projects:?} are all in use")))
}

/// Counts a directory, everything in it, and everything that comes to be in it, under a project. What is counted so already stays.
/// Links are not followed; other file systems are left alone. An error if `stop` ends it.
pub fn count(directory: &Path, project: u32, stop: impl Fn() -> bool) -> Result<(), EngineError> {
    let mut see = |entry: Entry<'_>| {
        match entry {
            Entry::Directory(fd, _) => attribute(fd.as_fd(), project, sys::INHERIT_PROJECT)?,
            Entry::Other { directory, name, found } => {
                let is_file = found.st_mode & libc::S_IFMT == libc::S_IFREG;
                if let Some(file) = is_file.then(|| open_file(directory, name)).transpose()?.flatten() {
                    attribute(file.as_fd(), project, 0)?;
                }
            }
        }
        if stop() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(ControlFlow::Continue(())) }
    };
    walk(directory, &mut see).map(drop).map_err(doing("count what is in", directory))
}

/// `None` if it is gone, or something else by now.
fn open_file(directory: &OwnedFd, name: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn attribute(file: BorrowedFd<'_>, project: u32, flags: u32) -> io::Result<()> {
    let mut attribution = sys::attribution(file)?;
    if attribution.project == project && attribution.flags & flags == flags {
        return Ok(());
    }
    attribution.project = project;
    attribution.flags |= flags;
    Ok(sys::set_attribution(file, &attribution)?)
}

/// Bounds what a project may use on the file system of a directory; `None` lifts the bound.
pub fn limit(directory: &Path, project: u32, bytes: Option<u64>) -> Result<(), EngineError> {
    let blocks = bytes.map_or(0, |bytes| bytes.div_ceil(KIBIBYTE).max(1));
    let files = bytes.map_or(0, |bytes| (bytes / BYTES_PER_FILE).saturating_add(LEAST_FILES));
    let set = walk::open(directory)
        .and_then(|directory| Ok(sys::set_project_quota(directory.as_fd(), project, blocks, files)?));
    set.map_err(doing("set the quota of", directory))
}

/// The bytes that a project uses on the file system of a directory.
pub fn used(directory: &Path, project: u32) -> Result<u64, EngineError> {
    let found =
        walk::open(directory).and_then(|directory| Ok(sys::project_quota(directory.as_fd(), project)?.dqb_curspace));
    found.map_err(doing("read the quota of", directory))
}

/// What [`measure`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Bytes on the disk.
    pub bytes: u64,
    /// That is all there is.
    pub complete: bool,
}

/// The bytes that a directory and everything in it take on the disk. `enough` hears how many have been found after each entry, and ends
/// the search. A file with several names counts once.
pub fn measure(directory: &Path, mut enough: impl FnMut(u64) -> bool) -> Result<Measured, EngineError> {
    let mut bytes = 0_u64;
    let mut see = |entry: Entry<'_>| {
        let (Entry::Directory(_, found) | Entry::Other { found, .. }) = entry;
        bytes = bytes.saturating_add(own_bytes(found));
        Ok(if enough(bytes) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let complete = walk(directory, &mut see).map_err(doing("measure", directory))?.is_continue();
    Ok(Measured { bytes, complete })
}

/// What [`weigh`] found so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes, of each file those on the disk or those that whoever reads it gets, whichever are more: holes count.
    pub bytes: u64,
    /// Files, directories and all else.
    pub files: u64,
}

/// What a directory and everything in it may cost whoever has to read it, or to keep it. `enough` ends the search, as in [`measure`].
pub fn weigh(directory: &Path, mut enough: impl FnMut(Weight) -> bool) -> Result<Weight, EngineError> {
    let mut weight = Weight::default();
    let mut see = |entry: Entry<'_>| {
        let (Entry::Directory(_, found) | Entry::Other { found, .. }) = entry;
        let length = u64::try_from(found.st_size).unwrap_or(0);
        weight.bytes = weight.bytes.saturating_add(own_bytes(found).max(length));
        weight.files += 1;
        Ok(if enough(weight) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let _all = walk(directory, &mut see).map_err(doing("measure", directory))?;
    Ok(weight)
}

/// Each name of a file takes its share. (A directory's links are its subdirectories.)
fn own_bytes(found: &libc::stat) -> u64 {
    let is_directory = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let names = if is_directory { 1 } else { found.st_nlink.max(1) };
    u64::try_from(found.st_blocks).unwrap_or(0).saturating_mul(BLOCK) / names
}

fn doing<'a>(verb: &'a str, directory: &'a Path) -> impl Fn(io::Error) -> EngineError + 'a {
    move |source| EngineError::Io { doing: format!("{verb} {}", directory.display()), source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn blocks(path: &Path) -> u64 {
        fs::symlink_metadata(path).unwrap().blocks() * BLOCK
    }

    #[test]
    fn what_is_in_a_directory_is_measured_and_nothing_else() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("large"), vec![1; 1 << 20]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        fs::write(path("a/b/file"), vec![1; 300_000]).unwrap();
        fs::hard_link(path("a/b/file"), path("again")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        symlink(outside.path(), path("link")).unwrap();
        symlink(outside.path().join("large"), path("a/link")).unwrap();
        let sparse = fs::File::create(path("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        let parts = ["", "a", "a/b", "a/b/file", "fifo", "link", "a/link", "sparse"];
        let expected: u64 = parts.iter().map(|part| blocks(&path(part))).sum();
        assert_eq!(measure(directory.path(), |_| false).unwrap(), Measured { bytes: expected, complete: true });
        assert!((300_000..400_000).contains(&expected), "{expected}");
    }

    #[test]
    fn measuring_ends_when_it_is_enough() {
        let directory = tempfile::tempdir().unwrap();
        for name in 0..10 {
            fs::write(directory.path().join(name.to_string()), vec![1; 100_000]).unwrap();
        }
        let found = measure(directory.path(), |bytes| bytes > 250_000).unwrap();
        assert!((250_000..400_000).contains(&found.bytes) && !found.complete, "{found:?}");
    }

    #[test]
    fn holes_and_empty_files_have_weight() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("a")).unwrap();
        fs::write(path("a/empty"), "").unwrap();
        symlink("nowhere", path("link")).unwrap();
        fs::File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
        let found = weigh(directory.path(), |_| false).unwrap();
        assert!(found.files == 5 && (1 << 40..(1 << 40) + 20_000).contains(&found.bytes), "{found:?}");
        assert_eq!(weigh(directory.path(), |weight| weight.files > 2).unwrap().files, 3);
    }

    #[test]
    fn endless_depth_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("d/".repeat(walk::DEEPEST))).unwrap();
        measure(directory.path(), |_| false).unwrap();
        fs::create_dir_all(directory.path().join("d/".repeat(walk::DEEPEST + 1))).unwrap();
        let refused = measure(directory.path(), |_| false).unwrap_err().to_string();
        assert!(refused.contains("deeper than"), "{refused}");
    }

    #[test]
    fn a_link_is_no_directory() {
        let directory = tempfile::tempdir().unwrap();
        symlink("/usr", directory.path().join("link")).unwrap();
        assert!(measure(&directory.path().join("link"), |_| false).is_err());
        assert!(measure(&directory.path().join("none"), |_| false).is_err());
    }
}
