//! The files of an empty bare repository. (gitrepository-layout(5))

use std::fs;
use std::io;
use std::path::Path;

use crate::durable;

const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
const HEAD: &str = "ref: refs/heads/main\n";
const DIRECTORIES: [&str; 4] = ["objects/info", "objects/pack", "refs/heads", "refs/tags"];

/// Makes the repository beside its place and moves it there: it is complete or absent.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(parent)?;
    let aside = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
    fill(aside.path())?;
    fs::rename(aside.path(), path)?;
    // It has moved: there is nothing left to remove.
    let _moved = aside.keep();
    durable::sync(parent)
}

fn fill(directory: &Path) -> io::Result<()> {
    for name in DIRECTORIES {
        durable::create_directories(directory, &directory.join(name))?;
    }
    durable::write(&directory.join("config"), CONFIG.as_bytes(), 0o644)?;
    durable::write(&directory.join("HEAD"), HEAD.as_bytes(), 0o644)
}
