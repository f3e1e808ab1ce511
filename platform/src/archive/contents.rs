//! What a release is, as it says of itself: plain data that may come from anybody, and is checked before it is used.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use builder::{Digest, Image};
use serde::{Deserialize, Serialize};

use crate::names::{AppName, ProcessType, Version};
use crate::release::Manifest;

/// More of anything is refused.
const MOST: usize = 1000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Which form the archive has.
    pub format: Format,
    /// The app where it was exported.
    pub app: AppName,
    /// The release there.
    pub release: Version,
    /// The processor that it is for, as Rust names it.
    pub architecture: String,
    /// The distribution that it was built on: `debian 12`.
    pub system: String,
    /// What links in the layers lead to outside of the release: an interpreter.
    pub needs: Vec<PathBuf>,
    /// What its build made.
    pub manifest: Manifest,
}

/// Which form the archive has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The first.
    #[serde(rename = "airstrip release 1")]
    One,
}

impl Contents {
    /// Reads them. The error is a sentence for users.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let contents: Self =
            serde_json::from_slice(bytes).map_err(|e| format!("its description cannot be read: {e}"))?;
        contents.check().map_err(|what| format!("its description is not one that airstrip writes: {what}"))?;
        Ok(contents)
    }

    /// Digests of its trees, the code first, then the bills of material, then the layers, each once.
    pub fn trees(&self) -> Vec<&Digest> {
        let layers = self.manifest.image.layers.iter().map(|layer| &layer.digest);
        let mut seen = BTreeSet::new();
        self.manifest
            .code
            .iter()
            .chain(&self.manifest.sbom)
            .chain(layers)
            .filter(|digest| seen.insert(*digest))
            .collect()
    }

    fn check(&self) -> Result<(), &'static str> {
        let Manifest { image, toolchain, health_path, commit, code, sbom } = &self.manifest;
        let counts = [image.layers.len(), image.processes.len(), image.env.len(), toolchain.len(), self.needs.len()];
        let targets: BTreeSet<&Path> = image.layers.iter().map(|layer| layer.target.as_path()).collect();
        let names: BTreeSet<&str> = image.processes.iter().map(|process| process.name.as_str()).collect();
        let rules = [
            (code.is_some(), "no code"),
            (!is_layer(image, code.as_ref()), "code that is a layer"),
            (
                sbom.is_none() || sbom != code && !is_layer(image, sbom.as_ref()),
                "bills of material that are something else, too",
            ),
            (counts.iter().all(|count| *count <= MOST), "too much of something"),
            (self.architecture.len() <= 50 && is_line(&self.architecture), "the architecture"),
            (self.system.len() <= 200 && is_line(&self.system), "the system"),
            (targets.iter().all(|target| is_layers_place(target)), "the place of a layer"),
            (targets.len() == image.layers.len(), "two layers at one place"),
            (image.layers.iter().all(|layer| is_line(&layer.name) && is_line(&layer.buildpack)), "the name of a layer"),
            (image.processes.iter().all(is_process) && names.len() == image.processes.len(), "a process type"),
            (image.env.iter().all(|change| is_variable(&change.name) && !has_nul(&change.value)), "a variable"),
            (toolchain.iter().chain(&self.needs).all(|path| is_plain(path)), "a path"),
            (health_path.as_ref().is_none_or(|path| path.starts_with('/') && is_line(path)), "the health check"),
            (commit.as_ref().is_none_or(|commit| is_commit(commit)), "the commit"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
    }
}

fn is_layer(image: &Image, digest: Option<&Digest>) -> bool {
    image.layers.iter().any(|layer| Some(&layer.digest) == digest)
}

/// `/layers/BUILDPACK/NAME`
fn is_layers_place(path: &Path) -> bool {
    is_plain(path) && path.starts_with("/layers") && path.components().count() == 4
}

/// Absolute, and without parts that mean another directory.
fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    let text = path.as_os_str().as_encoded_bytes();
    parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && text.len() < 4096
        && !text.contains(&0)
}

fn is_process(process: &builder::ProcessType) -> bool {
    process.name.parse::<ProcessType>().is_ok()
        && !process.argv.is_empty()
        && process.argv.len() <= MOST
        && !process.argv.iter().any(|word| has_nul(word))
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains('=') && !has_nul(name)
}

