//! `uv.lock`: only uv reads all of it. Here it counts as a whole, besides the directories that it installs from.

use std::path::{Path, PathBuf};

use super::super::requirements::Requirements;
use super::{Local, ProjectError, pyproject, text};

const FILE: &str = "uv.lock";

pub(super) fn read(app: &Path) -> Result<Requirements, ProjectError> {
    let mut requirements = pyproject::read(app)?;
    requirements.files.push((FILE.into(), text(app, FILE)?.unwrap_or_default().into_bytes()));
    requirements.local = local_packages(app)?;
    Ok(requirements)
}

/// Directories that are installed from, apart from the project itself.
fn local_packages(app: &Path) -> Result<Vec<Local>, ProjectError> {
    let Some(lock) = pyproject::table(app, FILE)? else { return Ok(Vec::new()) };
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let sources = packages.filter_map(|package| package.get("source"));
    let path = |source: &toml::Value, kind| source.get(kind).and_then(toml::Value::as_str).map(PathBuf::from);
    let local = sources.filter_map(|source| {
        let editable = path(source, "editable").map(|path| Local { path, editable: true });
        editable.or_else(|| {
            let path = path(source, "directory").or_else(|| path(source, "path"))?;
            Some(Local { path, editable: false })
        })
    });
    Ok(local.filter(|local| local.path != Path::new(".")).collect())
}
