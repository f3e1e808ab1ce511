//! Writes the archive of a release.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use builder::inventory::{Content, Inventory};
use tar::{Builder, EntryType, Header};

use super::{CONTENTS, Contents, SIGNATURE, file_name, list_name};

/// 1980-01-01T00:00:01Z: equal releases make equal archives.
pub const EPOCH: u64 = 315_532_801;

/// Code or a layer on disk.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Where.
    pub root: PathBuf,
    /// What it holds.
    pub files: Inventory,
}

impl Contents {
    /// Writes the archive; `sign` makes the signature of a text. Equal contents signed alike make an equal archive.
    pub fn write<'a>(
        &self,
        trees: impl IntoIterator<Item = &'a Tree>,
        sign: impl FnOnce(&[u8]) -> io::Result<String>,
        to: impl Write,
    ) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let mut archive = Builder::new(to);
        put(&mut archive, CONTENTS.as_bytes(), 0o644, text.len() as u64, &text[..])?;
        let signature = sign(&text)?;
        put(&mut archive, SIGNATURE.as_bytes(), 0o644, signature.len() as u64, signature.as_bytes())?;
        let mut written = BTreeSet::new();
        for tree in trees {
            if written.insert(tree.files.digest()) {
                put_tree(&mut archive, tree)?;
            }
        }
        archive.into_inner()?.flush()
    }
}

fn put_tree<W: Write>(archive: &mut Builder<W>, tree: &Tree) -> io::Result<()> {
    let digest = tree.files.digest();
    let list = tree.files.to_text();
    put(archive, list_name(&digest).as_bytes(), 0o644, list.len() as u64, list.as_bytes())?;
    for item in tree.files.items() {
        if let Content::File { size, executable, .. } = item.content {
            let mode = if executable { 0o755 } else { 0o644 };
            // What is longer or shorter than it was would spoil all that follows; what else has changed, the reader finds.
            let file = builder::lay_out::open(&tree.root, item)?.take(size);
            put(archive, &file_name(&digest, &item.path), mode, size, Exactly { file, left: size })?;
        }
    }
    Ok(())
}

fn put<W: Write>(archive: &mut Builder<W>, name: &[u8], mode: u32, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(EPOCH);
    header.set_uid(0);
    header.set_gid(0);
    archive.append_data(&mut header, Path::new(OsStr::from_bytes(name)), content)
}

/// A file that has as many bytes as it should.
pub struct Exactly<R> {
    /// The file.
    pub file: R,
    /// How many bytes of it are still to come.
    pub left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        if count == 0 && !buffer.is_empty() && self.left > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a file is shorter than it was"));
        }
        Ok(count)
    }
}
