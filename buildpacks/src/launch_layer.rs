//! A launch layer that stays as it is while its key does.
//!
//! Of such a layer the lifecycle restores the metadata without the directory. libcnb takes that for a missing layer, so the metadata
//! is read and written here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The layer's metadata.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Metadata {
    /// Names all that the layer's content depends on.
    pub(crate) key: String,
}

fn file(layers: &Path, name: &str) -> PathBuf {
    layers.join(format!("{name}.toml"))
}

/// The key of the layer of the build before.
pub(crate) fn previous_key(layers: &Path, name: &str) -> Option<String> {
    let table: toml::Table = fs::read_to_string(file(layers, name)).ok()?.parse().ok()?;
    Some(table.get("metadata")?.get("key")?.as_str()?.to_owned())
}

/// A layer's metadata with types, but without a directory, means the previous image's layer.
pub(crate) fn keep(layers: &Path, name: &str, key: &str) -> io::Result<()> {
    let text = format!("[types]\nlaunch = true\nbuild = false\ncache = false\n\n[metadata]\nkey = \"{key}\"\n");
    fs::write(file(layers, name), text)
}
