//! The virtual environment: a launch layer that stays as it is while its key does.
//!
//! Of such a layer the lifecycle restores the metadata without the directory. libcnb takes that for a missing layer, so the metadata
//! is read and written here; all other layers are libcnb's.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use libcnb::build::BuildContext;
use libcnb::data::layer_name;
use libcnb::generic::GenericMetadata;
use libcnb::layer::{CachedLayerDefinition, InvalidMetadataAction, RestoredLayerAction, UncachedLayerDefinition};
use libcnb::layer_env::{LayerEnv, ModificationBehavior, Scope};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::PythonBuildpack;
use super::bytecode;
use super::errors::PythonError;
use super::installer::{InstallError, Installer, Target, without_passwords};
use super::interpreter::{Interpreter, Remembered};
use super::sharing::{self, Sharing};
use super::static_files;
use crate::output;

/// What is in the key and how the layer is laid out. To be raised when either changes.
const FORMAT: &str = "airstrip python environment 2";

/// The layer's name.
const ENV: &str = "env";
/// Where the platform shows the layers of the build before that stay as they are, if it does.
const KEPT: &str = "AIRSTRIP_KEPT";

/// The layer's metadata.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    key: String,
    python: Remembered,
}

/// What is read of a layer's file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    metadata: Metadata,
}

/// What the build before left.
#[derive(Debug)]
pub(super) struct Previous {
    key: String,
    /// The Python of its environment.
    pub(super) python: Remembered,
}

impl Previous {
    /// None if there was no build before, or it knew less.
    pub(super) fn read(context: &BuildContext<PythonBuildpack>) -> Option<Self> {
        let text = fs::read_to_string(metadata_file(context)).ok()?;
        let Kept { metadata } = toml::from_str(&text).ok()?;
        Some(Self { key: metadata.key, python: metadata.python })
    }
}

/// The environment of the build before, where it lies.
fn kept() -> Option<PathBuf> {
    let layers = std::env::var_os(KEPT).map(PathBuf::from)?;
    Some(layers.join(ENV)).filter(|environment| environment.is_dir())
}

fn metadata_file(context: &BuildContext<PythonBuildpack>) -> PathBuf {
    context.layers_dir.join("env.toml")
}

/// The environment that a build is to provide.
pub(super) struct Environment<'a> {
    context: &'a BuildContext<PythonBuildpack>,
    interpreter: &'a Interpreter,
    installer: &'a Installer<'a>,
    previous: Option<Previous>,
    sharing: Sharing,
    /// Its path inside: what its programs carry.
    path: PathBuf,
}

