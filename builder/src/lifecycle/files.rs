//! The TOML files that buildpacks write. They are not trusted: bounded, never followed, read tolerantly.

use std::io;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::BuildError;
use crate::buildpack::in_line;
use crate::directory::{Directory, Found};

/// Longest file that is read.
const LONGEST: u64 = 1024 * 1024;
/// Files beside layers that do not describe one.
const NOT_LAYERS: [&str; 3] = ["launch", "store", "build"];

/// `<layer>.toml`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct LayerFile {
    #[serde(default)]
    pub(super) types: Types,
    #[serde(default)]
    pub(super) metadata: toml::Table,
}

/// What a layer is for. Without any of them it is ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(super) struct Types {
    #[serde(default)]
    pub(super) launch: bool,
    #[serde(default)]
    pub(super) build: bool,
    #[serde(default)]
    pub(super) cache: bool,
}

impl Types {
    pub(super) fn any(self) -> bool {
        self.launch || self.build || self.cache
    }

    /// Whether the next build gets to see the layer's metadata without its directory.
    pub(super) fn launch_only(self) -> bool {
        self.launch && !self.build && !self.cache
    }
}

/// `store.toml`.
#[derive(Debug, Clone, Default, Deserialize, serde::Serialize)]
pub(super) struct StoreFile {
    #[serde(default)]
    pub(super) metadata: toml::Table,
}

/// `build.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct BuildFile {
    #[serde(default)]
    pub(super) unmet: Vec<Unmet>,
    /// A bill of materials of the old form.
    #[serde(default)]
    pub(super) bom: Option<toml::Value>,
}

/// An entry of its plan that a buildpack leaves to others.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Unmet {
    pub(super) name: String,
}

/// `launch.toml`. Labels are for images, and slices for their layers: there are none here.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct LaunchFile {
    #[serde(default)]
    pub(super) processes: Vec<ProcessEntry>,
    /// A bill of materials of the old form.
    #[serde(default)]
    pub(super) bom: Option<toml::Value>,
}

/// A process type of `launch.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ProcessEntry {
    #[serde(rename = "type")]
    pub(super) name: String,
    pub(super) command: Command,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) direct: bool,
    #[serde(default)]
    pub(super) working_dir: Option<String>,
    /// Whether it is what runs if nobody says what.
    #[serde(default)]
    pub(super) default: bool,
    /// For which execution environments; none: for all.
    #[serde(default)]
    pub(super) exec_env: Vec<String>,
}

/// A text before Buildpack API 0.9, a list since.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Command {
    Line(String),
    Argv(Vec<String>),
}

/// Reads one file of a buildpack; None if it has not written it.
pub(super) fn read<T: DeserializeOwned>(
    directory: &Directory,
    buildpack: &str,
    name: &str,
) -> Result<Option<T>, BuildError> {
    let malformed = |reason: &str| BuildError::malformed(buildpack, name, reason);
    let bytes = directory.read(name.as_bytes(), LONGEST).map_err(|error| on_reading(buildpack, name, error))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed("is not UTF-8 text"))?;
    toml::from_str(text).map(Some).map_err(|error| malformed(&in_line(text, &error)))
}

