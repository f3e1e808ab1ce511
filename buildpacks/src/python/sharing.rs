//! Environments that apps share, since the same lock makes the same: what the platform offers for that (in `AIRSTRIP_SHARED`), and
//! which environments qualify.
//!
//! Such an environment is made where apps have nothing to say: nothing that a package or an app brings may run there. So it is of wheels
//! alone, from the server's own index, and uv takes no settings from the app. And nothing may have been left to choose, or one app
//! would get what was newest when another was built: all that is installed must have been pinned.

use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

use super::installer::Installer;
use super::project::{Locked, Project, Source, table};

/// Where the cache of all such environments is.
const CACHE: &str = "/cnb/shared";
/// Tells the platform that one is wanted.
const WANTED: i32 = 75;

/// How this build is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nothing is shared.
    Off,
    /// A shared environment can be asked for.
    Ask,
    /// One is to be made, and nothing else done.
    Make,
    /// It was made for this build, or there already.
    Given {
        /// Whether the user has seen it being made.
        made: bool,
    },
    /// There is none.
    Refused,
}

impl Sharing {
    /// As the platform says.
    pub(super) fn offered() -> Self {
        match env::var("AIRSTRIP_SHARED").as_deref() {
            Ok("ask") => Self::Ask,
            Ok("make") => Self::Make,
            Ok("made") => Self::Given { made: true },
            Ok("found") => Self::Given { made: false },
            Ok("refused") => Self::Refused,
            _ => Self::Off,
        }
    }

    /// Whether this is the build's first run, which tells the user what was found.
    pub(super) fn is_first_run(self) -> bool {
        matches!(self, Self::Off | Self::Ask)
    }

    /// Whether what the app had before counts.
    pub(super) fn knows_the_app(self) -> bool {
        !matches!(self, Self::Given { .. } | Self::Make)
    }

    /// What the user is told of an environment that is there already; nothing if it has just been made.
    pub(super) fn whose(self) -> Option<&'static str> {
        match self {
            Self::Given { made: true } => None,
            Self::Given { made: false } => Some("Using the environment that was made for the same lock before"),
            _ => Some("Using the environment of the previous release: its requirements are unchanged"),
        }
    }

    /// Where the installer keeps what it has loaded, if not with the app.
    pub(super) fn cache(self) -> Option<PathBuf> {
        (self == Self::Make).then(|| CACHE.into())
    }
}

/// Asks the platform for the environment with this key: it runs the build once more.
pub(super) fn ask(layers: &Path, layer: &str, key: &str) -> io::Result<()> {
    fs::write(layers.join(".shared"), format!("layer = \"{layer}\"\nkey = \"{key}\"\n"))?;
    process::exit(WANTED)
}

/// Whether an environment can be shared, as far as that is known before it is made.
pub(super) fn qualifies(installer: &Installer<'_>) -> bool {
    let project = installer.project;
    let Project { requirements, directory, .. } = project;
    let locked = match project.source {
        Source::UvLock => true,
        Source::PoetryLock | Source::PipfileLock => project.locked.as_ref().is_some_and(Locked::leaves_no_choice),
        Source::Requirements => requirements.leaves_no_choice(directory),
        Source::Pyproject | Source::Setup | Source::Nothing => false,
    };
    locked
        && installer.has_uv()
        && installer.extra.is_none()
        && project.package.is_none()
        && project.bundle.is_none()
        && requirements.local.is_empty()
        && requirements.repositories.is_empty()
        && !configures_uv(directory)
}

/// Whether the tree has settings for uv. What cannot be read counts as such.
fn configures_uv(app: &Path) -> bool {
    let has_table = match table(app, "pyproject.toml") {
        Ok(Some(project)) => project.get("tool").is_some_and(|tool| tool.get("uv").is_some()),
        Ok(None) => false,
        Err(_) => true,
    };
    has_table || app.join("uv.toml").symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_for_uv() {
        let cases = [
            ("pyproject.toml", "[project]\nname = 'a'\n", false),
            ("pyproject.toml", "[tool.ruff]\n", false),
            ("pyproject.toml", "[tool.uv.pip]\ncompile-bytecode = true\n", true),
            ("pyproject.toml", "no TOML", true),
            ("uv.toml", "", true),
            ("sub/uv.toml", "", false),
        ];
        for (file, text, expected) in cases {
            let app = tempfile::tempdir().unwrap();
            let path = app.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            assert_eq!(configures_uv(app.path()), expected, "{file}: {text}");
        }
    }
}
