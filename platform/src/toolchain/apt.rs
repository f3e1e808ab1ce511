//! The machine's Debian packages, as buildpacks that install more of them need to see them: where they come from, whose signatures
//! count, and what is there already. None of the built-in buildpacks does that.

use std::path::{Path, PathBuf};

use builder::Bind;

use super::{listed, read_only};

/// The operator's settings of apt, its keys among them.
const SETTINGS: &str = "/etc/apt";
/// Which packages are installed.
const INSTALLED: &str = "/var/lib/dpkg/status";

/// What builds are shown, as far as it is there.
pub(super) fn shown() -> Vec<Bind> {
    let there = [SETTINGS, INSTALLED].into_iter().filter(|path| Path::new(path).exists());
    there.map(|path| read_only(Path::new(path), path)).collect()
}

/// Files that may name where packages come from.
pub(super) fn settings() -> Vec<PathBuf> {
    let in_directories = ["sources.list.d", "apt.conf.d"].map(|name| listed(&Path::new(SETTINGS).join(name)));
    let alone = ["sources.list", "apt.conf"].map(|name| Path::new(SETTINGS).join(name));
    alone.into_iter().chain(in_directories.into_iter().flatten()).collect()
}
