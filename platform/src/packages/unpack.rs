//! From an archive to directories of buildpacks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use builder::source::{Entry, Kind, Layout};

use super::{FORM, MOST_BYTES, image};
use crate::build::refuse;
use crate::failure::{Failure, Result};

/// The descriptor, by which a buildpack's directory is known.
const DESCRIPTOR: &[u8] = b"buildpack.toml";
/// Where an image has its buildpacks: `ID/VERSION` below.
const IN_IMAGE: &[u8] = b"cnb/buildpacks/";
/// Where they are unpacked to.
const UNPACKED: &str = "unpacked";

/// Unpacks an archive below `aside`, and gives the directories of the buildpacks in it.
pub(super) fn unpack(archive: File, aside: &Path) -> Result<Vec<PathBuf>> {
    let mut archive = plain(archive, aside).map_err(|e| broken(&e))?;
    let root = aside.join(UNPACKED);
    std::fs::create_dir(&root).map_err(|e| Failure::io(root.display(), &e))?;
    let mut unpacker = Unpacker::new(&root)?;
    if let Some(blobs) = image::Blobs::of(&mut archive)? {
        for layer in blobs.layers(&archive)? {
            unpacker.add(&mut tar::Archive::new(layer), &|path| path.strip_prefix(IN_IMAGE).map(<[u8]>::to_vec))?;
        }
        return directories(&root, 2);
    }
    let prefix = top(&mut archive)?;
    archive.seek(SeekFrom::Start(0)).map_err(|e| broken(&e))?;
    let below = |path: &[u8]| {
        let path = path.strip_prefix(prefix.as_slice())?;
        // A clone's history is no part of it.
        (path != b".git" && !path.starts_with(b".git/")).then(|| [b"one/", path].concat())
    };
    unpacker.add(&mut tar::Archive::new(BufReader::new(archive)), &below)?;
    directories(&root, 1)
}

/// An archive that cannot be read.
pub(super) fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("the archive cannot be read: {error}"), FORM)
}

/// The path of an entry, without what tar allows around it. None for what means the top.
pub(super) fn path_of<R: Read>(entry: &tar::Entry<'_, R>) -> Option<Vec<u8>> {
    let path = entry.path_bytes();
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let path = parts.collect::<Vec<_>>().join(&b'/');
    (!path.is_empty()).then_some(path)
}

/// The archive without compression, in a file that can be read twice.
fn plain(mut archive: File, aside: &Path) -> io::Result<File> {
    let mut magic = [0; 2];
    archive.rewind()?;
    let gzip = archive.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    archive.rewind()?;
    if !gzip {
        return Ok(archive);
    }
    let mut plain = tempfile::tempfile_in(aside)?;
    let mut unpacked = flate2::read::MultiGzDecoder::new(BufReader::new(archive)).take(MOST_BYTES + 1);
    if io::copy(&mut unpacked, &mut plain)? > MOST_BYTES {
        return Err(io::Error::other(format!("it holds more than {} MiB", MOST_BYTES >> 20)));
    }
    plain.rewind()?;
    Ok(plain)
}

/// The directory (with its `/`) that the highest descriptor of an archive is in.
fn top(archive: &mut File) -> Result<Vec<u8>> {
    archive.rewind().map_err(|e| broken(&e))?;
    let mut found: Option<Vec<u8>> = None;
    for entry in tar::Archive::new(BufReader::new(&mut *archive)).entries().map_err(|e| broken(&e))? {
        let Some(path) = path_of(&entry.map_err(|e| broken(&e))?) else { continue };
        let Some(directory) = path.strip_suffix(DESCRIPTOR) else { continue };
        let is_whole_name = directory.is_empty() || directory.ends_with(b"/");
        if is_whole_name && found.as_ref().is_none_or(|found| directory.len() < found.len()) {
            found = Some(directory.to_vec());
        }
    }
    found.ok_or_else(|| Failure::new("there is no buildpack.toml in the archive", FORM))
}

/// Directories so many levels below.
fn directories(root: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let mut level = vec![root.to_owned()];
    for _ in 0..depth {
        let mut next = Vec::new();
        for directory in level {
            for entry in std::fs::read_dir(&directory).map_err(|e| Failure::io(directory.display(), &e))? {
                next.push(entry.map_err(|e| Failure::io(directory.display(), &e))?.path());
            }
        }
        level = next;
    }
    level.sort();
    if level.is_empty() { Err(Failure::new("there is no buildpack in the archive", FORM)) } else { Ok(level) }
}

/// Lays entries of archives out in one tree.
struct Unpacker {
    layout: Layout,
    /// Archives name directories again, each for itself.
    made: BTreeSet<Vec<u8>>,
    bytes: u64,
}

impl Unpacker {
    fn new(root: &Path) -> Result<Self> {
        Ok(Self { layout: Layout::new(root, None).map_err(refuse)?, made: BTreeSet::new(), bytes: 0 })
    }

    /// Adds what `place` gives a path.
    fn add<R: Read>(&mut self, archive: &mut tar::Archive<R>, place: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Result<()> {
        for entry in archive.entries().map_err(|e| broken(&e))? {
            let mut entry = entry.map_err(|e| broken(&e))?;
            let Some(path) = path_of(&entry).and_then(|path| place(&path)) else { continue };
            let Some((kind, content)) = self.content(&mut entry, &path)? else { continue };
            if kind == Kind::Directory && (path.is_empty() || !self.made.insert(path.clone())) {
                continue;
            }
            self.layout.add(Entry { path: &path, kind, content: &content }).map_err(refuse)?;
        }
        Ok(())
    }

    /// None for entries without meaning here.
    fn content<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &[u8]) -> Result<Option<(Kind, Vec<u8>)>> {
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
        let (kind, content) = match entry.header().entry_type() {
            tar::EntryType::Directory => (Kind::Directory, Vec::new()),
            tar::EntryType::Symlink => (Kind::Symlink, entry.link_name_bytes().unwrap_or_default().into_owned()),
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                (if executable { Kind::Executable } else { Kind::File }, self.read(entry)?)
            }
            tar::EntryType::XGlobalHeader => return Ok(None),
            _ => {
                let path = String::from_utf8_lossy(path).into_owned();
                return Err(Failure::plain(format!(
                    "{path}: a buildpack has only files, directories and symbolic links"
                )));
            }
        };
        Ok(Some((kind, content)))
    }

    fn read(&mut self, entry: &mut impl Read) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        entry.take(MOST_BYTES + 1).read_to_end(&mut content).map_err(|e| broken(&e))?;
        self.bytes += content.len() as u64;
        if self.bytes > MOST_BYTES {
            return Err(broken(&format!("it holds more than {} MiB", MOST_BYTES >> 20)));
        }
        Ok(content)
    }
}
