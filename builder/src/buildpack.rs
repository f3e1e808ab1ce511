//! Buildpacks as directories on the host.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::directory::Directory;
use crate::order::{Group, Order};
use crate::target::{Machine, Target};

/// Minor versions of Buildpack API 0 that the lifecycle speaks.
const API: std::ops::RangeInclusive<u32> = 7..=12;
/// Longest `buildpack.toml`.
const LONGEST: u64 = 1024 * 1024;

/// A buildpack: a component (a directory with `buildpack.toml`, `bin/detect` and `bin/build`), or a composite of others.
#[derive(Debug, Clone, Default)]
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
    /// Of a composite; empty for a component.
    pub order: Order,
    /// For which machines; empty: for all.
    pub(crate) targets: Vec<Target>,
}

impl Buildpack {
    /// Reads `buildpack.toml` of a directory, which is not trusted.
    pub fn open(directory: &Path) -> Result<Self, BuildpackError> {
        let fault = |reason: String| BuildpackError { directory: directory.to_owned(), reason };
        let opened = Directory::open(directory).map_err(|error| fault(on_opening(&error)))?;
        let descriptor = Descriptor::read(&opened).map_err(fault)?;
        descriptor.check().map_err(fault)?;
        let Descriptor { api, buildpack: Description { id, version, clear_env }, order, targets, .. } = descriptor;
        let buildpack =
            Self { id, version, api, clear_env, directory: directory.to_owned(), order: Order(order), targets };
        if !buildpack.is_composite() {
            has_programs(&opened).map_err(fault)?;
        }
        Ok(buildpack)
    }

    /// Whether it is an order of other buildpacks, and has no programs.
    pub fn is_composite(&self) -> bool {
        !self.order.0.is_empty()
    }

    /// Why it is of no use on this machine, if it is not.
    pub(crate) fn unfit_for(&self, machine: &Machine) -> Option<String> {
        if self.targets.is_empty() || self.targets.iter().any(|target| target.fits(machine)) {
            return None;
        }
        let targets: Vec<_> = self.targets.iter().map(ToString::to_string).collect();
        Some(format!("is for {}, this is {machine}", targets.join(" or ")))
    }

    /// `ID@VERSION`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.id, self.version)
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

/// Stack ids (`[[stacks]]`) say nothing here: they name images that there are none of. What has no `[[targets]]` is for Linux.
#[derive(Deserialize)]
struct Descriptor {
    api: String,
    buildpack: Description,
    #[serde(default)]
    order: Vec<Group>,
    #[serde(default)]
    targets: Vec<Target>,
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
    fn read(directory: &Directory) -> Result<Self, String> {
        let read = directory.read(b"buildpack.toml", LONGEST).map_err(|error| format!("buildpack.toml: {error}"))?;
        let bytes = read.ok_or("has no buildpack.toml")?;
        let text = std::str::from_utf8(&bytes).map_err(|_| "buildpack.toml is not UTF-8 text")?;
        toml::from_str(text).map_err(|error| format!("buildpack.toml: {}", in_line(text, &error)))
    }

    fn check(&self) -> Result<(), String> {
        if !api_minor(&self.api).is_some_and(|minor| API.contains(&minor)) {
            return Err(format!("speaks Buildpack API {}, not one of 0.{} to 0.{}", self.api, API.start(), API.end()));
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

/// A fault of TOML, with its line.
pub(crate) fn in_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

fn on_opening(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is not there".into(),
        io::ErrorKind::NotADirectory => "is not a directory".into(),
        _ => error.to_string(),
    }
}

/// They are not followed: they may lead to a file that only exists in the sandbox.
fn has_programs(directory: &Directory) -> Result<(), String> {
    let bin = directory.directory(b"bin").map_err(|error| format!("bin: {}", on_opening(&error)))?;
    for program in ["detect", "build"] {
        let found = bin.find(program.as_bytes()).map_err(|error| format!("bin/{program}: {error}"))?;
        found.ok_or_else(|| format!("has no bin/{program}"))?;
    }
    Ok(())
}

fn api_minor(api: &str) -> Option<u32> {
    api.strip_prefix("0.")?.parse().ok()
}

/// The specification's grammar, less what would be odd as a directory's name.
pub(crate) fn is_id(id: &str) -> bool {
    let grammatical = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/' | b'-'));
    let parts_are_names = id.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    grammatical && parts_are_names && id.len() <= 200 && !matches!(id, "app" | "config" | "generated" | "sbom")
}

pub(crate) fn is_version(version: &str) -> bool {
    parse_version(version).is_some()
}

/// A version as numbers, to be compared.
pub(crate) fn parse_version(version: &str) -> Option<[u32; 3]> {
    let numbers = version.split('.').map(|number| {
        let digits = !number.is_empty() && number.len() < 10 && number.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| number.parse().ok())?
    });
    numbers.collect::<Option<Vec<u32>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

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
        insta::assert_snapshot!(opened("api = '0.10'"), @"buildpack.toml: line 1: missing field `buildpack`");
        insta::assert_snapshot!(opened("api = '0.10'\n[buildpack\nid='a'"), @"buildpack.toml: line 2: unclosed table, expected `]`");
    }

