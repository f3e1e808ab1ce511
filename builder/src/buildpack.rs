//! Buildpacks as directories on the host.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Minor versions of Buildpack API 0 that the lifecycle speaks.
const API: std::ops::RangeInclusive<u32> = 7..=12;

/// A component buildpack: a directory with `buildpack.toml`, `bin/detect` and `bin/build`.
#[derive(Debug, Clone)]
pub struct Buildpack {
    /// `airstrip/python`.
    pub id: String,
    /// `0.1.0`.
    pub version: String,
    /// `0.10`.
    pub api: String,
    /// Whether it wants no variables of the user (`clear-env`); it finds them in `/platform/env`.
    pub clear_env: bool,
    /// On the host; shown inside at `/cnb/buildpacks/<id with / as _>/<version>`.
    pub directory: PathBuf,
}

impl Buildpack {
    /// Reads `buildpack.toml` of a directory.
    pub fn open(directory: &Path) -> Result<Self, BuildpackError> {
        let fault = |reason: String| BuildpackError { directory: directory.to_owned(), reason };
        let text = fs::read_to_string(directory.join("buildpack.toml"))
            .map_err(|error| fault(format!("buildpack.toml: {error}")))?;
        let descriptor: Descriptor =
            toml::from_str(&text).map_err(|error| fault(format!("buildpack.toml: {}", error.message())))?;
        descriptor.check().map_err(fault)?;
        for program in ["bin/detect", "bin/build"] {
            // Not followed: it may lead to a file that only exists in the sandbox.
            fs::symlink_metadata(directory.join(program)).map_err(|error| fault(format!("{program}: {error}")))?;
        }
        let Description { id, version, clear_env } = descriptor.buildpack;
        Ok(Self { id, version, api: descriptor.api, clear_env, directory: directory.to_owned() })
    }

    /// Its name as a directory: of its layers, and of its versions.
    pub(crate) fn directory_name(&self) -> String {
        self.id.replace('/', "_")
    }

    /// Where it is shown inside.
    pub(crate) fn target(&self) -> String {
        format!("/cnb/buildpacks/{}/{}", self.directory_name(), self.version)
    }

    /// Minor version of its API.
    pub(crate) fn api_minor(&self) -> u32 {
        api_minor(&self.api).unwrap_or_default()
    }
}

/// Not a usable buildpack.
#[derive(Debug, thiserror::Error)]
#[error("buildpack {}: {reason}", directory.display())]
pub struct BuildpackError {
    /// The directory.
    pub directory: PathBuf,
    /// What is wrong.
    pub reason: String,
}

#[derive(Deserialize)]
struct Descriptor {
    api: String,
    buildpack: Description,
    #[serde(default)]
    order: Vec<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Description {
    id: String,
    version: String,
    #[serde(default)]
    clear_env: bool,
}

impl Descriptor {
    fn check(&self) -> Result<(), String> {
        if !api_minor(&self.api).is_some_and(|minor| API.contains(&minor)) {
            return Err(format!("speaks Buildpack API {}, not one of 0.{} to 0.{}", self.api, API.start(), API.end()));
        }
        if !self.order.is_empty() {
            return Err("is composed of other buildpacks ([[order]]); give those instead".into());
        }
        let Description { id, version, .. } = &self.buildpack;
        if !is_id(id) {
            return Err(format!("{id:?} cannot be the id of a buildpack"));
        }
        if !is_version(version) {
            return Err(format!("{version:?} is not a version (X.Y.Z)"));
        }
        Ok(())
    }
}

fn api_minor(api: &str) -> Option<u32> {
    api.strip_prefix("0.")?.parse().ok()
}

/// The specification's grammar, less what would be odd as a directory's name.
fn is_id(id: &str) -> bool {
    let grammatical = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/' | b'-'));
    let parts_are_names = id.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    grammatical && parts_are_names && id.len() <= 200 && !matches!(id, "app" | "config" | "generated" | "sbom")
}

fn is_version(version: &str) -> bool {
    let numbers: Vec<_> = version.split('.').collect();
    numbers.len() == 3 && numbers.iter().all(|n| !n.is_empty() && n.len() < 10 && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(descriptor: &str) -> String {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("buildpack.toml"), descriptor).unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        std::os::unix::fs::symlink("/only/inside", root.path().join("bin/detect")).unwrap();
        std::os::unix::fs::symlink("/only/inside", root.path().join("bin/build")).unwrap();
        match Buildpack::open(root.path()) {
            Ok(b) => format!("{} {} api {} clear-env {} at {}", b.id, b.version, b.api, b.clear_env, b.target()),
            Err(error) => error.reason,
        }
    }

    fn descriptor(api: &str, id: &str, version: &str) -> String {
        format!(
            "api = {api:?}\n[buildpack]\nid = {id:?}\nversion = {version:?}\nname = \"x\"\n[[stacks]]\nid = \"*\"\n"
        )
    }

    #[test]
    fn descriptors() {
        insta::assert_snapshot!(opened(&descriptor("0.10", "airstrip/python", "0.1.0")), @"airstrip/python 0.1.0 api 0.10 clear-env false at /cnb/buildpacks/airstrip_python/0.1.0");
        insta::assert_snapshot!(opened("api = '0.12'\n[buildpack]\nid='a'\nversion='1.2.3'\nclear-env=true\n[metadata]\nx=1"), @"a 1.2.3 api 0.12 clear-env true at /cnb/buildpacks/a/1.2.3");
        insta::assert_snapshot!(opened(&descriptor("0.6", "a", "1.0.0")), @"speaks Buildpack API 0.6, not one of 0.7 to 0.12");
        insta::assert_snapshot!(opened(&descriptor("1", "a", "1.0.0")), @"speaks Buildpack API 1, not one of 0.7 to 0.12");
        insta::assert_snapshot!(opened(&descriptor("0.10", "../a", "1.0.0")), @r#""../a" cannot be the id of a buildpack"#);
        insta::assert_snapshot!(opened(&descriptor("0.10", "..", "1.0.0")), @r#"".." cannot be the id of a buildpack"#);
        insta::assert_snapshot!(opened(&descriptor("0.10", "a", "../..")), @r#""../.." is not a version (X.Y.Z)"#);
        insta::assert_snapshot!(opened("api = '0.10'\n[buildpack]\nid='a'\nversion='1.2.3'\n[[order]]\n[[order.group]]\nid='b'"), @"is composed of other buildpacks ([[order]]); give those instead");
        insta::assert_snapshot!(opened("api = '0.10'"), @"buildpack.toml: missing field `buildpack`");
    }
}
