//! npm, yarn or pnpm: which one an app uses, and what it is told.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::package::Package;

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// npm, which comes with Node.js.
    Npm,
    /// yarn of version 1.
    Yarn,
    /// yarn from version 2 on.
    Berry,
    /// pnpm.
    Pnpm,
}

/// How the app's dependencies are installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manager {
    pub(super) kind: Kind,
    /// The lock file's name.
    pub(super) lock: Option<&'static str>,
    /// The version of the manager that the app wants, or that goes with its lock file.
    version: String,
    /// Whether the app wants just this version.
    pinned: bool,
}

/// There is none that will do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManagerError {
    /// Lock files of two managers.
    #[error("both {0} and {1}")]
    TwoLocks(&'static str, &'static str),
    /// A lock file of a manager that is not supported.
    #[error("{0} is not supported")]
    Unsupported(String),
}

/// What to do with the dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Install all of them.
    All,
    /// Install those that the running app needs.
    Production,
    /// Remove those that only the build needed.
    Prune,
}

/// A manager's lock file.
const LOCKS: [(&str, &str); 6] = [
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
    ("yarn.lock", "yarn"),
    ("pnpm-lock.yaml", "pnpm"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
];

impl Manager {
    /// By the lock file; without any by `packageManager`, else npm.
    pub(super) fn choose(app: &Path, package: &Package) -> Result<Self, ManagerError> {
        let found: Vec<_> = LOCKS.iter().filter(|(file, _)| app.join(file).is_file()).collect();
        let lock = found.first().map(|(file, _)| *file);
        let name = found.first().map(|(_, name)| *name);
        if let (Some(lock), Some((other, _))) = (lock, found.iter().find(|(_, other)| Some(*other) != name)) {
            return Err(ManagerError::TwoLocks(lock, other));
        }
        let wanted = package.manager();
        let name = name.or(wanted.map(|(name, _)| name)).unwrap_or("npm");
        let pinned = wanted.filter(|(manager, _)| *manager == name).map(|(_, version)| version);
        let text = lock.and_then(|lock| fs::read_to_string(app.join(lock)).ok()).unwrap_or_default();
        let kind =
            kind(name, pinned, &text, app).ok_or_else(|| ManagerError::Unsupported(lock.unwrap_or(name).to_owned()))?;
        let version = pinned.map_or_else(|| default_version(kind, &text).to_owned(), str::to_owned);
        Ok(Self { kind, lock, version, pinned: pinned.is_some() })
    }

    /// Its program.
    pub(super) fn program(&self) -> &'static str {
        match self.kind {
            Kind::Npm => "npm",
            Kind::Yarn | Kind::Berry => "yarn",
            Kind::Pnpm => "pnpm",
        }
    }

    /// What must be had from the package registry to run it, such as `pnpm@9.1.0`; None if it is there.
    pub(super) fn to_fetch(&self) -> Option<String> {
        let package = match self.kind {
            // The npm of the Node.js that is there is the one that goes with it.
            Kind::Npm => return None,
            Kind::Yarn => "yarn",
            Kind::Berry => "@yarnpkg/cli-dist",
            Kind::Pnpm => "pnpm",
        };
        let is_there = !self.pinned && self.kind != Kind::Berry && on_path(self.program());
        (!is_there).then(|| format!("{package}@{}", self.version))
    }

    /// Configuration files that it reads beside the lock file.
    pub(super) fn settings(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Npm => &[".npmrc"],
            Kind::Yarn => &[".npmrc", ".yarnrc"],
            Kind::Berry => &[".yarnrc.yml", ".npmrc"],
            Kind::Pnpm => &[".npmrc", "pnpm-workspace.yaml", ".pnpmfile.cjs"],
        }
    }

    /// Why it has to work in the app's directory, if it has to.
    pub(super) fn in_place(&self, app: &Path) -> Option<String> {
        let there = |file: &&&str| app.join(file).exists();
        match self.kind {
            Kind::Npm => None,
            Kind::Yarn => [".yarn"].iter().find(there).map(|file| format!("the app has {file}")),
            Kind::Berry => Some("yarn since version 2 works there".to_owned()),
            Kind::Pnpm => {
                ["pnpm-workspace.yaml", ".pnpmfile.cjs"].iter().find(there).map(|file| format!("the app has {file}"))
            }
        }
    }

    /// The arguments for a task.
    pub(super) fn arguments(&self, task: Task) -> Vec<&'static str> {
        let locked = self.lock.is_some();
        let mut arguments = match (self.kind, task) {
            (Kind::Npm, Task::Prune) => vec!["prune", "--omit=dev", "--ignore-scripts"],
            (Kind::Npm, _) => vec![if locked { "ci" } else { "install" }],
            (Kind::Yarn, Task::Prune) => vec!["install", "--production", "--ignore-scripts", "--prefer-offline"],
            (Kind::Yarn, _) => vec!["install", "--non-interactive"],
            (Kind::Berry, Task::Prune) => vec!["workspaces", "focus", "--all", "--production"],
            (Kind::Berry, _) => vec!["install"],
            (Kind::Pnpm, Task::Prune) => vec!["prune", "--prod", "--ignore-scripts"],
            (Kind::Pnpm, _) => vec!["install", "--package-import-method=clone-or-copy"],
        };
        arguments.extend(match (self.kind, task) {
            (Kind::Npm, Task::Production) => Some("--omit=dev"),
            (Kind::Npm, Task::All) => Some("--include=dev"),
            (Kind::Yarn, Task::Production) => Some("--production"),
            (Kind::Yarn, Task::All) => Some("--production=false"),
            (Kind::Pnpm, Task::Production) => Some("--prod"),
            _ => None,
        });
        arguments.extend(match (self.kind, task) {
            (Kind::Yarn, _) | (Kind::Pnpm, Task::All | Task::Production) if locked => Some("--frozen-lockfile"),
            (Kind::Pnpm, Task::All | Task::Production) => Some("--no-frozen-lockfile"),
            (Kind::Berry, Task::All | Task::Production) if locked => Some("--immutable"),
            _ => None,
        });
        arguments
    }

    /// Lets it keep what it downloads in this app's own cache, and keeps it from everything that is no use here.
    pub(super) fn configure(&self, command: &mut Command, cache: &Path) {
        let settings = [
            ("npm_config_audit", "false"),
            ("npm_config_fund", "false"),
            ("npm_config_update_notifier", "false"),
            ("npm_config_progress", "false"),
            ("YARN_ENABLE_TELEMETRY", "0"),
            ("YARN_ENABLE_GLOBAL_CACHE", "false"),
            ("YARN_NODE_LINKER", "node-modules"),
            ("COREPACK_ENABLE_STRICT", "0"),
            ("HUSKY", "0"),
            ("CI", "true"),
        ];
        command.envs(settings).env("npm_config_cache", cache.join("npm"));
        if self.kind == Kind::Pnpm {
            command.env("npm_config_store_dir", cache.join("pnpm")).env("pnpm_config_store_dir", cache.join("pnpm"));
        }
        command.env("YARN_CACHE_FOLDER", cache.join("yarn"));
        // Node.js knows neither the usual variable nor the system's directory of authorities.
        if let (None, Some(bundle)) = (env::var_os("NODE_EXTRA_CA_CERTS"), env::var_os("SSL_CERT_FILE")) {
            command.env("NODE_EXTRA_CA_CERTS", bundle);
        }
    }
}

