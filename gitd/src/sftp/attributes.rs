//! What is known of a file, and what is to be changed of it.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown};
use std::path::Path;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, futimens, utimensat};
use nix::sys::time::TimeSpec;

use super::wire::{Reader, Short, Writer};

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// The attributes that a client has named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) permissions: Option<u32>,
    /// Access and change, in seconds of Unix time.
    pub(super) times: Option<(u32, u32)>,
}

impl Attributes {
    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Short> {
        let flags = from.u32()?;
        let mut read = Self::default();
        if flags & SIZE != 0 {
            read.size = Some(from.u64()?);
        }
        if flags & OWNER != 0 {
            read.owner = Some((from.u32()?, from.u32()?));
        }
        if flags & PERMISSIONS != 0 {
            read.permissions = Some(from.u32()?);
        }
        if flags & TIMES != 0 {
            read.times = Some((from.u32()?, from.u32()?));
        }
        if flags & EXTENDED != 0 {
            // Each is a name and a value; none is known here.
            for _ in 0..from.u32()? {
                from.string()?;
                from.string()?;
            }
        }
        Ok(read)
    }

    /// Changes an open file.
    pub(super) fn apply(&self, file: &File) -> io::Result<()> {
        if let Some(size) = self.size {
            file.set_len(size)?;
        }
        if let Some((user, group)) = self.owner {
            fchown(file, Some(user), Some(group))?;
        }
        if let Some(mode) = self.mode() {
            file.set_permissions(PermissionsExt::from_mode(mode))?;
        }
        if let Some((access, change)) = self.times {
            futimens(file, &seconds(access), &seconds(change))?;
        }
        Ok(())
    }

    /// Changes what is at `path`; a symbolic link itself if not to `follow`.
    pub(super) fn apply_at(&self, path: &Path, follow: bool) -> io::Result<()> {
        if let Some(size) = self.size {
            OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?.set_len(size)?;
        }
        if let Some((user, group)) = self.owner {
            let change = if follow { std::os::unix::fs::chown } else { lchown };
            change(path, Some(user), Some(group))?;
        }
        match self.mode() {
            Some(mode) if follow => std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?,
            // A link has no mode of its own.
            _ => {}
        }
        if let Some((access, change)) = self.times {
            let how = if follow { UtimensatFlags::FollowSymlink } else { UtimensatFlags::NoFollowSymlink };
            utimensat(AT_FDCWD, path, &seconds(access), &seconds(change), how)?;
        }
        Ok(())
    }

    /// The permission bits alone: clients send the type of the file with them.
    pub(super) fn mode(&self) -> Option<u32> {
        self.permissions.map(|mode| mode & 0o7777)
    }
}

fn seconds(time: u32) -> TimeSpec {
    TimeSpec::new(i64::from(time), 0)
}

/// Writes all that version 3 can say of a file.
pub(super) fn write(metadata: &Metadata, to: &mut Writer) {
    to.u32(SIZE | OWNER | PERMISSIONS | TIMES);
    to.u64(metadata.size());
    to.u32(metadata.uid());
    to.u32(metadata.gid());
    to.u32(metadata.mode());
    // The protocol's times end in 2106; those before 1970 are shown as its beginning.
    let time = |seconds: i64| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
    to.u32(time(metadata.atime()));
    to.u32(time(metadata.mtime()));
}
