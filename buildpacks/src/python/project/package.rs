//! Directories and files of the app that are installed themselves, the whole project among them.
//!
//! What is installed editable runs where it is: the environment holds no more than its name, version and programs, and stays while
//! these do. Only what has to be compiled is installed as a copy, and anew with each change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{ProjectError, Source, pyproject};

/// Something of the app that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Local {
    /// From the app's directory.
    pub(in super::super) path: PathBuf,
    /// Whether its modules stay where they are.
    pub(in super::super) editable: bool,
}

/// Files that say what a package is called and holds.
const DEFINING: [&str; 4] = ["pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in"];

/// Build backends of packages that need no compiler, as far as `setup.py` and the like do not say otherwise.
const PURE: [&str; 6] = ["setuptools", "hatchling", "flit_core", "poetry.core", "pdm.backend", "uv_build"];

/// What `setup.py` and `pyproject.toml` of a package say that has to be compiled.
const COMPILED: [&str; 6] =
    ["ext_modules", "ext-modules", "Extension(", "cythonize", "cffi_modules", "rust_extensions"];

/// The project itself, if its own tool would install it.
pub(super) fn own(app: &Path, source: Source) -> Result<Option<Local>, ProjectError> {
    let table = pyproject::table(app, pyproject::FILE)?.unwrap_or_default();
    let is_package = match source {
        Source::Setup => true,
        Source::UvLock | Source::Pyproject => is_uvs_package(&table),
        Source::PoetryLock => is_poetrys_package(app, &table),
        Source::Requirements | Source::PipfileLock | Source::Nothing => false,
    };
    let path = PathBuf::from(".");
    Ok(is_package.then(|| Local { editable: !is_compiled(app), path }))
}

fn is_uvs_package(pyproject: &toml::Table) -> bool {
    let said = pyproject.get("tool").and_then(|tool| tool.get("uv")?.get("package")?.as_bool());
    said.unwrap_or_else(|| pyproject.contains_key("build-system"))
}

/// poetry takes every project for a package and fails where there is none; here that is no fault.
fn is_poetrys_package(app: &Path, pyproject: &toml::Table) -> bool {
    let poetry = pyproject.get("tool").and_then(|tool| tool.get("poetry"));
    let mode = poetry.and_then(|poetry| poetry.get("package-mode")?.as_bool()).unwrap_or(true);
    let name = pyproject.get("project").and_then(|project| project.get("name"));
    let name = name.or_else(|| poetry?.get("name")).and_then(toml::Value::as_str).unwrap_or_default();
    let module = name.to_ascii_lowercase().replace(['-', '.'], "_");
    let places = [module.clone(), format!("src/{module}"), format!("{module}.py"), format!("src/{module}.py")];
    let exists = places.iter().any(|place| app.join(place).exists());
    let listed = poetry.is_some_and(|poetry| poetry.get("packages").is_some());
    mode && pyproject.contains_key("build-system") && !module.is_empty() && (exists || listed)
}

fn is_compiled(directory: &Path) -> bool {
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    let (setup, pyproject) = (read("setup.py"), read("pyproject.toml"));
    let backend = pyproject.parse::<toml::Table>().ok().and_then(|table| {
        let system = table.get("build-system")?;
        let own = system.get("backend-path").is_some();
        Some(system.get("build-backend")?.as_str()?.to_owned()).filter(|_| !own)
    });
    let is_pure = backend.is_none_or(|backend| PURE.iter().any(|pure| backend.starts_with(pure)));
    !is_pure || COMPILED.iter().any(|sign| setup.contains(sign) || pyproject.contains(sign))
}

impl Local {
    /// Whether the environment may be used again. What is compiled in place would be missing in the next release's tree.
    pub(in super::super) fn can_be_kept(&self, app: &Path) -> bool {
        !self.editable || !is_compiled(&app.join(&self.path))
    }

    /// Hands on everything that what is installed of it depends on.
    pub(in super::super) fn content(&self, app: &Path, add: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        add(self.path.as_os_str().as_encoded_bytes());
        let directory = app.join(&self.path);
        if self.editable { definition(&directory, add) } else { tree(&directory, add) }
    }
}

