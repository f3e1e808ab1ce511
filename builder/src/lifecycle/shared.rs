//! Layers that are made apart from the app that asks for them, once for all apps.
//!
//! This is an extension of the specification, for the platform's own buildpacks alone. Such a buildpack may find that a layer depends
//! on nothing but a text that the app has in common with others, a lock. Then:
//!
//! 1. It is run as ever, with `AIRSTRIP_SHARED=ask`. It writes `.shared` beside its layers (a layer's name and a key, which stands for all
//!    that the layer depends on) and ends with status 75. Or it does what it does without all this.
//! 2. If no app has asked for that key before, it is run with `AIRSTRIP_SHARED=make` as another user, with the app read-only,
//!    without the app's variables, cache or `/tmp`, and with a cache that all such runs share (`/cnb/shared`). It must run nothing
//!    that the app has chosen: whatever ran there could reach other apps. The layer that it leaves goes into the store.
//! 3. It is run again, with `AIRSTRIP_SHARED=made` or `found`, and finds the layer as if the release before had had it; or, if
//!    that could not be, with `refused`.
//!
//! A key leads to a layer only if a run apart has put it there under that very key: what an app's own build writes leads nowhere.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::restore::Restored;
use super::workplace::{Plan, Workplace, make_directory};
use super::{BuildError, export, files};
use crate::directory::Directory;
use crate::{Buildpack, Digest, Output, Sandbox, Step, StepExit};

/// What asks (BSD's `EX_TEMPFAIL`).
const WANTED: StepExit = StepExit::Status(75);
/// The variable that says how a step is run.
const VARIABLE: &str = "AIRSTRIP_SHARED";
/// The file that says what is asked for.
const WISH: &str = ".shared";

/// Where shared layers are known, and who makes them.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    /// The buildpacks that may ask, recognised by their directories.
    pub buildpacks: &'a [Buildpack],
    /// A directory of the caller's own, on the same file system as the store. It can be removed while nothing is built.
    pub directory: &'a Path,
    /// The user (and group) that makes shared layers: no app's. None: the caller's own.
    pub owner: Option<u32>,
}

impl Shared<'_> {
    fn allows(&self, buildpack: &Buildpack) -> bool {
        self.buildpacks.iter().any(|trusted| trusted.directory == buildpack.directory)
    }

    fn cache(&self) -> PathBuf {
        self.directory.join("cache")
    }

    fn record(&self, buildpack: &Buildpack, wish: &Wish) -> PathBuf {
        self.directory.join("layers").join(format!("{}-{}-{}.toml", buildpack.directory_name(), wish.layer, wish.key))
    }
}

/// What a buildpack asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Wish {
    layer: String,
    key: String,
}

impl Wish {
    fn is_sound(&self) -> bool {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        files::is_layer_name(&self.layer) && self.key.len() == 64 && self.key.bytes().all(is_hex)
    }
}

/// What is known of a shared layer.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    digest: Digest,
    metadata: toml::Table,
}

/// The layers in the store that keys lead to are known by files below this directory; those whose layer is gone are removed.
pub fn forget_gone(directory: &Path, store: &Path) -> io::Result<()> {
    let records = match fs::read_dir(directory.join("layers")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        records => records?,
    };
    for record in records {
        let record = record?.path();
        if read(&record, store).is_none() {
            fs::remove_file(&record)?;
        }
    }
    Ok(())
}

/// Runs a buildpack's build to its end, with a shared layer if it asks for one and can have it.
pub(super) async fn run(
    workplace: &Workplace<'_>,
    buildpack: &Buildpack,
    step: Step,
    restored: &mut Restored,
    sandbox: &dyn Sandbox,
    output: &dyn Output,
) -> Result<StepExit, BuildError> {
    let shared = workplace.request.shared.filter(|shared| shared.allows(buildpack));
    let shown = |step: &Step, restored: &Restored| {
        let mut step = step.clone();
        step.binds.extend(restored.kept(&buildpack.id, workplace.request.store));
        step
    };
    let Some(shared) = shared else { return Ok(sandbox.run(&shown(&step, restored), output).await?) };
    let exit = sandbox.run(&told(shown(&step, restored), "ask"), output).await?;
    let wish = if exit == WANTED { wish(&workplace.layers(buildpack)) } else { None };
    let Some(wish) = wish else { return Ok(exit) };
    let record = shared.record(buildpack, &wish);
    let (known, how) = match read(&record, workplace.request.store) {
        Some(known) => (Some(known), "found"),
        None => (make(workplace, &shared, buildpack, &wish, sandbox, output).await?, "made"),
    };
    let how = if known.is_some() { how } else { "refused" };
    if let Some(known) = known {
        restored.offer(workplace, buildpack, &wish.layer, known.digest, known.metadata)?;
    }
    Ok(sandbox.run(&told(shown(&step, restored), how), output).await?)
}

