//! Variables of a process, and the rules by which buildpacks change them
//! (CNB specification, "Environment Variable Modification Rules").

use std::collections::BTreeMap;
use std::io;

use crate::directory::{Directory, Found};
use crate::{EnvAction, EnvChange};

/// Longest file of an `env` directory: what Linux takes for one variable.
const LONGEST_VALUE: u64 = 128 * 1024;

/// Variables by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Later pairs win.
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0.into_iter().collect()
    }

    /// Makes one change. An empty variable counts as one that is not set, as in the reference lifecycle.
    pub(crate) fn apply(&mut self, change: &EnvChange) {
        let old = self.0.get(&change.name).filter(|old| !old.is_empty());
        let new = match (&change.action, old) {
            (EnvAction::Default, Some(_)) => return,
            (EnvAction::Prepend(delimiter), Some(old)) => format!("{}{delimiter}{old}", change.value),
            (EnvAction::Append(delimiter), Some(old)) => format!("{old}{delimiter}{}", change.value),
            (_, _) => change.value.clone(),
        };
        self.0.insert(change.name.clone(), new);
    }
}

/// What a layer's directories mean for a build.
pub(crate) const BUILD_ROOTS: &[(&str, &str)] = &[
    ("bin", "PATH"),
    ("lib", "LD_LIBRARY_PATH"),
    ("lib", "LIBRARY_PATH"),
    ("include", "CPATH"),
    ("pkgconfig", "PKG_CONFIG_PATH"),
];

/// What a layer's directories mean at launch.
pub(crate) const LAUNCH_ROOTS: &[(&str, &str)] = &[("bin", "PATH"), ("lib", "LD_LIBRARY_PATH")];

/// Whether a user may set a variable of this name for builds, where it becomes a file's.
pub(crate) fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'='))
}

/// Variables that hold search paths, which `/platform/env` adds to rather than replaces.
pub(crate) fn is_search_path(name: &str) -> bool {
    BUILD_ROOTS.iter().any(|(_, variable)| *variable == name)
}

/// Adds `value` in front of a search path.
pub(crate) fn in_front(name: &str, value: &str) -> EnvChange {
    let action = EnvAction::Prepend(":".into());
    EnvChange { name: name.into(), action, value: value.into(), process: None }
}

/// The changes that a layer makes by having `bin`, `lib` and so on; `target` is where it is seen inside.
pub(crate) fn of_roots(layer: &Directory, target: &str, roots: &[(&str, &str)]) -> io::Result<Vec<EnvChange>> {
    let mut changes = Vec::new();
    for (name, variable) in roots {
        // A link is not followed: where it leads is seen inside only, and a search path may lead nowhere.
        if matches!(layer.find(name.as_bytes())?, Some(Found::Directory | Found::Symlink)) {
            changes.push(in_front(variable, &format!("{target}/{name}")));
        }
    }
    Ok(changes)
}

/// The changes that a layer's directory of environment files asks for (`env`, `env.build`, `env.launch`), sorted by
/// file name. `InvalidData` and `InvalidInput` are faults of who wrote them.
pub(crate) fn of_files(layer: &Directory, directory: &str) -> io::Result<Vec<EnvChange>> {
    match layer.directory_if_any(directory.as_bytes())? {
        Some(files) => of_directory(&files, None),
        None => Ok(Vec::new()),
    }
}

/// As [`of_files`] for `env.launch`, together with its directories for single process types.
pub(crate) fn of_launch_files(layer: &Directory) -> io::Result<Vec<EnvChange>> {
    let Some(files) = layer.directory_if_any(b"env.launch")? else { return Ok(Vec::new()) };
    let mut changes = of_directory(&files, None)?;
    for name in files.names()? {
        if files.find(&name)? == Some(Found::Directory) {
            let process = text(&name)?;
            changes.extend(of_directory(&files.directory(&name)?, Some(process))?);
        }
    }
    Ok(changes)
}

fn of_directory(files: &Directory, process: Option<&str>) -> io::Result<Vec<EnvChange>> {
    let mut changes = Vec::new();
    for file in files.names()? {
        if files.find(&file)? == Some(Found::Directory) {
            continue;
        }
        let file = text(&file)?;
        let (name, suffix) = file.split_once('.').unwrap_or((file, "override"));
        if name.is_empty() || name.contains('=') {
            return Err(bad(format!("{file:?} does not name a variable")));
        }
        if let Some(action) = action(files, name, suffix)? {
            let value = value(files, file)?.unwrap_or_default();
            changes.push(EnvChange { name: name.into(), action, value, process: process.map(Into::into) });
        }
    }
    Ok(changes)
}

/// None for `.delim` and for suffixes that do not exist, which are passed over.
fn action(files: &Directory, name: &str, suffix: &str) -> io::Result<Option<EnvAction>> {
    let delimiter = || Ok::<_, io::Error>(value(files, &format!("{name}.delim"))?.unwrap_or_default());
    Ok(match suffix {
        "override" => Some(EnvAction::Override),
        "default" => Some(EnvAction::Default),
        "prepend" => Some(EnvAction::Prepend(delimiter()?)),
        "append" => Some(EnvAction::Append(delimiter()?)),
        _ => None,
    })
}

