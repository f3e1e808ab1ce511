//! Where an app's tree comes from: a push, the repository, an archive.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use builder::source::{Entry, Kind, Layout};
use gitd::{EntryKind, Incoming, ObjectId, Repository, TreeEntry};

use crate::build::refuse;
use crate::failure::{Failure, Result};

/// A tree that can be laid out. Everything here blocks.
pub trait Source: Send + Sync {
    /// Writes every entry.
    fn lay_out(&self, layout: &mut Layout) -> Result<()>;

    /// Makes permanent what the release refers to.
    fn keep(&self) -> Result<()> {
        Ok(())
    }
}

/// A commit that is being pushed.
pub struct Pushed<'a> {
    /// Its objects.
    pub incoming: &'a Incoming,
    /// Which.
    pub commit: ObjectId,
}

impl Source for Pushed<'_> {
    fn lay_out(&self, layout: &mut Layout) -> Result<()> {
        self.incoming.visit(self.commit, &mut |entry| add(layout, &entry))
    }

    fn keep(&self) -> Result<()> {
        Ok(self.incoming.keep()?)
    }
}

/// A commit that was pushed before.
pub struct Committed {
    /// Where it is.
    pub repository: Repository,
    /// Which.
    pub commit: ObjectId,
    /// Bytes of one object at most.
    pub object_bytes: usize,
}

impl Source for Committed {
    fn lay_out(&self, layout: &mut Layout) -> Result<()> {
        self.repository.visit(self.commit, self.object_bytes, &mut |entry| add(layout, &entry))
    }
}

fn add(layout: &mut Layout, entry: &TreeEntry<'_>) -> Result<()> {
    let kind = match entry.kind {
        EntryKind::File => Kind::File,
        EntryKind::Executable => Kind::Executable,
        EntryKind::Symlink => Kind::Symlink,
        EntryKind::Directory => Kind::Directory,
        EntryKind::Submodule => Kind::Submodule,
    };
    layout.add(Entry { path: entry.path, kind, content: entry.content }).map_err(refuse)
}

/// Bytes of an archive, packed, and of everything in it, unpacked.
const ARCHIVE_BYTES: u64 = 2 << 30;
/// Bytes of one file in it.
const FILE_BYTES: u64 = 256 << 20;

/// A tar, plain or with gzip.
pub struct Archive {
    file: File,
}

impl Archive {
    /// An archive that has been received into a file.
    pub fn new(file: File) -> Result<Self> {
        let length = file.metadata().map_err(|e| Failure::io("reading the archive", &e))?.len();
        match length {
            0 => Err(Failure::new(
                "the archive is empty",
                "send a tar or tar.gz on standard input: tar cz . | ssh … deploy APP",
            )),
            _ => Ok(Self { file }),
        }
    }

    /// How much of one is received at most.
    pub const MAX_BYTES: u64 = ARCHIVE_BYTES;
}

/// Reads a file that may be packed with gzip, from its start, up to so many bytes. One reader at a time.
pub fn unpacked(file: &File, limit: u64) -> io::Result<Box<dyn Read>> {
    let mut file = file.try_clone()?;
    let mut magic = [0; 2];
    file.rewind()?;
    let gzip = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    file.rewind()?;
    let file = BufReader::new(file);
    Ok(if gzip { Box::new(flate2::read::MultiGzDecoder::new(file).take(limit)) } else { Box::new(file.take(limit)) })
}

impl Source for Archive {
    fn lay_out(&self, layout: &mut Layout) -> Result<()> {
        let broken =
            |e: io::Error| Failure::new(format!("the archive cannot be read: {e}"), "send a tar or tar.gz, uncut");
        let mut archive = tar::Archive::new(unpacked(&self.file, ARCHIVE_BYTES).map_err(broken)?);
        let mut content = Vec::new();
        let mut made = std::collections::BTreeSet::new();
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let Some((path, kind)) = described(&entry)? else { continue };
            content.clear();
            match kind {
                Kind::Symlink => content.extend(entry.link_name_bytes().unwrap_or_default().iter()),
                Kind::Directory => {}
                _ => read_bounded(&mut entry, &path, &mut content)?,
            }
            add_parents(layout, &path, &mut made)?;
            if kind != Kind::Directory || made.insert(path.clone()) {
                layout.add(Entry { path: &path, kind, content: &content }).map_err(refuse)?;
            }
        }
        Ok(())
    }
}

/// Path (without the `./` and `/` that tar allows around it) and kind of an entry; None for those without meaning here.
fn described<R: Read>(entry: &tar::Entry<'_, R>) -> Result<Option<(Vec<u8>, Kind)>> {
    let path = entry.path_bytes();
    let mut trimmed: &[u8] = &path;
    while let Some(rest) = trimmed.strip_prefix(b"./") {
        trimmed = rest;
    }
    let trimmed = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
    let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
    let kind = match entry.header().entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous if executable => Kind::Executable,
        tar::EntryType::Regular | tar::EntryType::Continuous => Kind::File,
        tar::EntryType::Symlink => Kind::Symlink,
        tar::EntryType::Directory => Kind::Directory,
        tar::EntryType::XGlobalHeader => return Ok(None),
        _ => {
            let path = String::from_utf8_lossy(trimmed).into_owned();
            return Err(Failure::new(
                format!("{path}: only files, directories and symbolic links can be deployed"),
                "leave it out of the archive",
            ));
        }
    };
    Ok((!matches!(trimmed, b"" | b".")).then(|| (trimmed.to_vec(), kind)))
}

fn read_bounded(entry: &mut impl Read, path: &[u8], content: &mut Vec<u8>) -> Result<()> {
    let name = || String::from_utf8_lossy(path).into_owned();
    entry.take(FILE_BYTES + 1).read_to_end(content).map_err(|e| Failure::io(name(), &e))?;
    if content.len() as u64 > FILE_BYTES {
        return Err(Failure::new(
            format!("{} is larger than {} MiB", name(), FILE_BYTES >> 20),
            "keep large files in data/, not in the code",
        ));
    }
    Ok(())
}

/// Archives need not name the directories that their files are in.
fn add_parents(layout: &mut Layout, path: &[u8], made: &mut std::collections::BTreeSet<Vec<u8>>) -> Result<()> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
    for end in ends {
        if made.insert(path[..end].to_vec()) {
            layout.add(Entry { path: &path[..end], kind: Kind::Directory, content: &[] }).map_err(refuse)?;
        }
    }
    Ok(())
}