    #[test]
    fn composites_need_no_programs() {
        let root = tempfile::tempdir().unwrap();
        let text = "api = '0.10'\n[buildpack]\nid='a'\nversion='1.2.3'\n";
        fs::write(root.path().join("buildpack.toml"), text).unwrap();
        insta::assert_snapshot!(Buildpack::open(root.path()).unwrap_err().reason, @"bin: is not there");
        let order = format!("{text}[[order]]\n[[order.group]]\nid='b'\nversion='0.0.1'\noptional=true");
        fs::write(root.path().join("buildpack.toml"), order).unwrap();
        let composite = Buildpack::open(root.path()).unwrap();
        assert!(composite.is_composite());
        assert_eq!(composite.order.0[0].group[0].to_string(), "b@0.0.1");
    }

    #[test]
    fn nothing_of_a_directory_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let reason = || Buildpack::open(root.path()).unwrap_err().reason;
        assert_eq!(reason(), "has no buildpack.toml");
        std::os::unix::fs::symlink("/etc/os-release", root.path().join("buildpack.toml")).unwrap();
        assert_eq!(reason(), "buildpack.toml: is not a regular file");
        assert_eq!(Buildpack::open(&root.path().join("none")).unwrap_err().reason, "is not there");
    }

    #[test]
    fn machines() {
        let machine = Machine { arch: "amd64", distribution: "debian".into(), version: "12".into() };
        let unfit = |text: &str| {
            let root = tempfile::tempdir().unwrap();
            let text = format!("api='0.10'\n{text}[buildpack]\nid='a'\nversion='1.2.3'\n");
            fs::write(root.path().join("buildpack.toml"), text).unwrap();
            fs::create_dir(root.path().join("bin")).unwrap();
            fs::write(root.path().join("bin/detect"), "").unwrap();
            fs::write(root.path().join("bin/build"), "").unwrap();
            Buildpack::open(root.path()).unwrap().unfit_for(&machine)
        };
        assert_eq!(unfit(""), None);
        assert_eq!(unfit("[[stacks]]\nid='*'\n"), None);
        assert_eq!(unfit("[[stacks]]\nid='io.buildpacks.stacks.jammy'\nmixins=['x']\n"), None);
        assert_eq!(unfit("[[targets]]\narch='arm64'\n[[targets]]\nos='linux'\n"), None);
        let refused = unfit("[[targets]]\nos='windows'\n[[targets]]\narch='arm64'\n").unwrap();
        insta::assert_snapshot!(refused, @"is for windows or arm64, this is linux/amd64 (debian 12)");
    }

    proptest! {
        #[test]
        fn any_descriptor_is_read_or_refused(text in r#"(api = "0\.[0-9]{1,2}"\n)?(\[(buildpack|\[order\]|\[order\.group\]|\[targets\]|metadata)\]\n|(id|version|os|clear-env|optional) = ("[a-z0-9./]{0,6}"|true|1)\n){0,10}"#) {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("buildpack.toml"), text).unwrap();
            if let Ok(buildpack) = Buildpack::open(root.path()) {
                prop_assert!(is_id(&buildpack.id) && is_version(&buildpack.version));
            }
        }
    }
}
