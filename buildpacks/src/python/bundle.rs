//! Wheels that an app brings with it: its packages are installed from these alone, without an index.

use std::fs;
use std::path::{Path, PathBuf};

use super::project::{Local, table};
use super::requirements::normalise;

/// A directory of the app with wheels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bundle {
    /// Its name.
    pub(super) name: &'static str,
    /// Normalised names of the packages in it.
    packages: Vec<String>,
}

/// In this order. `dist` is also where a project's own wheel is built: that alone is no bundle.
const DIRECTORIES: [&str; 2] = ["wheelhouse", "dist"];

impl Bundle {
    pub(super) fn find(app: &Path) -> Option<Self> {
        let own = own_name(app);
        let bundles = DIRECTORIES.into_iter().map(|name| Self { name, packages: packages(&app.join(name)) });
        let mut others = bundles.filter(|bundle| bundle.packages.iter().any(|package| Some(package) != own.as_ref()));
        others.next()
    }

    /// Whether it has a wheel of this package.
    pub(super) fn has(&self, package: &str) -> bool {
        self.packages.iter().any(|name| name == package)
    }

    /// As something that the environment depends on.
    pub(super) fn content(&self) -> Local {
        Local { path: PathBuf::from(self.name), editable: false }
    }
}

fn packages(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| Some(normalise(name.strip_suffix(".whl")?.split('-').next()?))).collect()
}

fn own_name(app: &Path) -> Option<String> {
    let table = table(app, "pyproject.toml").ok()??;
    let project = table.get("project").or_else(|| table.get("tool")?.get("poetry"))?;
    Some(normalise(project.get("name")?.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Tree = &'static [(&'static str, &'static str)];

    #[test]
    fn what_is_a_bundle() {
        const PYPROJECT: (&str, &str) = ("pyproject.toml", "[project]\nname = 'My.Shop'\n");
        let cases: [(Tree, Option<&str>); 5] = [
            (&[("wheelhouse/flask-3.0-py3-none-any.whl", "")], Some("wheelhouse")),
            (&[("dist/flask-3.0-py3-none-any.whl", ""), PYPROJECT], Some("dist")),
            (&[("dist/my_shop-1.0-py3-none-any.whl", ""), PYPROJECT], None),
            (&[("wheelhouse/README", "")], None),
            (&[PYPROJECT], None),
        ];
        for (files, name) in cases {
            let app = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::create_dir_all(app.path().join(name).parent().unwrap()).unwrap();
                fs::write(app.path().join(name), text).unwrap();
            }
            let bundle = Bundle::find(app.path());
            assert_eq!(bundle.as_ref().map(|bundle| bundle.name), name, "{files:?}");
            assert!(bundle.is_none_or(|bundle| bundle.has("flask") && !bundle.has("gunicorn")));
        }
    }
}
