//! Gives buildpacks back what they left in the last build.
//!
//! | layer was | comes back |
//! |---|---|
//! | cache | directory (moved out of the cache, not copied) and `<layer>.toml` |
//! | cache and launch | the same; if the cache has no directory, a copy of the one in the store |
//! | launch | `<layer>.toml`, if the store has the directory: the buildpack reuses it by leaving the file with `launch = true` |
//! | anything else | nothing |
//!
//! `<layer>.toml` comes without types, as the specification says. `store.toml` always comes back.
//! What the cache says counts before what the previous image says: it is of the newer build.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cache::{Cache, KeptLayer};
use super::detect::Detected;
use super::files::{LayerFile, Types, is_layer_name};
use super::workplace::{Workplace, make_directory, write_file};
use super::{BuildError, sbom};
use crate::blocking::Cancel;
use crate::directory::Directory;
use crate::{Bind, Buildpack, Digest, Layer, blocking, tree};

/// Where a build sees the layers of the build before of which it has the description alone; it is told in `AIRSTRIP_KEPT`.
/// This is an extension of the specification: a build that only runs something of a layer need not have a copy of it.
pub(super) const KEPT: &str = "/cnb/kept";

/// What has been given back. Dropped before [`Restored::forget`], it puts moved directories back into the cache:
/// a failed build does not lose the next one its downloads.
#[derive(Debug, Default)]
pub(super) struct Restored {
    moved: Vec<Moved>,
    reusable: BTreeMap<(String, String), Digest>,
}

#[derive(Debug)]
struct Moved {
    cached: PathBuf,
    layers: PathBuf,
    name: String,
    metadata: toml::Table,
}

/// Makes the directories for the group's layers and fills them.
pub(super) async fn restore(workplace: &Workplace<'_>, detected: &Detected<'_>) -> Result<Restored, BuildError> {
    let request = workplace.request;
    let targets: Vec<_> = detected
        .members
        .iter()
        .map(|buildpack| Target {
            id: buildpack.id.clone(),
            layers: workplace.layers(buildpack),
            directory_name: buildpack.directory_name(),
        })
        .collect();
    let previous = request.previous.filter(|_| !request.clean).map(|image| image.layers.clone());
    let sources = Sources {
        cache: (!request.clean).then(|| request.cache.to_owned()),
        store: request.store.to_owned(),
        previous: previous.unwrap_or_default(),
        previous_sbom: request.previous_sbom.filter(|_| !request.clean).map(Path::to_owned),
        owner: request.owner,
    };
    let doing = "restoring the layers of the last build";
    let restored = blocking::run(move |cancel| restore_all(&sources, &targets, cancel)).await;
    restored.unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into())).map_err(BuildError::io(doing))
}

impl Restored {
    /// The directory in the store that a layer without a directory stands for.
    pub(super) fn reusable(&self, buildpack: &str, layer: &str) -> Option<&Digest> {
        self.reusable.get(&(buildpack.to_owned(), layer.to_owned()))
    }

    /// The layers that a buildpack gets back without their directories, to be looked at where they lie.
    pub(super) fn kept(&self, buildpack: &str, store: &Path) -> Vec<Bind> {
        let of_this = self.reusable.iter().filter(|((id, _), _)| id == buildpack);
        let bind = |((_, name), digest): (&(String, String), &Digest)| Bind {
            source: crate::store::layer(store, digest),
            target: Path::new(KEPT).join(name),
            writable: false,
        };
        of_this.map(bind).collect()
    }

    /// Has a buildpack find a layer as if the build before had left it in the store.
    pub(super) fn offer(
        &mut self,
        workplace: &Workplace<'_>,
        buildpack: &Buildpack,
        name: &str,
        digest: Digest,
        metadata: toml::Table,
    ) -> Result<(), BuildError> {
        let path = workplace.layers(buildpack);
        let owner = workplace.request.owner;
        let layer = KeptLayer { name: name.to_owned(), digest: None, types: Types::default(), metadata };
        let written = remove_file(&path.join(file_name(name)))
            .and_then(|()| Directory::open(&path))
            .and_then(|layers| write_description(&layers, &layer, owner));
        written.map_err(BuildError::io(format!("describing the layer {name} in {}", path.display())))?;
        self.reusable.insert((buildpack.id.clone(), name.to_owned()), digest);
        Ok(())
    }

    /// The moved directories have a new home.
    pub(super) fn forget(&mut self) {
        self.moved.clear();
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        for moved in &self.moved {
            if moved.is_as_described() {
                let _gone_otherwise = fs::rename(moved.layers.join(&moved.name), &moved.cached);
            }
        }
    }
}

impl Moved {
    /// Whether the buildpack still says of the directory what it said when it was cached. If not, it was replacing it.
    fn is_as_described(&self) -> bool {
        let file =
            Directory::open(&self.layers).and_then(|layers| layers.read(file_name(&self.name).as_bytes(), 1 << 20));
        let described = file.ok().flatten().and_then(|bytes| toml::from_slice::<LayerFile>(&bytes).ok());
        described.is_some_and(|file| file.metadata == self.metadata)
    }
}

