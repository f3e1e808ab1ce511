//! Python versions: what an app asks for and what is there.

use std::fmt;
use std::path::Path;
use std::{fs, io};

use super::project::{ProjectError, requires_python, table};
use super::specifier::{Specifier, Version};

/// A wish: `3`, `3.11`, `3.11.7`, or a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    asked: Asked,
    /// The file that says so.
    pub(crate) file: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// Major, and perhaps minor and patch.
    Parts(Vec<u32>),
    /// `>=3.9,<3.13`
    Range(Specifier),
}

/// A file that asks for something that is no version.
#[derive(Debug, thiserror::Error)]
#[error("{file} says {text:?}, which is no Python version")]
pub(crate) struct NoVersion {
    /// The file.
    pub(crate) file: &'static str,
    /// What it says.
    pub(crate) text: String,
}

impl Wish {
    /// Looks into `.python-version`, `runtime.txt`, `pyproject.toml` and `Pipfile`, in this order.
    pub(super) fn read(app: &Path) -> Result<Option<Self>, ProjectError> {
        for file in [".python-version", "runtime.txt"] {
            match fs::read(app.join(file)) {
                Ok(bytes) => return Ok(Self::parse(&String::from_utf8_lossy(&bytes), file)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ProjectError::Io { file, source }),
            }
        }
        let file = "pyproject.toml";
        if let Some(table) = table(app, file)?
            && let Some(text) = requires_python(&table)
        {
            return Ok(Some(Self::range(text, file)?));
        }
        Self::of_pipfile(app)
    }

    fn of_pipfile(app: &Path) -> Result<Option<Self>, ProjectError> {
        let file = "Pipfile";
        let table = table(app, file)?.unwrap_or_default();
        let requires = table.get("requires");
        let text = ["python_full_version", "python_version"].iter().find_map(|key| requires?.get(key)?.as_str());
        Ok(text.map(|text| Self::parse(text, file)).transpose()?.flatten())
    }

    /// The first line that is neither empty nor a comment counts; a file without one asks for nothing.
    pub(super) fn parse(text: &str, file: &'static str) -> Result<Option<Self>, NoVersion> {
        let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let Some(line) = lines.find(|line| !line.is_empty() && !line.starts_with('#')) else { return Ok(None) };
        let version = line.strip_prefix("python-").or(line.strip_prefix("cpython-")).unwrap_or(line);
        let parts: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
        match parts {
            Ok(parts) if parts.len() <= 3 => Ok(Some(Self { asked: Asked::Parts(parts), file })),
            _ => Err(NoVersion { file, text: line.to_owned() }),
        }
    }

    fn range(text: &str, file: &'static str) -> Result<Self, NoVersion> {
        let specifier = Specifier::parse(text).ok_or(NoVersion { file, text: text.to_owned() })?;
        Ok(Self { asked: Asked::Range(specifier), file })
    }

    /// Whether this version will do. The patch does not count where one version is asked for: it changes with the server's
    /// updates, and is compatible.
    pub(super) fn accepts(&self, version: &str) -> bool {
        match &self.asked {
            Asked::Parts(parts) => {
                let there: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
                there.starts_with(&parts[..parts.len().min(2)])
            }
            Asked::Range(specifier) => Version::parse(version).is_some_and(|version| specifier.accepts(&version)),
        }
    }

    /// Whether it is this version to the last digit that was asked for.
    pub(super) fn is_exactly(&self, version: &str) -> bool {
        let text = self.to_string();
        version == text || version.starts_with(&format!("{text}."))
    }

    /// Whether it is worth asking a program of this name, such as `python3.12`.
    pub(super) fn may_be(&self, program: &str) -> bool {
        match &self.asked {
            Asked::Parts(parts) if parts.len() > 1 => program == format!("python{}.{}", parts[0], parts[1]),
            Asked::Parts(_) | Asked::Range(_) => true,
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Asked::Parts(parts) => f.write_str(&parts.iter().map(u32::to_string).collect::<Vec<_>>().join(".")),
            Asked::Range(specifier) => specifier.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Tree = &'static [(&'static str, &'static str)];
    const PYPROJECT: (&str, &str) = ("pyproject.toml", "[project]\nrequires-python = '>=3.9'\n");
    const POETRY: (&str, &str) = ("pyproject.toml", "[tool.poetry.dependencies]\npython = '^3.9'\n");
    const PIPFILE: (&str, &str) = ("Pipfile", "[requires]\npython_version = '3.11'\n");

    #[test]
    fn wishes() {
        let cases = [
            ("3.11\n", "3.11.7", true, true),
            ("3.11.7", "3.11.7", true, true),
            ("# why\n\npython-3.11.2\n", "3.11.7", true, false),
            ("3", "3.13.0", true, true),
            ("3.1", "3.11.7", false, false),
            ("\u{feff}3.12\r\n", "3.11.7", false, false),
        ];
        for (text, there, accepts, exactly) in cases {
            let wish = Wish::parse(text, "runtime.txt").unwrap().unwrap();
            assert_eq!((wish.accepts(there), wish.is_exactly(there)), (accepts, exactly), "{text:?}");
        }
        assert_eq!(Wish::parse("# nothing\n", "runtime.txt").unwrap(), None);
        for text in ["pypy3.10", "3.11.x", "3.1.2.3", ">=3.11", "-1"] {
            assert_eq!(Wish::parse(text, "runtime.txt").unwrap_err().text, text);
        }
    }

    #[test]
    fn the_first_file_that_says_something_counts() {
        let cases: [(Tree, Option<&str>); 6] = [
            (&[(".python-version", "3.12"), ("runtime.txt", "python-3.10"), PYPROJECT], Some(".python-version: 3.12")),
            (&[("runtime.txt", "python-3.10"), PYPROJECT], Some("runtime.txt: 3.10")),
            (&[PYPROJECT, PIPFILE], Some("pyproject.toml: >=3.9")),
            (&[POETRY], Some("pyproject.toml: ^3.9")),
            (&[PIPFILE], Some("Pipfile: 3.11")),
            (&[("pyproject.toml", "[project]\n")], None),
        ];
        for (files, expected) in cases {
            let app = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::write(app.path().join(name), text).unwrap();
            }
            let wish = Wish::read(app.path()).unwrap();
            assert_eq!(wish.map(|wish| format!("{}: {wish}", wish.file)).as_deref(), expected);
        }
        assert_eq!(Wish::range("three", "pyproject.toml").unwrap_err().text, "three");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", version in "\\PC*") {
            if let Ok(Some(wish)) = Wish::parse(&text, "runtime.txt") {
                wish.accepts(&version);
                wish.is_exactly(&version);
                wish.may_be(&version);
            }
        }
    }
}