/// It cannot be provided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    /// Installing failed.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The platform promised a path that does not lead to the layer.
    #[error("BP_PYTHON_ENV is {}, which does not lead to {}", path.display(), layer.display())]
    Elsewhere {
        /// The path.
        path: PathBuf,
        /// The layer's.
        layer: PathBuf,
    },
    /// It was to be shared, but depends on the app.
    #[error("this environment cannot be shared")]
    NotShared,
    /// Reading or writing failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl<'a> Environment<'a> {
    /// At the path that the platform names in `BP_PYTHON_ENV` (which must lead to the layer), else at the layer's.
    pub(super) fn new(
        context: &'a BuildContext<PythonBuildpack>,
        interpreter: &'a Interpreter,
        installer: &'a Installer<'a>,
        previous: Option<Previous>,
        sharing: Sharing,
    ) -> Self {
        let given = std::env::var_os("BP_PYTHON_ENV").filter(|path| !path.is_empty());
        let path = given.map_or_else(|| context.layers_dir.join("env"), PathBuf::from);
        Self { context, interpreter, installer, previous, sharing, path }
    }

    /// Keeps the environment of the build before if it would be the same again, else makes it anew.
    pub(super) fn provide(&self) -> libcnb::Result<(), PythonError> {
        let key = self.key().map_err(PythonError::from)?;
        let cache = self.cache()?;
        let project = self.installer.project;
        let can_be_kept = project.requirements.local.iter().all(|local| local.can_be_kept(&project.directory));
        if can_be_kept && self.can_be_used() && self.previous.as_ref().is_some_and(|previous| previous.key == key) {
            self.sharing.whose().into_iter().for_each(output::step);
            return Ok(self.keep(&key).map_err(PythonError::from)?);
        }
        let can_be_shared = || sharing::qualifies(self.installer);
        if self.sharing == Sharing::Ask && can_be_shared() {
            let asked = sharing::ask(&self.context.layers_dir, ENV, &key);
            doing("asking for a shared environment", asked).map_err(PythonError::from)?;
        }
        if self.sharing == Sharing::Make && !can_be_shared() {
            return Err(PythonError::from(EnvironmentError::NotShared).into());
        }
        let layer =
            self.context.uncached_layer(layer_name!("env"), UncachedLayerDefinition { build: false, launch: true })?;
        self.make(&layer.path(), &cache).map_err(PythonError::from)?;
        layer.write_env(self.launch_env())?;
        layer.write_metadata(self.metadata(key))
    }

    /// Where installers keep what they have loaded.
    fn cache(&self) -> libcnb::Result<PathBuf, PythonError> {
        if let Some(shared) = self.sharing.cache() {
            return Ok(shared);
        }
        let layer = self.context.cached_layer(
            layer_name!("cache"),
            CachedLayerDefinition {
                build: false,
                launch: false,
                invalid_metadata_action: &|_| InvalidMetadataAction::DeleteLayer,
                restored_layer_action: &|_: &GenericMetadata, _| RestoredLayerAction::KeepLayer,
            },
        )?;
        Ok(layer.path())
    }

    /// Whether this build can run something of an environment that stays as it is, if it has to.
    fn can_be_used(&self) -> bool {
        !static_files::are_wanted(&self.context.app_dir) || kept().is_some()
    }

    /// Does something with the environment in its place, also if that is a layer of an earlier build.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Path) -> T) -> Result<T, EnvironmentError> {
        let layer = self.context.layers_dir.join(ENV);
        let Some(kept) = kept().filter(|_| !layer.exists()) else { return Ok(work(&self.path)) };
        doing("showing the environment", symlink(kept, &layer))?;
        let done = work(&self.path);
        doing("hiding the environment", fs::remove_file(&layer)).map(|()| done)
    }

    /// Names all that the environment's content depends on.
    fn key(&self) -> Result<String, EnvironmentError> {
        let project = self.installer.project;
        let target = &self.context.target;
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(FORMAT.as_bytes());
        add(format!("{:?} {:?}", self.interpreter, self.installer.identity()).as_bytes());
        add(self.path.as_os_str().as_encoded_bytes());
        // The C library's kind is part of the SOABI; its version comes with the distribution.
        add(format!("{} {} {}", target.arch, target.distro_name, target.distro_version).as_bytes());
        for (file, content) in &project.requirements.files {
            add(file.as_os_str().as_encoded_bytes());
            add(content);
        }
        for repository in &project.requirements.repositories {
            add(repository.commit(&project.directory).as_bytes());
        }
        for local in &project.requirements.local {
            let reading = || format!("reading {}", local.path.display());
            doing(reading(), local.content(&project.directory, &mut add))?;
        }
        Ok(hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
    }

    fn metadata(&self, key: String) -> Metadata {
        Metadata { key, python: Remembered::new(self.interpreter) }
    }

    /// A layer's metadata with types, but without a directory, means the previous image's layer.
    fn keep(&self, key: &str) -> Result<(), EnvironmentError> {
        let metadata = toml::to_string(&Kept { metadata: self.metadata(key.to_owned()) }).map_err(io::Error::other);
        let text = doing("writing the layer's metadata", metadata)?;
        let text = format!("[types]\nlaunch = true\nbuild = false\ncache = false\n\n{text}");
        doing("writing the layer's metadata", fs::write(metadata_file(self.context), text))
    }

    fn make(&self, layer: &Path, cache: &Path) -> Result<(), EnvironmentError> {
        let packages = self.lay_out(layer)?;
        if !self.installer.has_work() {
            output::step("Nothing to install: no requirements");
            return write_lock(layer, &layer.join(&packages));
        }
        let scratch = doing("making a temporary directory", tempfile::tempdir())?;
        let target = Target {
            interpreter: self.interpreter,
            environment: &self.path,
            cache,
            scratch: scratch.path(),
            wheels_alone: self.sharing == Sharing::Make,
        };
        self.installer.install(&target)?;
        bytecode::compile(self.interpreter, &self.path.join(&packages), cache);
        write_lock(layer, &layer.join(&packages))
    }

    /// An empty virtual environment (PEP 405), without a process being started. Returns where its packages go.
    fn lay_out(&self, layer: &Path) -> Result<PathBuf, EnvironmentError> {
        let is_layer = |path: &Path| Some(path.canonicalize().ok()? == layer.canonicalize().ok()?);
        if is_layer(&self.path) != Some(true) {
            return Err(EnvironmentError::Elsewhere { path: self.path.clone(), layer: layer.to_owned() });
        }
        let python = format!("python{}", self.interpreter.minor());
        let packages = Path::new("lib").join(&python).join("site-packages");
        let write = || -> io::Result<()> {
            fs::create_dir_all(layer.join(&packages))?;
            fs::create_dir(layer.join("bin"))?;
            symlink("lib", layer.join("lib64"))?;
            symlink(&self.interpreter.program, layer.join("bin/python"))?;
            for name in ["python3", &python] {
                symlink("python", layer.join("bin").join(name))?;
            }
            fs::write(layer.join("pyvenv.cfg"), self.configuration())
        };
        doing("laying the environment out", write())?;
        Ok(packages)
    }

    fn configuration(&self) -> String {
        let program = self.interpreter.program.display();
        let home = self.interpreter.program.parent().unwrap_or(Path::new("/")).display();
        let version = &self.interpreter.version;
        format!("home = {home}\ninclude-system-site-packages = false\nversion = {version}\nexecutable = {program}\n")
    }

    /// The `PATH` begins with the environment's own path, not only the layer's, so that programs are found where they say they are.
    fn launch_env(&self) -> LayerEnv {
        let mut env = LayerEnv::new();
        env.insert(Scope::Launch, ModificationBehavior::Prepend, "PATH", self.path.join("bin"));
        env.insert(Scope::Launch, ModificationBehavior::Delimiter, "PATH", ":");
        env
    }
}