/// Where layers come from.
struct Sources {
    cache: Option<PathBuf>,
    store: PathBuf,
    previous: Vec<Layer>,
    previous_sbom: Option<PathBuf>,
    owner: Option<u32>,
}

/// Where a buildpack's layers go.
struct Target {
    id: String,
    layers: PathBuf,
    directory_name: String,
}

fn restore_all(sources: &Sources, targets: &[Target], cancel: &Cancel) -> io::Result<Restored> {
    let cache = sources.cache.as_deref().map(Cache::load).unwrap_or_default();
    let mut restored = Restored::default();
    for target in targets {
        let layers = make_directory(&target.layers, sources.owner)?;
        let kept = cache.of(&target.id);
        if let Some(store) = kept.and_then(|kept| kept.store.as_ref()) {
            let text = toml::to_string(store).map_err(io::Error::other)?;
            write_file(&layers, b"store.toml", &text, 0o644, sources.owner)?;
        }
        let known = kept.map(|kept| kept.layers.clone()).unwrap_or_default();
        for layer in with_previous(known, &target.id, &sources.previous) {
            let moved_from =
                sources.cache.as_ref().and_then(|root| Some(cache.layers(root)?.join(&target.directory_name)));
            if restore_layer(sources, target, &layer, moved_from, cancel, &mut restored)? {
                write_description(&layers, &layer, sources.owner)?;
                if let Some(kept) = &sources.previous_sbom {
                    sbom::restore(kept, &target.directory_name, &layer.name, &layers, sources.owner)?;
                }
            }
        }
    }
    Ok(restored)
}

/// Adds the reusable layers of the previous image that the cache does not know.
fn with_previous(mut known: Vec<KeptLayer>, id: &str, previous: &[Layer]) -> Vec<KeptLayer> {
    for layer in previous.iter().filter(|layer| layer.buildpack == id && is_layer_name(&layer.name)) {
        let Some(metadata) = layer.metadata.as_deref().and_then(|text| toml::from_str(text).ok()) else { continue };
        if known.iter().all(|other| other.name != layer.name) {
            let types = Types { launch: true, ..Types::default() };
            known.push(KeptLayer { name: layer.name.clone(), digest: Some(layer.digest.clone()), types, metadata });
        }
    }
    known
}

/// Whether there was something to give back.
fn restore_layer(
    sources: &Sources,
    target: &Target,
    layer: &KeptLayer,
    cached: Option<PathBuf>,
    cancel: &Cancel,
    restored: &mut Restored,
) -> io::Result<bool> {
    let stored = layer.digest.as_ref().map(|digest| (digest, sources.store.join(digest.as_str())));
    let stored = stored.filter(|(_, path)| is_directory(path));
    if layer.types.cache {
        if let Some(cached) = cached.map(|cached| cached.join(&layer.name))
            && move_out(sources, target, layer, cached, restored)
        {
            return Ok(true);
        }
        let Some((_, stored)) = stored else { return Ok(false) };
        let copied = tree::copy(&stored, &target.layers.join(&layer.name), sources.owner, cancel);
        return copied.map(|()| true).map_err(io::Error::from);
    }
    let Some((digest, _)) = stored.filter(|_| layer.types.launch_only()) else { return Ok(false) };
    restored.reusable.insert((target.id.clone(), layer.name.clone()), digest.clone());
    Ok(true)
}

/// Moves a directory out of the cache, if there is one and it belongs to the user that builds now.
fn move_out(sources: &Sources, target: &Target, layer: &KeptLayer, cached: PathBuf, restored: &mut Restored) -> bool {
    use std::os::unix::fs::MetadataExt;
    let owner = sources.owner.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
    let is_ours = fs::symlink_metadata(&cached).is_ok_and(|found| found.is_dir() && found.uid() == owner);
    if !is_ours || fs::rename(&cached, target.layers.join(&layer.name)).is_err() {
        return false;
    }
    if layer.types.launch {
        // The store has it as it was: after a failure that is better than what the build made of it.
        return true;
    }
    let (layers, name) = (target.layers.clone(), layer.name.clone());
    restored.moved.push(Moved { cached, layers, name, metadata: layer.metadata.clone() });
    true
}

fn write_description(layers: &Directory, layer: &KeptLayer, owner: Option<u32>) -> io::Result<()> {
    #[derive(serde::Serialize)]
    struct Description<'a> {
        metadata: &'a toml::Table,
    }
    let text = toml::to_string(&Description { metadata: &layer.metadata }).map_err(io::Error::other)?;
    write_file(layers, file_name(&layer.name).as_bytes(), &text, 0o644, owner)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn file_name(layer: &str) -> String {
    format!("{layer}.toml")
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}
