//! What a build keeps for the next build of the same app.
//!
//! `build.toml` says what the layers were; the directories of those with `cache = true` lie in a directory of their own for
//! each build, which `build.toml` names. So a crash between moving the directories and writing the file leaves a file that
//! names directories which are not there, never a file that describes others. All of it can be deleted at any time, and what
//! cannot be read counts as not there.
//!
//! Nothing here is forced to the disk, which would cost every push tens of milliseconds. Instead directories count only until the
//! machine starts anew: a power cut may have left holes in them. What `build.toml` says of layers in the store counts
//! longer: those are durable, and half a file is no TOML.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{StoreFile, Types, is_layer_name};
use super::restore::Restored;
use super::run::Built;
use super::workplace::Workplace;
use crate::directory::Directory;
use crate::{Digest, Layer, blocking};

const FILE: &str = "build.toml";
const LONGEST: u64 = 16 * 1024 * 1024;

/// The content of `build.toml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Cache {
    /// Name of the directory of cached layers, beside the file.
    directory: String,
    /// Which run of the machine wrote it.
    boot: String,
    #[serde(default)]
    buildpacks: Vec<Kept>,
}

/// What is kept of a buildpack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    id: String,
    pub(super) store: Option<StoreFile>,
    #[serde(default)]
    pub(super) layers: Vec<KeptLayer>,
}

/// What is kept of a layer, beside its directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptLayer {
    pub(super) name: String,
    /// Its name in the store, if it is for launch.
    pub(super) digest: Option<Digest>,
    pub(super) types: Types,
    #[serde(default)]
    pub(super) metadata: toml::Table,
}

/// The layers in the store that the next build with this cache may use.
pub fn cached_layers(cache: &Path) -> Vec<Digest> {
    let kept = Cache::load(cache).buildpacks.into_iter().flat_map(|kept| kept.layers);
    kept.filter_map(|layer| layer.digest).collect()
}

impl Cache {
    /// Reads the cache at `root`. Missing, damaged or odd: an empty one.
    pub(super) fn load(root: &Path) -> Self {
        let read = Directory::open(root).and_then(|root| root.read(FILE.as_bytes(), LONGEST));
        let parsed = read.ok().flatten().and_then(|bytes| toml::from_slice::<Self>(&bytes).ok());
        parsed.filter(Cache::is_sound).unwrap_or_default()
    }

    /// What is kept of this buildpack.
    pub(super) fn of(&self, id: &str) -> Option<&Kept> {
        self.buildpacks.iter().find(|kept| kept.id == id)
    }

    /// Where the directories of cached layers are, if they are to be trusted.
    pub(super) fn layers(&self, root: &Path) -> Option<PathBuf> {
        (boot().is_some_and(|boot| boot == self.boot)).then(|| root.join(&self.directory))
    }

    fn is_sound(&self) -> bool {
        let layers = || self.buildpacks.iter().flat_map(|kept| &kept.layers);
        is_layer_name(&self.directory) && layers().all(|layer| is_layer_name(&layer.name))
    }
}

/// Keeps what the next build may use. A failure costs the next build time, not this one its result.
/// `restored` is used up: what it had moved out of the old cache is in the new one now, or gone.
pub(super) async fn save(workplace: &Workplace<'_>, built: &[Built], exported: &[Layer], mut restored: Restored) {
    restored.forget();
    let root = workplace.request.cache.to_owned();
    let kept = built.iter().map(|built| keep(built, exported)).collect();
    let directories: Vec<_> =
        built.iter().map(|built| (workplace.layers(&built.buildpack), built.buildpack.directory_name())).collect();
    let saved = blocking::run(move |_| write(&root, kept, &directories)).await;
    if let Some(Err(error)) = saved {
        tracing::warn!(cache = %workplace.request.cache.display(), %error, "the build cache is not kept");
    }
}

fn keep(built: &Built, exported: &[Layer]) -> Kept {
    let digest = |name: &str| {
        let of_this = |layer: &&Layer| layer.buildpack == built.buildpack.id && layer.name == name;
        exported.iter().find(of_this).map(|layer| layer.digest.clone())
    };
    let layers = built.layers.iter().map(|layer| KeptLayer {
        name: layer.name.clone(),
        digest: digest(&layer.name),
        types: layer.types,
        metadata: layer.metadata.clone(),
    });
    Kept { id: built.buildpack.id.clone(), store: built.store.clone(), layers: layers.collect() }
}

fn write(root: &Path, buildpacks: Vec<Kept>, directories: &[(PathBuf, String)]) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let made = tempfile::Builder::new().prefix("layers-").tempdir_in(root)?;
    for (kept, (from, name)) in buildpacks.iter().zip(directories) {
        move_cached(kept, from, &made.path().join(name))?;
    }
    let name = made.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    write_file(root, &Cache { directory: name.clone(), boot: boot().unwrap_or_default(), buildpacks })?;
    let _kept = made.keep();
    remove_others(root, &name)
}

/// Moves the directories of layers with `cache = true`. One that went into the store is not there any more;
/// the next build takes a copy of it from there.
fn move_cached(kept: &Kept, from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for layer in kept.layers.iter().filter(|layer| layer.types.cache) {
        match fs::rename(from.join(&layer.name), to.join(&layer.name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn write_file(root: &Path, cache: &Cache) -> io::Result<()> {
    let text = toml::to_string(cache).map_err(io::Error::other)?;
    let mut file = tempfile::NamedTempFile::new_in(root)?;
    file.write_all(text.as_bytes())?;
    file.persist(root.join(FILE))?;
    Ok(())
}

/// What tells this run of the machine from all others.
fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Removes what earlier builds, or builds that were killed, have left.
fn remove_others(root: &Path, current: &str) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name() == FILE || entry.file_name() == current {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
