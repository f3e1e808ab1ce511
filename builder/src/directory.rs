//! A directory whose content is not trusted: every name in it is looked up without following symbolic links.
//!
//! Paths are walked one part at a time from an open directory, so nothing that a tree contains (or that changes while it
//! is read) leads outside.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{self, FileStat, Mode, SFlag};
use nix::unistd::{self, Gid, Uid, UnlinkatFlags};

/// More names than this in one directory are refused rather than held in memory.
const MOST_NAMES: usize = 1_000_000;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, a pipe, a device.
    Special,
}

/// Kind of what a `stat` describes.
pub(crate) fn found(stat: &FileStat) -> Found {
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => Found::File,
        SFlag::S_IFDIR => Found::Directory,
        SFlag::S_IFLNK => Found::Symlink,
        _ => Found::Special,
    }
}

impl Directory {
    /// Opens a path of the host. Its parents are trusted, its last part is not followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(fcntl::open(path, directory_flags(), Mode::empty())?))
    }

    /// Opens the directory `name`; anything else of that name, a symbolic link included, is `NotADirectory`.
    pub(crate) fn directory(&self, name: &[u8]) -> io::Result<Self> {
        Ok(Self(fcntl::openat(&self.0, name, directory_flags(), Mode::empty())?))
    }

    /// As [`Self::directory`], `None` if there is nothing of that name.
    pub(crate) fn directory_if_any(&self, name: &[u8]) -> io::Result<Option<Self>> {
        absent_as_none(self.directory(name))
    }

    /// Opens the regular file `name` for reading.
    pub(crate) fn file(&self, name: &[u8]) -> io::Result<File> {
        // Without O_NONBLOCK opening a named pipe would wait for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = File::from(fcntl::openat(&self.0, name, flags, Mode::empty()).map_err(link_as_odd)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(odd()) }
    }

    /// Content of the regular file `name`, which may have at most `limit` bytes; `None` if there is none.
    pub(crate) fn read(&self, name: &[u8], limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = absent_as_none(self.file(name))? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(limit + 1).read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("is longer than {limit} bytes")));
        }
        Ok(Some(content))
    }

    /// Makes a new file; `AlreadyExists` if there is anything of that name.
    pub(crate) fn create(&self, name: &[u8], mode: u32) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(fcntl::openat(&self.0, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        stat::fchmod(&file, Mode::from_bits_truncate(mode))?;
        Ok(file)
    }

    /// Makes a directory, 0755 whatever the umask, and opens it.
    pub(crate) fn make_directory(&self, name: &[u8]) -> io::Result<Self> {
        stat::mkdirat(&self.0, name, Mode::S_IRWXU)?;
        let made = self.directory(name)?;
        stat::fchmod(&made.0, Mode::from_bits_truncate(0o755))?;
        Ok(made)
    }

    /// Makes a symbolic link.
    pub(crate) fn make_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(unistd::symlinkat(target, &self.0, name)?)
    }

    /// Where the symbolic link `name` leads, as written.
    pub(crate) fn link_target(&self, name: &[u8]) -> io::Result<std::ffi::OsString> {
        Ok(fcntl::readlinkat(&self.0, name)?)
    }

    /// What `name` itself is.
    pub(crate) fn stat(&self, name: &[u8]) -> io::Result<FileStat> {
        Ok(stat::fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// What `name` is, `None` if there is nothing of that name.
    pub(crate) fn find(&self, name: &[u8]) -> io::Result<Option<Found>> {
        Ok(absent_as_none(self.stat(name))?.as_ref().map(found))
    }

    /// All names in it, sorted bytewise.
    pub(crate) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut listing = Dir::openat(&self.0, ".", directory_flags(), Mode::empty())?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == MOST_NAMES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "too many files in one directory"));
            }
            names.push(name.to_vec());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Gives `name` itself to a user and the group of the same number.
    pub(crate) fn give(&self, name: &[u8], owner: u32) -> io::Result<()> {
        let (user, group) = (Uid::from_raw(owner), Gid::from_raw(owner));
        Ok(unistd::fchownat(&self.0, name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Removes anything but a directory.
    pub(crate) fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        Ok(unistd::unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(&self, name: &[u8]) -> io::Result<()> {
        Ok(unistd::unlinkat(&self.0, name, UnlinkatFlags::RemoveDir)?)
    }

    /// Puts `from` in the place of `to`.
    pub(crate) fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        Ok(fcntl::renameat(&self.0, from, &self.0, to)?)
    }

    /// Writes everything of its file system to disk: one wait for any number of files.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        Ok(unistd::syncfs(&self.0)?)
    }

    /// Makes its own names durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(unistd::fsync(&self.0)?)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives an open file or directory to a user and the group of the same number.
pub(crate) fn give(open: impl AsFd, owner: u32) -> io::Result<()> {
    Ok(unistd::fchown(open, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))?)
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn absent_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn link_as_odd(errno: Errno) -> io::Error {
    if errno == Errno::ELOOP { odd() } else { errno.into() }
}

fn odd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file")
}
