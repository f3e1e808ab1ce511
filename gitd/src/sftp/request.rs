//! What a client asks for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::attributes::Attributes;
use super::wire::{Reader, Short};

/// A request. Paths are as the client gave them; the empty one means the directory in which the server was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Init,
    Open { path: &'a Path, flags: u32, attributes: Attributes },
    Close(&'a [u8]),
    Read { handle: &'a [u8], offset: u64, length: u32 },
    Write { handle: &'a [u8], offset: u64, data: &'a [u8] },
    Stat { path: &'a Path, follow: bool },
    StatHandle(&'a [u8]),
    SetStat { path: &'a Path, attributes: Attributes, follow: bool },
    SetStatHandle { handle: &'a [u8], attributes: Attributes },
    OpenDirectory(&'a Path),
    ReadDirectory(&'a [u8]),
    Remove(&'a Path),
    MakeDirectory { path: &'a Path, attributes: Attributes },
    RemoveDirectory(&'a Path),
    RealPath(&'a Path),
    Rename { from: &'a Path, to: &'a Path, replace: bool },
    ReadLink(&'a Path),
    Symlink { target: &'a Path, link: &'a Path },
    HardLink { from: &'a Path, to: &'a Path },
    Sync(&'a [u8]),
    FileSystem(&'a Path),
    FileSystemOfHandle(&'a [u8]),
    Limits,
    Unknown,
}

impl<'a> Request<'a> {
    /// The request in a packet, and its number. An error is the number of a request that is cut short.
    pub(super) fn parse(packet: &'a [u8]) -> Result<(u32, Self), u32> {
        let mut reader = Reader(packet);
        let kind = reader.byte().map_err(|Short| 0_u32)?;
        // The first packet has a version where others have their number.
        let id = reader.u32().map_err(|Short| 0_u32)?;
        if kind == 1 {
            return Ok((0, Self::Init));
        }
        Self::body(kind, &mut reader).map(|request| (id, request)).map_err(|Short| id)
    }

    fn body(kind: u8, from: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(match kind {
            3 => Self::Open { path: path(from)?, flags: from.u32()?, attributes: Attributes::read(from)? },
            4 => Self::Close(from.string()?),
            5 => Self::Read { handle: from.string()?, offset: from.u64()?, length: from.u32()? },
            6 => Self::Write { handle: from.string()?, offset: from.u64()?, data: from.string()? },
            7 => Self::Stat { path: path(from)?, follow: false },
            8 => Self::StatHandle(from.string()?),
            9 => Self::SetStat { path: path(from)?, attributes: Attributes::read(from)?, follow: true },
            10 => Self::SetStatHandle { handle: from.string()?, attributes: Attributes::read(from)? },
            11 => Self::OpenDirectory(path(from)?),
            12 => Self::ReadDirectory(from.string()?),
            13 => Self::Remove(path(from)?),
            14 => Self::MakeDirectory { path: path(from)?, attributes: Attributes::read(from)? },
            15 => Self::RemoveDirectory(path(from)?),
            16 => Self::RealPath(path(from)?),
            17 => Self::Stat { path: path(from)?, follow: true },
            18 => Self::Rename { from: path(from)?, to: path(from)?, replace: false },
            19 => Self::ReadLink(path(from)?),
            // OpenSSH has always sent these two the other way round than the draft says, and so has everyone since.
            20 => Self::Symlink { target: path(from)?, link: path(from)? },
            200 => Self::extended(from)?,
            _ => Self::Unknown,
        })
    }

    fn extended(from: &mut Reader<'a>) -> Result<Self, Short> {
        Ok(match from.string()? {
            b"posix-rename@openssh.com" => Self::Rename { from: path(from)?, to: path(from)?, replace: true },
            b"hardlink@openssh.com" => Self::HardLink { from: path(from)?, to: path(from)? },
            b"fsync@openssh.com" => Self::Sync(from.string()?),
            b"statvfs@openssh.com" => Self::FileSystem(path(from)?),
            b"fstatvfs@openssh.com" => Self::FileSystemOfHandle(from.string()?),
            b"lsetstat@openssh.com" => {
                Self::SetStat { path: path(from)?, attributes: Attributes::read(from)?, follow: false }
            }
            b"expand-path@openssh.com" => Self::RealPath(home(path(from)?)),
            b"limits@openssh.com" => Self::Limits,
            _ => Self::Unknown,
        })
    }
}

fn path<'a>(from: &mut Reader<'a>) -> Result<&'a Path, Short> {
    let bytes = from.string()?;
    Ok(Path::new(OsStr::from_bytes(if bytes.is_empty() { b"." } else { bytes })))
}

/// `~/x` is `x`: the server starts in the home directory.
fn home(path: &Path) -> &Path {
    match path.strip_prefix("~") {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        Ok(rest) => rest,
        Err(_) => path,
    }
}
