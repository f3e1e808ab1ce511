//! Buildpacks as directories on the host.

use std::path::{Path, PathBuf};

/// A component buildpack: a directory with `buildpack.toml`, `bin/detect` and `bin/build`.
#[derive(Debug, Clone)]
pub struct Buildpack {
    /// `airstrip/python`.
    pub id: String,
    /// `0.1.0`.
    pub version: String,
    /// `0.10`.
    pub api: String,
    /// On the host; shown inside at `/cnb/buildpacks/<id with / as _>/<version>`.
    pub directory: PathBuf,
}

impl Buildpack {
    /// Reads `buildpack.toml` of a directory.
    pub fn open(_directory: &Path) -> Result<Self, BuildpackError> {
        todo!()
    }
}

/// Not a usable buildpack.
#[derive(Debug, thiserror::Error)]
#[error("buildpack {}: {reason}", directory.display())]
pub struct BuildpackError {
    /// The directory.
    pub directory: PathBuf,
    /// What is wrong.
    pub reason: String,
}
