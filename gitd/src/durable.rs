//! Files that are either the old or the new ones after a crash or a power cut.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::crash;

/// Suffix of files being written; git and gix ignore such names among refs.
pub(crate) const ASIDE: &str = ".lock";

/// Writes aside, syncs, renames, syncs the directory.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    Aside::write(path.parent().ok_or(io::ErrorKind::InvalidInput)?, content, mode)?.rename(path)
}

/// A file that is durable but has no name yet; giving it one takes no space on the disk. Removed if dropped.
#[derive(Debug)]
pub(crate) struct Aside(NamedTempFile);

impl Aside {
    /// Writes and syncs it in `directory`.
    pub(crate) fn write(directory: &Path, content: &[u8], mode: u32) -> io::Result<Self> {
        let mut file = Builder::new().prefix(".new-").suffix(ASIDE).tempfile_in(directory)?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        crash::point("file written");
        file.as_file().sync_all()?;
        Ok(Self(file))
    }

    /// Renames it, and syncs the directory of its name.
    pub(crate) fn rename(self, path: &Path) -> io::Result<()> {
        self.0.persist(path).map_err(|error| error.error)?;
        crash::point("file renamed");
        sync(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }
}

/// Syncs a file and moves it; the directories are the caller's to sync.
pub(crate) fn sync_and_rename(from: &Path, to: &Path) -> io::Result<()> {
    sync(from)?;
    fs::rename(from, to)
}

/// Syncs a file, or a directory's entries.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory below `root` with all its parents, durably.
pub(crate) fn create_directories(root: &Path, directory: &Path) -> io::Result<()> {
    if directory == root || directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_directories(root, parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync(parent),
    }
}