fn kind(name: &str, pinned: Option<&str>, lock: &str, app: &Path) -> Option<Kind> {
    match name {
        "npm" => Some(Kind::Npm),
        "pnpm" => Some(Kind::Pnpm),
        "yarn" => {
            let berry = match pinned {
                Some(version) => !version.starts_with("1."),
                None => lock.contains("__metadata:") || app.join(".yarnrc.yml").exists(),
            };
            Some(if berry { Kind::Berry } else { Kind::Yarn })
        }
        _ => None,
    }
}

/// A version that reads this lock file.
fn default_version(kind: Kind, lock: &str) -> &'static str {
    let lock_version =
        |version: &str| lock.lines().take(3).any(|line| line.contains("lockfileVersion") && line.contains(version));
    match kind {
        Kind::Npm => "",
        Kind::Yarn => "1.22.22",
        Kind::Berry => "4",
        Kind::Pnpm if lock_version("5.") => "7",
        Kind::Pnpm if lock_version("6.") => "8",
        Kind::Pnpm => "10",
    }
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory: PathBuf| directory.join(program)).any(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[(&str, &str)]) -> Result<Manager, ManagerError> {
        let app = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(app.path().join(name), text).unwrap();
        }
        let package = Package::read(app.path()).unwrap_or_default();
        Manager::choose(app.path(), &package)
    }

    #[test]
    fn by_the_lock_file() {
        let pinned = r#"{"packageManager": "pnpm@9.1.0+sha512.ab"}"#;
        let cases: [(&[(&str, &str)], _, _, _); 9] = [
            (&[], Kind::Npm, None, ""),
            (&[("package-lock.json", "")], Kind::Npm, Some("package-lock.json"), ""),
            (&[("npm-shrinkwrap.json", "")], Kind::Npm, Some("npm-shrinkwrap.json"), ""),
            (&[("yarn.lock", "# yarn lockfile v1\n")], Kind::Yarn, Some("yarn.lock"), "1.22.22"),
            (&[("yarn.lock", "__metadata:\n")], Kind::Berry, Some("yarn.lock"), "4"),
            (&[("pnpm-lock.yaml", "lockfileVersion: '9.0'\n")], Kind::Pnpm, Some("pnpm-lock.yaml"), "10"),
            (&[("pnpm-lock.yaml", "lockfileVersion: '6.0'\n")], Kind::Pnpm, Some("pnpm-lock.yaml"), "8"),
            (&[("package.json", pinned)], Kind::Pnpm, None, "9.1.0"),
            (&[("package.json", pinned), ("yarn.lock", "")], Kind::Yarn, Some("yarn.lock"), "1.22.22"),
        ];
        for (files, kind, lock, version) in cases {
            let manager = chosen(files).unwrap();
            assert_eq!((manager.kind, manager.lock, &*manager.version), (kind, lock, version), "{files:?}");
        }
    }

    #[test]
    fn refused() {
        let two = chosen(&[("yarn.lock", ""), ("package-lock.json", "")]).unwrap_err();
        assert_eq!(two.to_string(), "both package-lock.json and yarn.lock");
        assert_eq!(chosen(&[("bun.lock", "")]).unwrap_err().to_string(), "bun.lock is not supported");
        let bun = r#"{"packageManager": "bun@1.2"}"#;
        assert_eq!(chosen(&[("package.json", bun)]).unwrap_err().to_string(), "bun is not supported");
    }

    #[test]
    fn arguments() {
        let manager = |kind, lock| Manager { kind, lock, version: String::new(), pinned: false };
        let npm = manager(Kind::Npm, Some("package-lock.json"));
        assert_eq!(npm.arguments(Task::Production).join(" "), "ci --omit=dev");
        assert_eq!(manager(Kind::Npm, None).arguments(Task::All).join(" "), "install --include=dev");
        let yarn = manager(Kind::Yarn, Some("yarn.lock"));
        assert_eq!(
            yarn.arguments(Task::Production).join(" "),
            "install --non-interactive --production --frozen-lockfile"
        );
        let pnpm = manager(Kind::Pnpm, Some("pnpm-lock.yaml"));
        assert_eq!(pnpm.arguments(Task::Prune).join(" "), "prune --prod --ignore-scripts");
        assert!(pnpm.arguments(Task::All).contains(&"--frozen-lockfile"));
    }
}
