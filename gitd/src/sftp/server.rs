//! Carrying requests out.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::statvfs::{fstatvfs, statvfs};

use super::MOST_DATA;
use super::attributes::Attributes;
use super::handles::{Handles, Open};
use super::listing::Names;
use super::reply::{Reply, Status};
use super::request::Request;

/// Names in one answer: with the longest of each it fits into a packet.
const MOST_NAMES: usize = 100;

const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREATE: u32 = 8;
const TRUNCATE: u32 = 0x10;
const EXCLUSIVE: u32 = 0x20;

/// One client's files and directories.
#[derive(Debug, Default)]
pub(super) struct Server {
    handles: Handles,
    names: Names,
}

impl Server {
    pub(super) fn answer(&mut self, request: Request<'_>) -> Result<Reply, Status> {
        match request {
            Request::Open { path, flags, attributes } => return self.open(path, flags, &attributes),
            Request::Close(handle) => self.handles.close(handle)?,
            Request::Read { handle, offset, length } => return self.read(handle, offset, length),
            Request::Write { handle, offset, data } => self.write(handle, offset, data)?,
            Request::Stat { path, follow: true } => return Ok(Reply::Attributes(fs::metadata(path)?)),
            Request::Stat { path, follow: false } => return Ok(Reply::Attributes(fs::symlink_metadata(path)?)),
            Request::StatHandle(handle) => return Ok(Reply::Attributes(self.handles.file(handle)?.metadata()?)),
            Request::SetStat { path, attributes, follow } => attributes.apply_at(path, follow)?,
            Request::SetStatHandle { handle, attributes } => attributes.apply(self.handles.file(handle)?)?,
            Request::OpenDirectory(path) => return self.open_directory(path),
            Request::ReadDirectory(handle) => return self.read_directory(handle),
            Request::Remove(path) => fs::remove_file(path)?,
            Request::MakeDirectory { path, attributes } => {
                fs::DirBuilder::new().mode(attributes.mode().unwrap_or(0o777)).create(path)?;
            }
            Request::RemoveDirectory(path) => fs::remove_dir(path)?,
            Request::RealPath(path) => return Ok(one_name(&real_path(path)?)),
            Request::ReadLink(path) => return Ok(one_name(&fs::read_link(path)?)),
            Request::Rename { from, to, replace: true } => fs::rename(from, to)?,
            Request::Rename { from, to, replace: false } => {
                renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)?;
            }
            Request::Symlink { target, link } => std::os::unix::fs::symlink(target, link)?,
            Request::HardLink { from, to } => fs::hard_link(from, to)?,
            Request::Sync(handle) => self.handles.file(handle)?.sync_all()?,
            Request::FileSystem(path) => return Ok(Reply::FileSystem(statvfs(path)?)),
            Request::FileSystemOfHandle(handle) => {
                return Ok(Reply::FileSystem(fstatvfs(self.handles.file(handle)?)?));
            }
            Request::Limits => return Ok(Reply::Limits),
            Request::Init | Request::Unknown => return Err(Status::unsupported()),
        }
        Ok(Reply::Done)
    }

    fn open(&mut self, path: &Path, flags: u32, attributes: &Attributes) -> Result<Reply, Status> {
        let has = |all| flags & all == all;
        let mut options = OpenOptions::new();
        // Not written means read, as with open(2), also where a file is only made.
        options.read(has(READ) || !has(WRITE)).write(has(WRITE)).mode(attributes.mode().unwrap_or(0o666));
        let wanted = [
            // A pipe or a device must not hold the server up.
            (true, nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY),
            (has(CREATE), nix::libc::O_CREAT),
            (has(CREATE | EXCLUSIVE), nix::libc::O_EXCL),
            // Data goes to the end whatever its offset.
            (has(WRITE | APPEND), nix::libc::O_APPEND),
            (has(WRITE | TRUNCATE), nix::libc::O_TRUNC),
        ];
        let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | flag);
        let file = options.custom_flags(wanted).open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::from_raw_os_error(nix::libc::EISDIR).into());
        }
        self.handles.add(Open::File(file)).map(Reply::Handle)
    }

    fn read(&self, handle: &[u8], offset: u64, length: u32) -> Result<Reply, Status> {
        let mut data = vec![0; MOST_DATA.min(length as usize)];
        match self.handles.file(handle)?.read_at(&mut data, offset)? {
            0 if length > 0 => Err(Status::end()),
            count => {
                data.truncate(count);
                Ok(Reply::Data(data))
            }
        }
    }

    fn write(&self, handle: &[u8], offset: u64, data: &[u8]) -> Result<(), Status> {
        Ok(self.handles.file(handle)?.write_all_at(data, offset)?)
    }

    fn open_directory(&mut self, path: &Path) -> Result<Reply, Status> {
        let entries = fs::read_dir(path)?;
        self.handles.add(Open::Directory { path: path.to_owned(), entries }).map(Reply::Handle)
    }

    fn read_directory(&mut self, handle: &[u8]) -> Result<Reply, Status> {
        let (path, entries) = self.handles.directory(handle)?;
        let mut names = Vec::new();
        while names.len() < MOST_NAMES
            && let Some(entry) = entries.next()
        {
            let name = entry?.file_name();
            // It may have gone since.
            let Ok(metadata) = fs::symlink_metadata(path.join(&name)) else { continue };
            let line = self.names.line(name.as_bytes(), &metadata);
            names.push((name.as_bytes().to_vec(), line, Some(metadata)));
        }
        if names.is_empty() { Err(Status::end()) } else { Ok(Reply::Names(names)) }
    }
}

/// A name alone, as the answer to questions for a path.
fn one_name(path: &Path) -> Reply {
    let name = path.as_os_str().as_bytes().to_vec();
    Reply::Names(vec![(name.clone(), name, None)])
}

/// The path without links, `.` and `..`; its last part need not exist.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(fs::canonicalize(parent)?.join(name))
        }
        (real, ..) => real,
    }
}
