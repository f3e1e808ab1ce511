//! A release with all that is needed to start instances of it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use builder::inventory::Inventory;
use builder::{Digest, Image};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};
use crate::home::AppHome;
use crate::http::Protocol;
use crate::names::{AppName, ProcessType, Version};
use crate::store::{App, AppId, Config, Release, Scale, Store};
use crate::terms::Terms;

/// `release.json`: what a build made, beside its code. Written once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layers, process types and environment.
    pub image: Image,
    /// Directories of the host that the layers refer to (the interpreter), shown at the same path.
    pub toolchain: Vec<PathBuf>,
    /// Path that must answer below 400 before requests are sent (`app.json`).
    pub health_path: Option<String>,
    /// The commit, if the code came by git.
    pub commit: Option<String>,
    /// Digest of the code as the build left it; unknown of releases of earlier versions. [`files`] has the list that it is made of.
    #[serde(default)]
    pub code: Option<Digest>,
    /// Digest of the software bills of material, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<Digest>,
}

const MANIFEST: &str = "release.json";
/// The part of a release's directory that is its code.
pub const CODE: &str = "code";
/// The part of a release's directory where its software bills of material are, if there are any.
pub const SBOM: &str = "sbom";

/// Where the code of a release is, in its directory.
pub fn code(release: &Path) -> PathBuf {
    release.join(CODE)
}

/// Lists a part of a release that is being made, beside it; gives its digest. None if there is no such part.
pub async fn list(release: &Path, part: &str) -> Result<Option<Digest>> {
    match builder::inventory::of_tree(release.join(part)).await {
        Ok(files) => write_files(release, part, &files).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(format!("listing {part}"), &error)),
    }
}

/// Writes the list of a part of a release that is being made; gives its digest.
pub fn write_files(release: &Path, part: &str, files: &Inventory) -> Result<Digest> {
    let (path, text) = (list_of(release, part), files.to_text());
    std::fs::write(&path, &text).map_err(|e| Failure::io(path.display(), &e))?;
    Ok(Inventory::digest_of(text.as_bytes()))
}

fn list_of(release: &Path, part: &str) -> PathBuf {
    release.join(format!("{part}.files"))
}

/// What a part of a release held when it was made.
pub fn files(release: &Path, part: &str, digest: &Digest) -> Result<Inventory> {
    let path = list_of(release, part);
    let files = builder::store::read_inventory(&path, digest).map_err(|e| Failure::io(path.display(), &e))?;
    files.ok_or_else(|| Failure::plain(format!("{} is missing", path.display())))
}

impl Manifest {
    /// Reads the manifest in a release's directory.
    pub fn read(release: &Path) -> Result<Self> {
        let path = release.join(MANIFEST);
        let bytes = std::fs::read(&path).map_err(|e| Failure::io(path.display(), &e))?;
        serde_json::from_slice(&bytes).map_err(|e| Failure::plain(format!("{}: {e}", path.display())))
    }

    /// Writes it. It becomes durable with all else in the directory.
    pub fn write(&self, release: &Path) -> Result<()> {
        let path = release.join(MANIFEST);
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| Failure::plain(e.to_string()))?;
        let written = File::options().write(true).create_new(true).mode(0o600).open(&path);
        written.and_then(|mut file| file.write_all(&bytes)).map_err(|e| Failure::io(path.display(), &e))
    }

    /// The process type of this name.
    pub fn process(&self, kind: &ProcessType) -> Option<&builder::ProcessType> {
        self.image.processes.iter().find(|process| process.name == kind.as_str())
    }

    /// The process types that are kept running (all but `release`).
    pub fn kinds(&self) -> impl Iterator<Item = ProcessType> + '_ {
        let kinds = self.image.processes.iter().filter_map(|process| process.name.parse::<ProcessType>().ok());
        kinds.filter(|kind| !kind.is_release())
    }
}

/// `app.json` is read up to this size.
const APP_JSON_BYTES: u64 = 1 << 20;

/// The path of the web process's health check in `app.json` (Dokku's schema), if there is one.
pub fn health_path(code: &Path) -> Result<Option<String>> {
    let path = code.join("app.json");
    // The tree is the user's: a link could lead anywhere on the host.
    let regular = std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= APP_JSON_BYTES);
    if !regular {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(|e| Failure::io("app.json", &e))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|e| Failure::new(format!("app.json: {e}"), "correct it (it must be JSON) and push again"))?;
    let checks = json["healthchecks"]["web"].as_array();
    let startup =
        checks.into_iter().flatten().filter(|check| check["type"].as_str().is_none_or(|kind| kind == "startup"));
    Ok(startup.filter_map(|check| check["path"].as_str()).find(|path| path.starts_with('/')).map(str::to_owned))
}

/// Everything needed to start instances of a release.
#[derive(Debug, Clone)]
pub struct Runnable {
    /// The app.
    pub app: AppId,
    /// Its name, at the time.
    pub name: AppName,
    /// The release.
    pub version: Version,
    /// Its configuration.
    pub config: Config,
    /// What was built.
    pub manifest: Manifest,
    /// The release whose build made its code.
    pub made_by: Version,
    /// Its code on the host.
    pub code: PathBuf,
    /// The app's directories.
    pub home: AppHome,
    /// Seconds a web process has to become healthy.
    pub checks_timeout: u64,
    /// What its web process speaks.
    pub protocol: Protocol,
    /// The terms on which its instances run.
    pub terms: Terms,
}

impl Runnable {
    /// A release that exists.
    pub fn load(store: &Store, app: &App, home: AppHome, release: &Release) -> Result<Self> {
        let config = store.release_config(app.id, release.version)?;
        Self::new(app, home, release.version, release.code, config)
    }

    /// A release that is about to be made: `made_by` is the version whose directory it uses.
    pub fn new(app: &App, home: AppHome, version: Version, made_by: Version, config: Config) -> Result<Self> {
        let directory = home.release(made_by);
        Ok(Self {
            app: app.id,
            name: app.name.clone(),
            version,
            config,
            manifest: Manifest::read(&directory)?,
            made_by,
            code: code(&directory),
            home,
            checks_timeout: app.checks_timeout,
            protocol: app.http.protocol,
            terms: app.terms.clone(),
        })
    }

    /// How many instances of each type are to run, for a scale kept in the store.
    pub fn wanted(&self, scale: &[(ProcessType, u32)]) -> Scale {
        let of = |kind: &ProcessType| scale.iter().find(|(known, _)| known == kind).map(|(_, count)| *count);
        self.manifest.kinds().map(|kind| (kind.clone(), of(&kind).unwrap_or(u32::from(kind.is_web())))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks_of_app_json() {
        let code = tempfile::tempdir().unwrap();
        let path = |text: &str| {
            std::fs::write(code.path().join("app.json"), text).unwrap();
            health_path(code.path())
        };
        assert_eq!(path("{}"), Ok(None));
        let check =
            r#"{"healthchecks": {"web": [{"type": "liveness", "path": "/l"}, {"type": "startup", "path": "/up"}]}}"#;
        assert_eq!(path(check), Ok(Some("/up".to_owned())));
        assert!(path("{").unwrap_err().message.starts_with("app.json"));
    }
}
