//! What kind of Python project a tree is, and where its dependencies are written down. Each place has a module of its own.

mod lock;
mod package;
mod pipfile;
mod poetry;
mod pyproject;
mod uv_lock;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::bundle::Bundle;
use super::marker::Machine;
use super::requirements::{Entry, Requirements};
use super::version::NoVersion;
use super::web;
pub(super) use lock::Locked;
pub(super) use package::Local;
pub(super) use pyproject::{requires_python, table};

/// Lock files, whose tools are not interchangeable.
const LOCKS: [(&str, Source); 3] =
    [("uv.lock", Source::UvLock), ("poetry.lock", Source::PoetryLock), ("Pipfile.lock", Source::PipfileLock)];

/// A tree with any of these is a Python app.
const MARKERS: [&str; 9] = [
    "requirements.txt",
    "uv.lock",
    "poetry.lock",
    "Pipfile.lock",
    "Pipfile",
    "setup.py",
    "manage.py",
    "runtime.txt",
    ".python-version",
];

/// Where the dependencies are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `requirements.txt`.
    Requirements,
    /// `uv.lock` beside `pyproject.toml`.
    UvLock,
    /// `poetry.lock` beside `pyproject.toml`.
    PoetryLock,
    /// `Pipfile.lock`.
    PipfileLock,
    /// `pyproject.toml` alone.
    Pyproject,
    /// `setup.py` alone, which only a run tells.
    Setup,
    /// Nowhere, or there is nothing but comments: the app needs the standard library only.
    Nothing,
}

/// An app's tree, read.
#[derive(Debug)]
pub(super) struct Project {
    /// Its root.
    pub(super) directory: PathBuf,
    /// Where its dependencies are written down.
    pub(super) source: Source,
    /// What that says.
    pub(super) requirements: Requirements,
    /// A lock of another tool, translated.
    pub(super) locked: Option<Locked>,
    /// The project itself, if it is a package that is installed.
    pub(super) package: Option<Local>,
    /// Wheels that it brings, and nothing else is installed.
    pub(super) bundle: Option<Bundle>,
    /// What its author should know about the choices that were made.
    pub(super) warnings: Vec<String>,
}

/// The tree cannot be built as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    /// Several tools claim it.
    #[error("both {0} and {1}")]
    TwoLocks(&'static str, &'static str),
    /// A Pipfile that was never locked.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// A lock without what it locks.
    #[error("{lock} without {manifest}")]
    NoManifest {
        /// The lock.
        lock: &'static str,
        /// What is missing.
        manifest: &'static str,
    },
    /// What is asked for was changed since the lock was made.
    #[error("{lock} is older than {manifest}")]
    Stale {
        /// The lock.
        lock: &'static str,
        /// What was changed.
        manifest: &'static str,
    },
    /// A file is not what its name says.
    #[error("{file}: {reason}")]
    Malformed {
        /// Which.
        file: &'static str,
        /// The parser's words.
        reason: String,
    },
    /// No Python version.
    #[error(transparent)]
    Version(#[from] NoVersion),
    /// Reading failed.
    #[error("reading {file}: {source}")]
    Io {
        /// Which file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Project {
    /// Whether the tree looks like a Python app.
    pub(super) fn is_python(app: &Path) -> bool {
        MARKERS.iter().any(|file| app.join(file).is_file())
            || pyproject::dependencies(app).is_ok_and(|found| found.is_some())
            || web::find(app, &Requirements::default()).is_some()
    }

    /// The file that the dependencies are read from, or what stands for it.
    pub(super) fn file(&self) -> &'static str {
        match self.source {
            Source::Requirements | Source::Nothing => "requirements.txt",
            Source::UvLock => "uv.lock",
            Source::PoetryLock => "poetry.lock",
            Source::PipfileLock => "Pipfile.lock",
            Source::Pyproject => "pyproject.toml",
            Source::Setup => "setup.py",
        }
    }

    /// Reads what the build needs to know of it.
    pub(super) fn read(app: &Path, machine: &Machine) -> Result<Self, ProjectError> {
        let (source, warnings) = source(app)?;
        let mut project = Self {
            directory: app.to_owned(),
            source,
            requirements: Requirements::default(),
            locked: None,
            package: package::own(app, source)?,
            bundle: Bundle::find(app),
            warnings,
        };
        match source {
            Source::Requirements => project.requirements = requirements(app)?,
            Source::UvLock => project.requirements = uv_lock::read(app)?,
            Source::PoetryLock => project.take_lock(poetry::read(app, machine)?),
            Source::PipfileLock => project.take_lock(pipfile::read(app, machine)?),
            Source::Pyproject => project.requirements = pyproject::read(app)?,
            Source::Setup | Source::Nothing => {}
        }
        project.requirements.local.extend(project.package.clone());
        if project.requirements.is_blank() && project.package.is_none() {
            project.source = Source::Nothing;
        }
        project.requirements.local.extend(project.bundle.as_ref().map(Bundle::content));
        Ok(project)
    }

    fn take_lock(&mut self, mut locked: Locked) {
        self.warnings.append(&mut locked.notes);
        let text = locked.hashed_file() + &locked.plain_file();
        let entries = locked.hashed.iter().chain(&locked.plain).map(|line| Entry::parse(line)).collect();
        let local = std::mem::take(&mut locked.local);
        let files = vec![(PathBuf::from("lock"), text.into_bytes())];
        self.requirements = Requirements { files, entries, local, ..Requirements::default() };
        self.locked = Some(locked);
    }
}