fn told(mut step: Step, how: &str) -> Step {
    step.env.push((VARIABLE.to_owned(), how.to_owned()));
    step
}

fn wish(layers: &Path) -> Option<Wish> {
    let bytes = Directory::open(layers).and_then(|layers| layers.read(WISH.as_bytes(), 4096)).ok()??;
    toml::from_slice(&bytes).ok().filter(Wish::is_sound)
}

/// None also if the layer is not in the store any more.
fn read(record: &Path, store: &Path) -> Option<Known> {
    let known: Known = toml::from_slice(&fs::read(record).ok()?).ok()?;
    crate::store::layer(store, &known.digest).is_dir().then_some(known)
}

/// None if the buildpack cannot make it this way.
async fn make(
    workplace: &Workplace<'_>,
    shared: &Shared<'_>,
    buildpack: &Buildpack,
    wish: &Wish,
    sandbox: &dyn Sandbox,
    output: &dyn Output,
) -> Result<Option<Known>, BuildError> {
    let doing = || format!("making a shared layer in {}", workplace.request.scratch.display());
    let place = Place::prepare(workplace, shared).map_err(BuildError::io(doing()))?;
    let step = told(place.step(workplace, shared, buildpack, &workplace.plan("entries = []\n")?), "make");
    if sandbox.run(&step, output).await? != StepExit::Status(0) {
        return Ok(None);
    }
    let layers = Directory::open(&place.layers).map_err(BuildError::io(doing()))?;
    let file = files::read::<files::LayerFile>(&layers, &buildpack.id, &format!("{}.toml", wish.layer))?;
    let file = file.filter(|file| file.metadata.get("key").and_then(toml::Value::as_str) == Some(&wish.key));
    let (Some(file), true) = (file, files::has_directory(&layers, &buildpack.id, &wish.layer)?) else {
        return Ok(None);
    };
    let digest = export::keep(workplace, &buildpack.id, &wish.layer, place.layers.join(&wish.layer)).await?;
    let known = Known { digest, metadata: file.metadata };
    let record = shared.record(buildpack, wish);
    write(&record, &known).map_err(BuildError::io(format!("writing {}", record.display())))?;
    Ok(Some(known))
}

/// Not forced to the disk: what a crash leaves of it is no TOML, or leads to a layer that is whole.
fn write(record: &Path, known: &Known) -> io::Result<()> {
    let directory = record.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(toml::to_string(known).map_err(io::Error::other)?.as_bytes())?;
    file.persist(record)?;
    Ok(())
}

/// The directories of a run apart.
struct Place {
    layers: PathBuf,
    platform: PathBuf,
    tmp: PathBuf,
}

impl Place {
    fn prepare(workplace: &Workplace<'_>, shared: &Shared<'_>) -> io::Result<Self> {
        let root = workplace.request.scratch.join("shared");
        fs::create_dir(&root)?;
        // The user that makes shared layers passes through, nobody else.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o711))?;
        let own = |name: &str| {
            let path = root.join(name);
            make_directory(&path, shared.owner).map(|_| path)
        };
        fs::create_dir_all(shared.directory)?;
        match make_directory(&shared.cache(), shared.owner) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        Ok(Self { layers: own("layers")?, platform: own("platform")?, tmp: own("tmp")? })
    }

    fn step(&self, workplace: &Workplace<'_>, shared: &Shared<'_>, buildpack: &Buildpack, plan: &Plan) -> Step {
        let mut step = workplace.step_apart(buildpack, plan, &self.platform, &self.layers);
        step.binds.push(crate::Bind { source: shared.cache(), target: "/cnb/shared".into(), writable: true });
        // The operator's tools may be below it.
        step.binds.insert(0, crate::Bind { source: self.tmp.clone(), target: "/tmp".into(), writable: true });
        step.owner = shared.owner;
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_checked() {
        let key = "0123456789abcdef".repeat(4);
        let sound = |layer: &str, key: &str| Wish { layer: layer.into(), key: key.into() }.is_sound();
        assert!(sound("env", &key));
        for (layer, key) in [("../env", key.as_str()), ("", &key), ("env", "../x"), ("env", &key.to_uppercase())] {
            assert!(!sound(layer, key), "{layer} {key}");
        }
    }
}