/// The files that define a package, and the names beside them and in `src`, from which some build backends take what it holds.
fn definition(directory: &Path, add: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    for file in DEFINING {
        match fs::read(directory.join(file)) {
            Ok(bytes) => add(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => add(b""),
            Err(error) => return Err(error),
        }
    }
    for place in [directory.to_owned(), directory.join("src")] {
        for path in entries(&place).unwrap_or_default() {
            let is_module = path.is_dir() || path.extension().is_some_and(|end| end == "py");
            if let Some(name) = path.file_name().filter(|_| is_module) {
                add(name.as_encoded_bytes());
            }
        }
    }
    Ok(())
}

/// Every name and content below `path`, in order. Symbolic links are not followed.
pub(in super::super) fn tree(path: &Path, add: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    add(path.as_os_str().as_encoded_bytes());
    if kind.is_dir() {
        return entries(path)?.iter().try_for_each(|entry| tree(entry, add));
    }
    if kind.is_symlink() {
        add(fs::read_link(path)?.as_os_str().as_encoded_bytes());
    } else if kind.is_file() {
        add(&fs::read(path)?);
    }
    Ok(())
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<_>> = fs::read_dir(directory).and_then(Iterator::collect);
    let entries = entries?;
    // What a build before has left counts for nothing.
    let left = |path: &PathBuf| path.ends_with("__pycache__") || path.extension().is_some_and(|end| end == "egg-info");
    let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).filter(|path| !left(path)).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Tree<'a> = &'a [(&'a str, &'a str)];

    fn tree_of(files: Tree<'_>) -> tempfile::TempDir {
        let app = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = app.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        app
    }

    #[test]
    fn which_projects_are_installed() {
        let system = "[build-system]\nbuild-backend = 'hatchling.build'\n";
        let maturin = "[build-system]\nbuild-backend = 'maturin'\n";
        let poetry = "[tool.poetry]\nname = 'My-Shop'\n[build-system]\nbuild-backend = 'poetry.core.masonry.api'\n";
        let (editable, copied) = (Some(true), Some(false));
        let cases: [(Source, Tree<'_>, Option<bool>); 9] = [
            (Source::UvLock, &[("pyproject.toml", "[project]\nname='a'\n")], None),
            (Source::UvLock, &[("pyproject.toml", system)], editable),
            (Source::Pyproject, &[("pyproject.toml", maturin)], copied),
            (Source::UvLock, &[("pyproject.toml", &format!("{system}[tool.uv]\npackage = false\n"))], None),
            (Source::PoetryLock, &[("pyproject.toml", poetry)], None),
            (Source::PoetryLock, &[("pyproject.toml", poetry), ("src/my_shop/__init__.py", "")], editable),
            (Source::Setup, &[("setup.py", "setup(name='a')")], editable),
            (Source::Setup, &[("setup.py", "setup(ext_modules=[Extension('a', ['a.c'])])")], copied),
            (Source::Requirements, &[("setup.py", "")], None),
        ];
        for (source, files, expected) in cases {
            let own = own(tree_of(files).path(), source).unwrap();
            assert_eq!(own.map(|local| local.editable), expected, "{source:?} {files:?}");
        }
    }

    #[test]
    fn of_an_editable_package_the_code_does_not_count() {
        let app = tree_of(&[("lib/setup.py", "1"), ("lib/lib/__init__.py", "")]);
        let content = |editable| {
            let mut all = Vec::new();
            let local = Local { path: "lib".into(), editable };
            local.content(app.path(), &mut |bytes: &[u8]| all.push(bytes.to_vec())).unwrap();
            all
        };
        let (editable, copied) = (content(true), content(false));
        fs::write(app.path().join("lib/lib/__init__.py"), "changed").unwrap();
        assert_eq!(content(true), editable);
        assert_ne!(content(false), copied);
        fs::write(app.path().join("lib/setup.py"), "2").unwrap();
        assert_ne!(content(true), editable);
    }
}
