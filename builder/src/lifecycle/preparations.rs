//! What layers and the app bring to be run or read before a process starts: `exec.d`, `profile.d`, `.profile`.

use std::io;
use std::path::{Path, PathBuf};

use super::workplace::app_directory;
use super::{BuildError, files};
use crate::directory::{Directory, Found};
use crate::{Layer, Preparation, PreparationKind};

/// All of them, in the order of use: every buildpack's programs, then every buildpack's scripts, then the app's own.
pub(super) fn find(store: &Path, layers: &[Layer], source: &Path) -> Result<Vec<Preparation>, BuildError> {
    let mut preparations = Vec::new();
    for (kind, directory) in [(PreparationKind::Program, "exec.d"), (PreparationKind::Script, "profile.d")] {
        for layer in layers {
            let found = of_layer(&store.join(layer.digest.as_str()), &layer.target, kind, directory);
            preparations.extend(found.map_err(|error| files::on_reading(&layer.buildpack, &layer.name, error))?);
        }
    }
    let own = Directory::open(source).and_then(|source| source.find(b".profile"));
    if own.map_err(BuildError::io("looking for .profile"))? == Some(Found::File) {
        let path = Path::new(app_directory()).join(".profile");
        preparations.push(Preparation { kind: PreparationKind::Script, path, process: None });
    }
    Ok(preparations)
}

fn of_layer(layer: &Path, target: &Path, kind: PreparationKind, name: &str) -> io::Result<Vec<Preparation>> {
    let Some(directory) = Directory::open(layer)?.directory_if_any(name.as_bytes())? else { return Ok(Vec::new()) };
    let target = target.join(name);
    let mut found = of_directory(&directory, &target, kind, None)?;
    for name in directory.names()? {
        if directory.find(&name)? == Some(Found::Directory) {
            let process = text(&name)?;
            found.extend(of_directory(&directory.directory(&name)?, &target.join(process), kind, Some(process))?);
        }
    }
    Ok(found)
}

fn of_directory(
    directory: &Directory,
    target: &Path,
    kind: PreparationKind,
    process: Option<&str>,
) -> io::Result<Vec<Preparation>> {
    let mut found = Vec::new();
    for name in directory.names()? {
        // A link is not followed: where it leads is seen inside only.
        if matches!(directory.find(&name)?, Some(Found::File | Found::Symlink)) {
            let path: PathBuf = target.join(text(&name)?);
            found.push(Preparation { kind, path, process: process.map(Into::into) });
        }
    }
    Ok(found)
}

fn text(name: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(name).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a file's name is not UTF-8"))
}