fn requirements(app: &Path) -> Result<Requirements, ProjectError> {
    let file = "requirements.txt";
    Requirements::read(app, Path::new(file)).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => ProjectError::Malformed { file, reason: source.to_string() },
        _ => ProjectError::Io { file, source },
    })
}

/// Chooses among the files that are there, with a warning where that is a choice.
fn source(app: &Path) -> Result<(Source, Vec<String>), ProjectError> {
    let has = |file: &str| app.join(file).is_file();
    let locks: Vec<_> = LOCKS.into_iter().filter(|(lock, _)| has(lock)).collect();
    let source = match (&locks[..], has("requirements.txt")) {
        ([(first, _), (second, _), ..], _) => return Err(ProjectError::TwoLocks(first, second)),
        ([(lock, source)], true) => return Ok((*source, vec![format!("{lock} is used, requirements.txt is not")])),
        ([(_, source)], false) => *source,
        ([], true) => Source::Requirements,
        ([], false) if has("Pipfile") => return Err(ProjectError::Unsupported("Pipfile")),
        ([], false) if pyproject::dependencies(app)?.is_some() => Source::Pyproject,
        ([], false) if pyproject::is_poetrys(app)? => {
            return Err(ProjectError::Unsupported("pyproject.toml of Poetry"));
        }
        ([], false) if has("setup.py") => Source::Setup,
        ([], false) => Source::Nothing,
    };
    Ok((source, Vec::new()))
}

/// A file's text; none if there is no such file.
fn text(app: &Path, file: &'static str) -> Result<Option<String>, ProjectError> {
    match fs::read(app.join(file)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ProjectError::Io { file, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let app = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(app.path().join(name), text).unwrap();
        }
        app
    }

    #[test]
    fn what_is_a_python_app() {
        let cases: [(&[(&str, &str)], bool); 7] = [
            (&[("requirements.txt", "")], true),
            (&[("pyproject.toml", "[project]\nname='a'\n")], true),
            (&[("pyproject.toml", "[tool.ruff]\n")], false),
            (&[("wsgi.py", "application = 1\n")], true),
            (&[("app.py", "print('a script')\n")], false),
            (&[("package.json", "{}"), ("index.html", "")], false),
            (&[], false),
        ];
        for (files, is_python) in cases {
            assert_eq!(Project::is_python(tree(files).path()), is_python, "{files:?}");
        }
    }

    #[test]
    fn which_file_counts() {
        let project = ("pyproject.toml", "[project]\nname='a'\ndependencies=['flask>=2']\n");
        let (lock, requirements) = (("uv.lock", ""), ("requirements.txt", "click"));
        let machine = Machine::with_python("3.11.7");
        let read = |files: &[_]| Project::read(tree(files).path(), &machine).map(|project| project.source);
        assert_eq!(read(&[requirements, project]).unwrap(), Source::Requirements);
        assert_eq!(read(&[requirements, project, lock]).unwrap(), Source::UvLock);
        assert_eq!(read(&[project]).unwrap(), Source::Pyproject);
        assert_eq!(read(&[]).unwrap(), Source::Nothing);
        assert_eq!(read(&[("requirements.txt", "# none\n")]).unwrap(), Source::Nothing);
        assert_eq!(read(&[("setup.py", "")]).unwrap(), Source::Setup);
        let lock_of_pipenv = r#"{"default": {"flask": {"version": "==3"}}}"#;
        assert_eq!(read(&[requirements, ("Pipfile.lock", lock_of_pipenv)]).unwrap(), Source::PipfileLock);
        let error = read(&[lock, ("poetry.lock", "")]).unwrap_err();
        assert_eq!(error.to_string(), "both uv.lock and poetry.lock");
        assert_eq!(read(&[("Pipfile", "")]).unwrap_err().to_string(), "Pipfile is not supported");
        assert_eq!(read(&[("poetry.lock", "")]).unwrap_err().to_string(), "poetry.lock without pyproject.toml");
        assert!(Project::read(tree(&[project]).path(), &machine).unwrap().requirements.names("flask"));
    }
}