/// What is installed, by the names of the packages' metadata directories, and removes what an installer leaves behind besides.
fn write_lock(layer: &Path, packages: &Path) -> Result<(), EnvironmentError> {
    let mut lines = Vec::new();
    for entry in doing("reading the installed packages", fs::read_dir(packages))? {
        let name = doing("reading the installed packages", entry)?.file_name();
        let name = name.to_string_lossy();
        let pinned = name.strip_suffix(".dist-info").map(|name| name.replacen('-', "==", 1));
        lines.extend(pinned.map(|pinned| from_repository(&packages.join(&*name), &pinned).unwrap_or(pinned) + "\n"));
    }
    lines.sort();
    doing("writing the lock", fs::write(layer.join("requirements.lock"), lines.concat()))?;
    doing("removing the installer's notes", super::reproducible::remove_notes(packages))?;
    // uv's, for its next run here, which there will not be.
    let _ = fs::remove_file(layer.join(".lock"));
    Ok(())
}

/// `name @ git+URL@COMMIT`, if it was installed from a repository (PEP 610).
fn from_repository(metadata: &Path, pinned: &str) -> Option<String> {
    let url: serde_json::Value = serde_json::from_slice(&fs::read(metadata.join("direct_url.json")).ok()?).ok()?;
    let commit = url.get("vcs_info")?.get("commit_id")?.as_str()?;
    let name = pinned.split("==").next()?;
    Some(without_passwords(&format!("{name} @ git+{}@{commit}", url.get("url")?.as_str()?)))
}

fn doing<T>(what: impl Into<String>, result: io::Result<T>) -> Result<T, EnvironmentError> {
    result.map_err(|source| EnvironmentError::Io { doing: what.into(), source })
}