fn value(files: &Directory, file: &str) -> io::Result<Option<String>> {
    let read = files.read(file.as_bytes(), LONGEST_VALUE).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => bad(format!("{file} {error}")),
        _ => error,
    })?;
    let Some(bytes) = read else { return Ok(None) };
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(Some(text)),
        _ => Err(bad(format!("{file} is not text"))),
    }
}

fn text(name: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(name).map_err(|_| bad("a file's name is not UTF-8".into()))
}

fn bad(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn layer(files: &[(&str, &str)]) -> (tempfile::TempDir, Directory) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let directory = Directory::open(root.path()).unwrap();
        (root, directory)
    }

    fn after(files: &[(&str, &str)], base: &[(&str, &str)]) -> Vec<(String, String)> {
        let (_root, layer) = layer(files);
        let mut environment = Environment::new(base.iter().map(|(n, v)| ((*n).into(), (*v).into())));
        for change in of_files(&layer, "env").unwrap() {
            environment.apply(&change);
        }
        environment.into_pairs()
    }

    /// The cases of the reference lifecycle's `env_test.go`.
    #[test]
    fn rules_of_environment_files() {
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: &[(Pairs, Pairs, Pairs)] = &[
            (&[("env/A", "new")], &[("A", "old")], &[("A", "new")]),
            (&[("env/A.override", "new")], &[("A", "old")], &[("A", "new")]),
            (&[("env/A.default", "new")], &[("A", "old")], &[("A", "old")]),
            (&[("env/A.default", "new")], &[("A", "")], &[("A", "new")]),
            (&[("env/A.default", "new")], &[], &[("A", "new")]),
            (&[("env/A.append", "new")], &[("A", "old")], &[("A", "oldnew")]),
            (&[("env/A.append", "new"), ("env/A.delim", "-")], &[("A", "old")], &[("A", "old-new")]),
            (&[("env/A.append", "new"), ("env/A.delim", "-")], &[], &[("A", "new")]),
            (&[("env/A.prepend", "new")], &[("A", "old")], &[("A", "newold")]),
            (&[("env/A.prepend", "new"), ("env/A.delim", ":")], &[("A", "old")], &[("A", "new:old")]),
            (&[("env/A.prepend", "new"), ("env/A.delim", ":")], &[("A", "")], &[("A", "new")]),
            (&[("env/A.unknown", "new"), ("env/A.delim", "-")], &[("A", "old")], &[("A", "old")]),
            (&[("env/A.b.override", "new")], &[], &[]),
            (&[("env/A", " as it is\n")], &[], &[("A", " as it is\n")]),
            (&[("env/directory/A", "new")], &[], &[]),
            (&[("env/A.append", "1"), ("env/A.default", "2"), ("env/A.prepend", "3")], &[], &[("A", "31")]),
        ];
        for (files, base, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(after(files, base), expected, "{files:?} on {base:?}");
        }
    }

    #[test]
    fn files_that_are_refused() {
        let fault = |files: &[(&str, &str)]| of_files(&layer(files).1, "env").unwrap_err().to_string();
        insta::assert_snapshot!(fault(&[("env/A=B", "x")]), @r#""A=B" does not name a variable"#);
        insta::assert_snapshot!(fault(&[("env/.override", "x")]), @r#"".override" does not name a variable"#);
        insta::assert_snapshot!(fault(&[("env/A", "x\0y")]), @"A is not text");

        let (root, directory) = layer(&[("env/B", "x")]);
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("env/A")).unwrap();
        insta::assert_snapshot!(of_files(&directory, "env").unwrap_err(), @"A is not a regular file");
    }

    proptest! {
        #[test]
        fn any_files_are_read_or_refused(
            files in proptest::collection::btree_map("[^/\0]{1,12}|A\\.(append|delim|default)", proptest::collection::vec(any::<u8>(), 0..8), 0..6)
        ) {
            let (root, directory) = layer(&[("env.launch/web/x", "")]);
            for (name, content) in files.iter().filter(|(name, _)| !matches!(name.as_str(), "." | ".." | "web")) {
                fs::write(root.path().join("env.launch").join(name), content).unwrap();
            }
            if let Ok(changes) = of_launch_files(&directory) {
                let mut environment = Environment::default();
                for change in &changes {
                    environment.apply(change);
                }
                for (name, value) in environment.into_pairs() {
                    prop_assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
                }
            }
        }
    }

    #[test]
    fn directories_of_a_layer() {
        let (_root, directory) = layer(&[("bin/x", ""), ("lib/x", ""), ("include", "a file")]);
        let shown = |roots| {
            let changes = of_roots(&directory, "/layers/a/b", roots).unwrap();
            changes.into_iter().map(|c| format!("{}={}", c.name, c.value)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            shown(BUILD_ROOTS),
            "PATH=/layers/a/b/bin LD_LIBRARY_PATH=/layers/a/b/lib LIBRARY_PATH=/layers/a/b/lib"
        );
        assert_eq!(shown(LAUNCH_ROOTS), "PATH=/layers/a/b/bin LD_LIBRARY_PATH=/layers/a/b/lib");
    }
}
