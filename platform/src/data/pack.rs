//! Writes a directory as a tar. Runs inside a sandbox, while others may change the directory.

use std::collections::HashMap;
use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::say;

/// Names of one file that are remembered; beyond that further names become copies.
const MOST_LINKED: usize = 1 << 20;

/// Packs `root` itself, as `./`, and everything below it by relative names.
pub(super) fn run(root: &Path, to: impl Write) -> io::Result<()> {
    let mut packer = Packer { tar: Builder::new(BufWriter::with_capacity(1 << 20, to)), linked: HashMap::new() };
    let metadata = fs::metadata(root)?;
    packer.entry(&metadata, EntryType::Directory, Path::new("./"), 0, io::empty())?;
    packer.directory(root, Path::new(""))?;
    packer.tar.into_inner()?.flush()
}

struct Packer<W: Write> {
    tar: Builder<W>,
    /// The first name of each file that has several, by device and number.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<W> {
    fn directory(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), name.join(entry.file_name()));
            let packed = self.one(&path, &name);
            packed.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", name.display())))?;
        }
        Ok(())
    }

    fn one(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let Some(metadata) = there(fs::symlink_metadata(path))? else { return Ok(()) };
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.entry(&metadata, EntryType::Directory, &name.join(""), 0, io::empty())?;
            return there(self.directory(path, name)).map(drop);
        }
        if kind.is_symlink() {
            let Some(target) = there(fs::read_link(path))? else { return Ok(()) };
            return self.link(&metadata, EntryType::Symlink, name, &target);
        }
        if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
            say(&format_args!("left out {}: neither a file nor a directory nor a symbolic link", name.display()));
            return Ok(());
        }
        self.file(path, &metadata, name)
    }

    fn file(&mut self, path: &Path, metadata: &Metadata, name: &Path) -> io::Result<()> {
        let identity = (metadata.dev(), metadata.ino());
        if let Some(first) = self.linked.get(&identity).cloned() {
            return self.link(metadata, EntryType::Link, name, &first);
        }
        let Some(file) = there(File::open(path))? else { return Ok(()) };
        // What it is now; the name may have got another file since.
        let metadata = file.metadata()?;
        if metadata.nlink() > 1 && self.linked.len() < MOST_LINKED {
            self.linked.insert(identity, name.to_owned());
        }
        let size = metadata.len();
        self.entry(&metadata, EntryType::Regular, name, size, exactly(file, size))
    }

    fn entry(&mut self, of: &Metadata, kind: EntryType, name: &Path, size: u64, content: impl Read) -> io::Result<()> {
        let mut header = header(of, kind);
        header.set_size(size);
        self.tar.append_data(&mut header, name, content)
    }

    fn link(&mut self, of: &Metadata, kind: EntryType, name: &Path, target: &Path) -> io::Result<()> {
        self.tar.append_link(&mut header(of, kind), name, target)
    }
}

fn header(of: &Metadata, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_metadata(of);
    header.set_entry_type(kind);
    header.set_size(0);
    header
}

/// A file may grow and shrink while it is read, but the archive has already said how long it is.
fn exactly(file: File, size: u64) -> impl Read {
    file.take(size).chain(io::repeat(0)).take(size)
}

/// None for what has been removed meanwhile.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