fn has_nul(text: &str) -> bool {
    text.contains('\0')
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
pub(super) mod tests {
    use builder::{EnvAction, EnvChange, Layer, ProcessType};
    use proptest::prelude::*;

    use super::*;

    pub(in crate::archive) fn contents(code: Digest, sbom: Option<Digest>, layer: Digest) -> Contents {
        let image = Image {
            layers: vec![Layer {
                buildpack: "a/b".into(),
                name: "env".into(),
                digest: layer,
                target: "/layers/a_b/env".into(),
                metadata: None,
            }],
            processes: vec![ProcessType {
                name: "web".into(),
                argv: vec!["sh".into()],
                command: "sh".into(),
                direct: false,
            }],
            preparations: Vec::new(),
            env: vec![EnvChange { name: "A".into(), action: EnvAction::Override, value: "b".into(), process: None }],
            buildpacks: Vec::new(),
        };
        Contents {
            format: Format::One,
            app: "blog".parse().unwrap(),
            release: Version(3),
            architecture: "x86_64".into(),
            system: "debian 12".into(),
            needs: vec!["/usr/bin/python3.11".into()],
            manifest: Manifest {
                image,
                health_path: Some("/up".into()),
                code: Some(code),
                sbom,
                ..Manifest::default()
            },
        }
    }

    fn sample() -> Contents {
        let digest = |letter: &str| Digest::try_from(format!("sha256-{}", letter.repeat(64))).unwrap();
        contents(digest("a"), Some(digest("c")), digest("b"))
    }

    fn refused(alter: impl FnOnce(&mut Contents)) -> String {
        let mut contents = sample();
        alter(&mut contents);
        let text = serde_json::to_vec(&contents).unwrap();
        Contents::parse(&text).unwrap_err().rsplit_once(": ").unwrap().1.to_owned()
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Contents::parse(&serde_json::to_vec(&sample()).unwrap()), Ok(sample()));
        assert_eq!(sample().trees().len(), 3);
    }

    #[test]
    fn what_airstrip_does_not_write_is_refused() {
        let place = |place: &'static str| refused(|c| c.manifest.image.layers[0].target = place.into());
        for bad in ["/layers/a", "/layers/../etc", "/etc/a/b", "layers/a/b", "/layers/a/b/c", "/layers"] {
            assert_eq!(place(bad), "the place of a layer", "{bad}");
        }
        assert_eq!(
            refused(|c| c.manifest.image.layers.push(c.manifest.image.layers[0].clone())),
            "two layers at one place"
        );
        assert_eq!(refused(|c| c.manifest.code = None), "no code");
        let layer = |c: &Contents| Some(c.manifest.image.layers[0].digest.clone());
        assert_eq!(refused(|c| c.manifest.code = layer(c)), "code that is a layer");
        let twice = "bills of material that are something else, too";
        assert_eq!(refused(|c| c.manifest.sbom = c.manifest.code.clone()), twice);
        assert_eq!(refused(|c| c.manifest.sbom = layer(c)), twice);
        assert_eq!(refused(|c| c.manifest.image.processes[0].argv.clear()), "a process type");
        assert_eq!(refused(|c| c.manifest.image.processes[0].name = "a b".into()), "a process type");
        assert_eq!(refused(|c| c.manifest.image.env[0].name = "A=B".into()), "a variable");
        assert_eq!(refused(|c| c.manifest.toolchain.push("/opt/../etc".into())), "a path");
        assert_eq!(refused(|c| c.needs = vec!["/x".into(); MOST + 1]), "too much of something");
        assert_eq!(refused(|c| c.manifest.commit = Some("main".into())), "the commit");
        assert_eq!(refused(|c| c.manifest.health_path = Some("/a\r\nb".into())), "the health check");
        assert_eq!(refused(|c| c.system = "\u{1b}[2J".into()), "the system");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,80}", at in 0..900_usize) {
            let _answer = Contents::parse(text.as_bytes());
            let mut whole = serde_json::to_string(&sample()).unwrap();
            let at = (0..=at.min(whole.len())).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
            whole.insert_str(at, &text);
            let _answer = Contents::parse(whole.as_bytes());
        }
    }
}