/// Names of the layers that have a `<layer>.toml`, sorted.
pub(super) fn layer_names(directory: &Directory, buildpack: &str) -> Result<Vec<String>, BuildError> {
    let files = directory.names().map_err(|error| on_reading(buildpack, "layers", error))?;
    let mut names = Vec::new();
    for file in files {
        let Some(name) = file.strip_suffix(b".toml") else { continue };
        let name = String::from_utf8_lossy(name).into_owned();
        if NOT_LAYERS.contains(&name.as_str()) {
            continue;
        }
        if !is_layer_name(&name) {
            return Err(BuildError::malformed(buildpack, format!("{name:?}.toml"), "is not a name for a layer"));
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a layer may have this name, which becomes a directory's.
pub(super) fn is_layer_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && !NOT_LAYERS.contains(&name)
        && name.chars().all(|c| c != '/' && c != ':' && !c.is_control() && c != char::REPLACEMENT_CHARACTER)
}

/// Whether the layer has a directory. Anything else of its name is an error.
pub(super) fn has_directory(directory: &Directory, buildpack: &str, layer: &str) -> Result<bool, BuildError> {
    match directory.find(layer.as_bytes()).map_err(|error| on_reading(buildpack, layer, error))? {
        None => Ok(false),
        Some(Found::Directory) => Ok(true),
        Some(_) => Err(BuildError::malformed(buildpack, layer, "is not a directory")),
    }
}

/// Faults of what was written are the buildpack's, all others the server's.
pub(super) fn on_reading(buildpack: &str, file: &str, error: io::Error) -> BuildError {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory => {
            BuildError::malformed(buildpack, file, error.to_string())
        }
        _ => BuildError::Io { doing: format!("reading {file} of {buildpack}"), source: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_text<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, BuildError> {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("x.toml"), bytes).unwrap();
        read(&Directory::open(root.path()).unwrap(), "a/b", "x.toml")
    }

    #[test]
    fn tolerates_what_it_does_not_know() {
        let file: LayerFile =
            read_text(b"new = 1\n[types]\nlaunch = true\nlater = 1\n[metadata]\nk = 'v'").unwrap().unwrap();
        assert!(file.types.launch_only());
        assert_eq!(file.metadata["k"].as_str(), Some("v"));
        let launch: LaunchFile =
            read_text(b"[[labels]]\nkey='a'\n[[processes]]\ntype='web'\ncommand=['a']\ndefault=true").unwrap().unwrap();
        assert_eq!(launch.processes.len(), 1);
    }

    #[test]
    fn faults_are_the_buildpacks() {
        let fault = |bytes: &[u8]| read_text::<LayerFile>(bytes).unwrap_err().to_string();
        insta::assert_snapshot!(fault(b"\n[types]\nlaunch = 'yes'"), @r#"a/b: x.toml: line 3: invalid type: string "yes", expected a boolean"#);
        insta::assert_snapshot!(fault(b"= 1"), @"a/b: x.toml: line 1: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`");
        insta::assert_snapshot!(fault(b"\xff"), @"a/b: x.toml: is not UTF-8 text");
        insta::assert_snapshot!(fault(&vec![b'#'; 1024 * 1024 + 1]), @"a/b: x.toml: is longer than 1048576 bytes");
    }

    #[test]
    fn no_link_is_followed_and_no_pipe_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        std::os::unix::fs::symlink("/etc/os-release", root.path().join("link.toml")).unwrap();
        nix::unistd::mkfifo(&root.path().join("pipe.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for file in ["link.toml", "pipe.toml"] {
            let error = read::<LayerFile>(&directory, "a/b", file).unwrap_err();
            assert_eq!(error.to_string(), format!("a/b: {file}: is not a regular file"));
        }
        assert!(read::<LayerFile>(&directory, "a/b", "none.toml").unwrap().is_none());
    }

    #[test]
    fn names_of_layers() {
        let listed = |files: &[&str]| {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                std::fs::write(root.path().join(file), "").unwrap();
            }
            layer_names(&Directory::open(root.path()).unwrap(), "a/b").map_err(|error| error.to_string())
        };
        assert_eq!(
            listed(&["venv.toml", "a-b.toml", "a.toml", "launch.toml", "store.toml", "build.toml", "x.json"]).unwrap(),
            ["a", "a-b", "venv"]
        );
        insta::assert_snapshot!(listed(&["...toml"]).unwrap_err(), @r#"a/b: "..".toml: is not a name for a layer"#);
        insta::assert_snapshot!(listed(&[".toml"]).unwrap_err(), @r#"a/b: "".toml: is not a name for a layer"#);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _read = read_text::<LayerFile>(&bytes);
            let _read = read_text::<LaunchFile>(&bytes);
        }

        #[test]
        fn nearly_toml_is_read_or_refused(text in r#"(\[(types|metadata|\[processes\])\]\n|(launch|type|command|args) = ("a"|true|\[("b",)*\]|\{\}|1979-05-27)\n){0,12}"#) {
            let _read = read_text::<LayerFile>(text.as_bytes());
            let _read = read_text::<LaunchFile>(text.as_bytes());
        }
    }
}
