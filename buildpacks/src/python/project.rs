//! What kind of Python project a tree is, and where its dependencies are written down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::requirements::{Entry, Requirements};
use super::version::{NoVersion, Wish};
use super::web;

/// Lock files, whose tools are not interchangeable.
const LOCKS: [&str; 3] = ["uv.lock", "poetry.lock", "Pipfile.lock"];

/// A tree with any of these is a Python app.
const MARKERS: [&str; 8] = [
    "requirements.txt",
    "uv.lock",
    "poetry.lock",
    "Pipfile.lock",
    "Pipfile",
    "setup.py",
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
    /// `pyproject.toml` alone.
    Pyproject,
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
    /// The Python that it asks for.
    pub(super) python: Option<Wish>,
    /// What its author should know about the choice that was made.
    pub(super) warning: Option<String>,
}

/// The tree cannot be built as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    /// Two tools claim it.
    #[error("both {0} and {1}")]
    TwoLocks(&'static str, &'static str),
    /// A lock of a tool that is not supported.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
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
            || dependencies(app).is_ok_and(|found| found.is_some())
            || web::find(app).is_some()
    }

    /// Reads what the build needs to know of it.
    pub(super) fn read(app: &Path) -> Result<Self, ProjectError> {
        let python = Wish::read(app)?;
        let (source, warning) = source(app)?;
        let requirements = match source {
            Source::Requirements => Requirements::read(app, Path::new("requirements.txt"))
                .map_err(|source| ProjectError::Io { file: "requirements.txt", source })?,
            Source::UvLock | Source::Pyproject => from_pyproject(app, source)?,
            Source::Nothing => Requirements::default(),
        };
        let source = if requirements.is_blank() { Source::Nothing } else { source };
        Ok(Self { directory: app.to_owned(), source, requirements, python, warning })
    }
}

/// Chooses among the files that are there, with a warning where that is a choice.
fn source(app: &Path) -> Result<(Source, Option<String>), ProjectError> {
    let has = |file: &str| app.join(file).is_file();
    let locks: Vec<_> = LOCKS.into_iter().filter(|lock| has(lock)).collect();
    let source = match (&locks[..], has("requirements.txt")) {
        (["uv.lock"], false) => Source::UvLock,
        (["uv.lock"], true) => {
            return Ok((Source::UvLock, Some("uv.lock is used, requirements.txt is not".to_owned())));
        }
        ([], true) => Source::Requirements,
        ([first, second, ..], _) => return Err(ProjectError::TwoLocks(first, second)),
        ([lock], true) => {
            let warning = format!("requirements.txt is used: {lock} is not supported yet");
            return Ok((Source::Requirements, Some(warning)));
        }
        ([lock], false) => return Err(ProjectError::Unsupported(lock)),
        ([], false) if has("Pipfile") => return Err(ProjectError::Unsupported("Pipfile")),
        ([], false) if dependencies(app)?.is_some() => Source::Pyproject,
        ([], false) => Source::Nothing,
    };
    Ok((source, None))
}

/// What `[project]` of `pyproject.toml` needs; none if there is no such table (the file then only configures tools).
fn dependencies(app: &Path) -> Result<Option<Vec<Entry>>, ProjectError> {
    let Some(table) = read_toml(app, "pyproject.toml")? else { return Ok(None) };
    let Some(project) = table.get("project") else { return Ok(None) };
    let list = project.get("dependencies").and_then(toml::Value::as_array);
    let texts = list.into_iter().flatten().filter_map(toml::Value::as_str);
    Ok(Some(texts.map(Entry::parse).collect()))
}

fn from_pyproject(app: &Path, source: Source) -> Result<Requirements, ProjectError> {
    let entries = dependencies(app)?.unwrap_or_default();
    let mut requirements = Requirements { entries, ..Requirements::default() };
    let files: &[&'static str] =
        if source == Source::UvLock { &["pyproject.toml", "uv.lock"] } else { &["pyproject.toml"] };
    for &file in files {
        let bytes = fs::read(app.join(file)).map_err(|source| ProjectError::Io { file, source })?;
        requirements.files.push((file.into(), bytes));
    }
    if source == Source::UvLock {
        requirements.local = local_packages(app)?;
    }
    Ok(requirements)
}

/// Directories that `uv.lock` installs from, apart from the project itself, which runs where it is.
fn local_packages(app: &Path) -> Result<Vec<PathBuf>, ProjectError> {
    let Some(lock) = read_toml(app, "uv.lock")? else { return Ok(Vec::new()) };
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let sources = packages.filter_map(|package| package.get("source"));
    let paths = sources
        .filter_map(|source| ["editable", "directory", "path"].iter().find_map(|kind| source.get(kind)?.as_str()));
    Ok(paths.filter(|path| *path != ".").map(PathBuf::from).collect())
}

fn read_toml(app: &Path, file: &'static str) -> Result<Option<toml::Table>, ProjectError> {
    let text = match fs::read_to_string(app.join(file)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ProjectError::Io { file, source }),
    };
    text.parse().map(Some).map_err(|error: toml::de::Error| ProjectError::Malformed { file, reason: error.to_string() })
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
        let read = |files: &[_]| Project::read(tree(files).path()).map(|project| project.source);
        assert_eq!(read(&[requirements, project]).unwrap(), Source::Requirements);
        assert_eq!(read(&[requirements, project, lock]).unwrap(), Source::UvLock);
        assert_eq!(read(&[project]).unwrap(), Source::Pyproject);
        assert_eq!(read(&[]).unwrap(), Source::Nothing);
        assert_eq!(read(&[("requirements.txt", "# none\n")]).unwrap(), Source::Nothing);
        assert_eq!(read(&[requirements, ("poetry.lock", "")]).unwrap(), Source::Requirements);
        let error = read(&[lock, ("poetry.lock", "")]).unwrap_err();
        assert_eq!(error.to_string(), "both uv.lock and poetry.lock");
        assert_eq!(read(&[("Pipfile.lock", "{}")]).unwrap_err().to_string(), "Pipfile.lock is not supported");
        assert!(Project::read(tree(&[project]).path()).unwrap().requirements.names("flask"));
    }
}
