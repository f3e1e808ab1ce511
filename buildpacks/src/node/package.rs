//! What an app's `package.json` says.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

/// The parts of `package.json` that decide about a build. Whatever has another shape than npm's counts as absent.
#[derive(Debug, Default)]
pub(super) struct Package {
    root: Map<String, Value>,
}

/// It cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    /// No JSON object.
    #[error("package.json: {0}")]
    Malformed(String),
    /// It cannot be read.
    #[error("reading package.json: {0}")]
    Io(#[from] io::Error),
}

/// Kinds of dependencies.
const DEPENDENCIES: [&str; 4] = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];
/// What besides the dependencies decides what is installed.
const RESOLUTION: [&str; 7] =
    ["overrides", "resolutions", "pnpm", "packageManager", "engines", "bundleDependencies", "bundledDependencies"];
/// Scripts of the app's own that installing runs.
const AT_INSTALL: [&str; 6] = ["preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare"];
/// Dependencies that do not follow a link out of the app's directory.
const IN_PLACE: [&str; 1] = ["next"];

impl Package {
    /// Reads the app's.
    pub(super) fn read(app: &Path) -> Result<Self, PackageError> {
        Self::parse(&fs::read(app.join("package.json"))?)
    }

    fn parse(text: &[u8]) -> Result<Self, PackageError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        match serde_json::from_slice(text) {
            Ok(Value::Object(root)) => Ok(Self { root }),
            Ok(_) => Err(PackageError::Malformed("it is no object, such as {\"name\": \"app\"}".to_owned())),
            Err(error) => Err(PackageError::Malformed(error.to_string())),
        }
    }

    fn entry(&self, table: &str, name: &str) -> Option<&str> {
        self.root.get(table)?.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    /// A command of `scripts`.
    pub(super) fn script(&self, name: &str) -> Option<&str> {
        self.entry("scripts", name)
    }

    /// What `engines` asks for.
    pub(super) fn engine(&self, name: &str) -> Option<&str> {
        self.entry("engines", name)
    }

    /// `pnpm` and `9.1.0` of `"packageManager": "pnpm@9.1.0+sha512.…"`.
    pub(super) fn manager(&self) -> Option<(&str, &str)> {
        let (name, version) = self.root.get("packageManager")?.as_str()?.split_once('@')?;
        Some((name, version.split('+').next().unwrap_or(version)))
    }

    fn dependencies(&self, table: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.root.get(table).and_then(Value::as_object).into_iter().flatten()
    }

    /// Whether there is anything to install.
    pub(super) fn has_dependencies(&self) -> bool {
        self.root.contains_key("workspaces") || DEPENDENCIES.iter().any(|table| self.dependencies(table).count() > 0)
    }

    /// Whether something is installed that only a build needs.
    pub(super) fn has_dev_dependencies(&self) -> bool {
        self.dependencies("devDependencies").count() > 0
    }

    /// Why dependencies cannot be installed apart from the app's code, if they cannot.
    pub(super) fn in_place(&self) -> Option<String> {
        if self.root.contains_key("workspaces") {
            return Some("the app has workspaces".to_owned());
        }
        if let Some(script) = AT_INSTALL.iter().find(|name| self.script(name).is_some()) {
            return Some(format!("package.json has a script '{script}'"));
        }
        let local = DEPENDENCIES.iter().flat_map(|table| self.dependencies(table)).find_map(|(name, spec)| {
            let spec = spec.as_str().unwrap_or_default();
            (is_local(spec) || IN_PLACE.contains(&name.as_str())).then_some((name, is_local(spec)))
        });
        local.map(|(name, local)| {
            let why = if local { "is in the app's own tree" } else { "wants them there" };
            format!("{name} {why}")
        })
    }

    /// All that decides what is installed, in a form that is equal for equal content.
    pub(super) fn resolution(&self) -> String {
        let named = DEPENDENCIES.iter().chain(&RESOLUTION);
        // Sorted by name; serde_json keeps objects in the order of their names, too.
        let parts: BTreeMap<&str, &Value> = named.filter_map(|&name| Some((name, self.root.get(name)?))).collect();
        serde_json::to_string(&parts).unwrap_or_default()
    }
}

/// A dependency that is a file or directory of the app, or a patched one.
fn is_local(spec: &str) -> bool {
    let schemes = ["file:", "link:", "portal:", "workspace:", "patch:", "catalog:", "./", "../", "~/", "/"];
    schemes.iter().any(|scheme| spec.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn package(text: &str) -> Package {
        Package::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_it_says() {
        let read = package(
            r#"{"scripts": {"start": " node . ", "build": ""}, "engines": {"node": ">=18"}, "packageManager": "pnpm@9.1.0+sha512.ab",
                "dependencies": {"a": "^1"}, "devDependencies": {}}"#,
        );
        assert_eq!(read.script("start"), Some("node ."));
        assert_eq!(read.script("build"), None);
        assert_eq!(read.engine("node"), Some(">=18"));
        assert_eq!(read.manager(), Some(("pnpm", "9.1.0")));
        assert!(read.has_dependencies() && !read.has_dev_dependencies());
        assert!(package(r#"{"engines": ["node"], "scripts": 3, "dependencies": []}"#).engine("node").is_none());
    }

    #[test]
    fn where_dependencies_go() {
        let cases = [
            (r#"{"dependencies": {"a": "^1"}}"#, None),
            (r#"{"dependencies": {"a": "git+https://host/a.git"}}"#, None),
            (r#"{"workspaces": ["a"]}"#, Some("the app has workspaces")),
            (r#"{"scripts": {"postinstall": "x"}}"#, Some("package.json has a script 'postinstall'")),
            (r#"{"devDependencies": {"a": "file:../a"}}"#, Some("a is in the app's own tree")),
            (r#"{"dependencies": {"next": "16"}}"#, Some("next wants them there")),
        ];
        for (text, why) in cases {
            assert_eq!(package(text).in_place().as_deref(), why, "{text}");
        }
    }

    #[test]
    fn only_what_is_installed_counts() {
        let one =
            package(r#"{"name": "a", "version": "1", "dependencies": {"b": "1", "a": "2"}, "scripts": {"x": "y"}}"#);
        let two = package(r#"{"dependencies": {"a": "2", "b": "1"}, "version": "2"}"#);
        assert_eq!(one.resolution(), two.resolution());
        assert_ne!(one.resolution(), package(r#"{"dependencies": {"a": "2"}}"#).resolution());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", value in "[{}\\[\\]\",:a-z@0-9]*") {
            for text in [&text, &value] {
                if let Ok(package) = Package::parse(text.as_bytes()) {
                    package.in_place();
                    package.manager();
                    package.resolution();
                }
            }
        }
    }
}
