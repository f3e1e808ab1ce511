//! Launch layers go into the [store](crate::store), sealed (owners and modes).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::run::{Built, BuiltLayer};
use super::workplace::{Workplace, layers_target};
use super::{BuildError, files, restore::Restored};
use crate::blocking::Cancel;
use crate::directory::Directory;
use crate::environment::{self, LAUNCH_ROOTS};
use crate::inventory::Inventory;
use crate::tree::TreeError;
use crate::{Digest, EnvChange, Layer, blocking, store, tree};

/// Puts the launch layers of all buildpacks into the store, in the order of the buildpacks and of the layers' names.
pub(super) async fn export(
    workplace: &Workplace<'_>,
    built: &[Built],
    restored: &Restored,
) -> Result<Vec<Layer>, BuildError> {
    let mut pending = Vec::new();
    for built in built {
        for layer in built.layers.iter().filter(|layer| layer.types.launch) {
            pending.push(pend(workplace, built, layer, restored)?);
        }
    }
    let export = Export::of(workplace);
    blocking::run(move |cancel| export.run(pending, cancel)).await.unwrap_or_else(interrupted)
}

fn interrupted<T>() -> Result<T, BuildError> {
    Err(BuildError::io("exporting layers")(io::ErrorKind::Interrupted.into()))
}

/// Puts one directory into the store, which the build made for a layer.
pub(super) async fn keep(
    workplace: &Workplace<'_>,
    buildpack: &str,
    name: &str,
    path: PathBuf,
) -> Result<Digest, BuildError> {
    let (buildpack, name) = (buildpack.to_owned(), name.to_owned());
    let export = Export::of(workplace);
    let kept = blocking::run(move |cancel| {
        let mut new = Vec::new();
        let digest = export.prepare(&buildpack, &name, path, &mut new, cancel)?;
        export.place(new).map(|()| digest)
    });
    kept.await.unwrap_or_else(interrupted)
}

/// The changes to the environment of launched processes: for each buildpack first those of all layers' roots, then those of their
/// files.
pub(super) fn launch_environment(store: &Path, layers: &[Layer]) -> Result<Vec<EnvChange>, BuildError> {
    let mut changes = Vec::new();
    for of_one_buildpack in layers.chunk_by(|one, next| one.buildpack == next.buildpack) {
        let mut others = Vec::new();
        for layer in of_one_buildpack {
            let on_reading = |error| files::on_reading(&layer.buildpack, &layer.name, error);
            let opened = Directory::open(&store.join(layer.digest.as_str())).map_err(on_reading)?;
            let target = layer.target.to_string_lossy();
            changes.extend(environment::of_roots(&opened, &target, LAUNCH_ROOTS).map_err(on_reading)?);
            others.extend(environment::of_files(&opened, "env").map_err(on_reading)?);
            others.extend(environment::of_launch_files(&opened).map_err(on_reading)?);
        }
        changes.append(&mut others);
    }
    Ok(changes)
}

/// A launch layer on its way.
struct Pending {
    buildpack: String,
    name: String,
    target: PathBuf,
    metadata: Option<String>,
    content: Content,
}

enum Content {
    /// This directory, made by the build.
    Made(PathBuf),
    /// Known from an earlier build.
    Reused(Digest),
}

fn pend(
    workplace: &Workplace<'_>,
    built: &Built,
    layer: &BuiltLayer,
    restored: &Restored,
) -> Result<Pending, BuildError> {
    let id = &built.buildpack.id;
    let malformed = |reason: &str| BuildError::malformed(id, format!("{}.toml", layer.name), reason);
    let content = if layer.has_directory {
        Content::Made(workplace.layers(&built.buildpack).join(&layer.name))
    } else {
        let digest = restored.reusable(id, &layer.name);
        Content::Reused(
            digest.cloned().ok_or_else(|| malformed("the layer has no directory, now or in an earlier build"))?,
        )
    };
    let metadata = layer.types.launch_only().then(|| toml::to_string(&layer.metadata)).transpose();
    Ok(Pending {
        buildpack: id.clone(),
        name: layer.name.clone(),
        target: format!("{}/{}", layers_target(&built.buildpack), layer.name).into(),
        metadata: metadata.map_err(|error| malformed(&error.to_string()))?,
        content,
    })
}

struct Export {
    scratch: PathBuf,
    store: PathBuf,
    privileged: bool,
}

impl Export {
    fn of(workplace: &Workplace<'_>) -> Self {
        let request = workplace.request;
        Self {
            scratch: request.scratch.to_owned(),
            store: request.store.to_owned(),
            privileged: request.owner.is_some(),
        }
    }

    fn run(&self, pending: Vec<Pending>, cancel: &Cancel) -> Result<Vec<Layer>, BuildError> {
        let mut layers = Vec::new();
        let mut new = Vec::new();
        for Pending { buildpack, name, target, metadata, content } in pending {
            let digest = match content {
                Content::Made(path) => self.prepare(&buildpack, &name, path, &mut new, cancel)?,
                Content::Reused(digest) => self.check(digest)?,
            };
            layers.push(Layer { buildpack, name, digest, target, metadata });
        }
        self.place(new)?;
        Ok(layers)
    }

    fn place(&self, new: Vec<(PathBuf, Inventory)>) -> Result<(), BuildError> {
        if new.is_empty() {
            return Ok(());
        }
        let placed = store::place(&self.store, &self.scratch, new);
        placed.map_err(BuildError::io(format!("placing layers in {}", self.store.display())))
    }

    /// Hashes a directory and, if the store does not have it, makes it ready for the store.
    fn prepare(
        &self,
        buildpack: &str,
        name: &str,
        path: PathBuf,
        new: &mut Vec<(PathBuf, Inventory)>,
        cancel: &Cancel,
    ) -> Result<Digest, BuildError> {
        let on_tree = |error| on_tree(buildpack, name, error);
        let inventory = tree::inventory(&path, cancel).map_err(on_tree)?;
        let digest = inventory.digest();
        if !store::layer(&self.store, &digest).is_dir() {
            tree::seal(&path, self.privileged, cancel).map_err(on_tree)?;
            new.push((path, inventory));
        }
        Ok(digest)
    }

    fn check(&self, digest: Digest) -> Result<Digest, BuildError> {
        let path = self.store.join(digest.as_str());
        fs::metadata(&path).map_err(BuildError::io(format!("reusing the layer {}", path.display())))?;
        Ok(digest)
    }
}

fn on_tree(buildpack: &str, layer: &str, error: TreeError) -> BuildError {
    match error {
        TreeError::Refused { path, reason } => BuildError::malformed(buildpack, format!("{layer}/{path}"), reason),
        TreeError::Io { path, source } => {
            BuildError::Io { doing: format!("exporting {path} of layer {layer} of {buildpack}"), source }
        }
        TreeError::Cancelled => BuildError::io("exporting layers")(io::ErrorKind::Interrupted.into()),
    }
}
