//! Archives good and bad.

use std::io::{Seek, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;

const DESCRIPTOR: &str = "api = '0.10'\n[buildpack]\nid = 'test/hello'\nversion = '1.0.0'\n";

/// A path ending in `/` is a directory, one with ` -> ` a symbolic link.
fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(0);
        let (path, kind) = match path.split_once(" -> ") {
            Some((path, target)) => {
                header.set_link_name(target).unwrap();
                (path, tar::EntryType::Symlink)
            }
            None if path.ends_with('/') => (*path, tar::EntryType::Directory),
            None => {
                header.set_size(content.len() as u64);
                (*path, tar::EntryType::Regular)
            }
        };
        header.set_entry_type(kind);
        // `set_path` refuses what hostile archives have.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn directory_of(prefix: &str) -> Vec<u8> {
    let at = |name: &str| format!("{prefix}{name}");
    tar_of(&[
        (&at("buildpack.toml"), DESCRIPTOR.as_bytes()),
        (&at("bin/"), b""),
        (&at("bin/detect"), b"#!/bin/sh\n"),
        (&at("bin/build -> detect"), b""),
    ])
}

/// A layout in the making.
#[derive(Default)]
struct Blobs(Vec<(String, Vec<u8>)>);

impl Blobs {
    /// Adds a blob, and gives what refers to it.
    fn add(&mut self, content: &[u8]) -> Value {
        let bytes = Sha256::digest(content);
        let digest = bytes.iter().fold(String::new(), |digest, byte| format!("{digest}{byte:02x}"));
        self.0.push((format!("blobs/sha256/{digest}"), content.to_vec()));
        json!({ "digest": format!("sha256:{digest}"), "size": content.len() })
    }

    fn image(&mut self, layers: &[Vec<u8>]) -> Value {
        let layers: Vec<_> = layers.iter().map(|layer| self.add(layer)).collect();
        self.add(json!({ "layers": layers }).to_string().as_bytes())
    }

    /// An index of images, each for a processor or for none in particular.
    fn index(&mut self, images: Vec<(Value, Option<&str>)>) -> Value {
        let images = images.into_iter().map(|(mut image, architecture)| {
            if let Some(architecture) = architecture {
                image["platform"] = json!({ "os": "linux", "architecture": architecture });
            }
            image
        });
        let manifests: Vec<_> = images.collect();
        self.add(json!({ "manifests": manifests }).to_string().as_bytes())
    }

    fn archive(&self, top: &Value) -> Vec<u8> {
        let index = json!({ "manifests": [top] }).to_string();
        let mut entries: Vec<(&str, &[u8])> = vec![("oci-layout", b"{}"), ("index.json", index.as_bytes())];
        entries.extend(self.0.iter().map(|(name, content)| (name.as_str(), content.as_slice())));
        tar_of(&entries)
    }
}

/// A layout with one image of these layers.
fn layout(layers: &[Vec<u8>]) -> Vec<u8> {
    let mut blobs = Blobs::default();
    let image = blobs.image(layers);
    blobs.archive(&image)
}

/// How images name the processor of this machine.
fn processor() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" }
}

/// A layout of indexes below each other, with images for several processors; `mine` is where those for this one are.
fn nested(mine: &str) -> Vec<u8> {
    let mut blobs = Blobs::default();
    let (other, own) = (blobs.image(&[gzip(&tar_of(&[]))]), blobs.image(&[layer()]));
    let others = blobs.index(vec![(other.clone(), Some("s390x"))]);
    let own = blobs.index(vec![(other, Some("s390x")), (own, Some(mine))]);
    let top = blobs.index(vec![(others, None), (own, None)]);
    blobs.archive(&top)
}

fn layer() -> Vec<u8> {
    gzip(&plain_layer())
}

fn plain_layer() -> Vec<u8> {
    let other = DESCRIPTOR.replace("test/hello", "test/other");
    tar_of(&[
        ("/cnb/", b""),
        ("/cnb/buildpacks/test_hello/", b""),
        ("/cnb/buildpacks/test_hello/1.0.0/", b""),
        ("/cnb/buildpacks/test_hello/1.0.0/buildpack.toml", DESCRIPTOR.as_bytes()),
        ("/cnb/buildpacks/test_hello/1.0.0/bin/detect", b""),
        ("/cnb/buildpacks/test_hello/1.0.0/bin/build", b""),
        ("/cnb/buildpacks/test_other/1.0.0/buildpack.toml", other.as_bytes()),
        ("/cnb/buildpacks/test_other/1.0.0/bin/detect", b""),
        ("/cnb/buildpacks/test_other/1.0.0/bin/build", b""),
        ("/etc/passwd", b"not for us"),
    ])
}

struct Server {
    root: tempfile::TempDir,
    home: Home,
}

impl Server {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let home = Home::make(root.path()).unwrap();
        Self { root, home }
    }

    /// What was installed, or why nothing was.
    fn install(&self, archive: &[u8], replace: bool) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        file.rewind().unwrap();
        let installed = install(&self.home, file, replace);
        let hidden = self.names("buildpacks").into_iter().filter(|name| name.starts_with('.')).count();
        assert_eq!(hidden, 0, "nothing is left");
        match installed {
            Ok(installed) => installed.iter().map(Buildpack::name).collect::<Vec<_>>().join(" "),
            Err(failure) => failure.message,
        }
    }

    fn names(&self, below: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.path().join(below)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn directories_and_images() {
    let archives = [
        directory_of(""),
        directory_of("./"),
        directory_of("hello-1.0/"),
        gzip(&directory_of("hello/")),
        layout(&[layer()]),
        gzip(&layout(&[layer()])),
        layout(&[plain_layer()]),
        layout(&[compress_to_vec(&plain_layer()[..], CompressionLevel::Fastest)]),
        nested(processor()),
    ];
    for (index, archive) in archives.iter().enumerate() {
        let server = Server::new();
        let installed = server.install(archive, false);
        assert_eq!(installed, if index < 4 { "test/hello@1.0.0" } else { "test/hello@1.0.0 test/other@1.0.0" });
        let place = server.home.buildpacks().join("test_hello/1.0.0");
        assert_eq!(Buildpack::open(&place).unwrap().name(), "test/hello@1.0.0");
        assert_eq!(server.install(archive, false), "test/hello@1.0.0 is installed already");
        assert_eq!(server.install(archive, true), installed);
    }
}

#[test]
fn what_was_installed_is_uninstalled() {
    let server = Server::new();
    let other = DESCRIPTOR.replace("1.0.0", "2.0.0");
    let other = tar_of(&[("buildpack.toml", other.as_bytes()), ("bin/detect", b""), ("bin/build", b"")]);
    server.install(&directory_of(""), false);
    server.install(&other, false);
    let place = |version: &str| server.home.buildpacks().join("test_hello").join(version);
    let uninstall = |version: &str| uninstall(&server.home, &[Buildpack::open(&place(version)).unwrap()]);
    uninstall("1.0.0").unwrap();
    assert_eq!(server.names("buildpacks/test_hello"), ["2.0.0"]);
    uninstall("2.0.0").unwrap();
    assert!(server.names("buildpacks").is_empty());
}

#[test]
fn history_is_left_out_and_the_highest_descriptor_counts() {
    let entries: &[(&str, &[u8])] = &[
        ("pack/.git/config", b""),
        ("pack/tests/fixture/buildpack.toml", b"other"),
        ("pack/buildpack.toml", DESCRIPTOR.as_bytes()),
        ("pack/bin/detect", b""),
        ("pack/bin/build", b""),
        ("elsewhere/file", b""),
    ];
    let server = Server::new();
    assert_eq!(server.install(&tar_of(entries), false), "test/hello@1.0.0");
    let mut names = server.names("buildpacks/test_hello/1.0.0");
    names.sort();
    assert_eq!(names, ["bin", "buildpack.toml", "tests"]);
}

#[test]
fn what_is_refused_leaves_nothing() {
    let own = DESCRIPTOR.replace("test/hello", "airstrip/python");
    let similar = DESCRIPTOR.replace("test/hello", "test_hello");
    let with = |more: (&str, &[u8])| {
        tar_of(&[("buildpack.toml", DESCRIPTOR.as_bytes()), ("bin/detect", b""), ("bin/build", b""), more])
    };
    let mut changed = layout(&[layer()]);
    let at = changed.windows(4).rposition(|bytes| bytes == [0x1f, 0x8b, 8, 0]).unwrap();
    changed[at + 20] ^= 1;
    let zstd = layout(&[vec![0x28, 0xb5, 0x2f, 0xfd, 0]]);
    let mut blobs = Blobs::default();
    let top = (0..9).fold(blobs.image(&[layer()]), |below, _| blobs.index(vec![(below, None)]));
    let deep = blobs.archive(&top);
    let top = blobs.add(b"{}");
    let neither = blobs.archive(&top);
    let cases: &[(Vec<u8>, &str)] = &[
        (b"nothing of the kind".to_vec(), "the archive cannot be read: "),
        (Vec::new(), "there is no buildpack.toml in the archive"),
        (tar_of(&[("README", b"")]), "there is no buildpack.toml in the archive"),
        (tar_of(&[("buildpack.toml", DESCRIPTOR.as_bytes())]), "this is no buildpack: bin: is not there"),
        (tar_of(&[("buildpack.toml", b"api = 1")]), "this is no buildpack: buildpack.toml: line 1: "),
        (
            tar_of(&[("buildpack.toml", own.as_bytes()), ("bin/detect", b""), ("bin/build", b"")]),
            "airstrip/python@1.0.0 would be one of the built-in buildpacks",
        ),
        (
            tar_of(&[("buildpack.toml", similar.as_bytes()), ("bin/detect", b""), ("bin/build", b"")]),
            "this is no buildpack: \"test_hello\" cannot be the id of a buildpack",
        ),
        (with(("../outside", b"")), "one/../outside: "),
        (with(("bin/detect", b"again")), "one/bin/detect: "),
        (changed, "the archive cannot be read: the blob sha256:"),
        (layout(&[]), "there is no buildpack in the archive"),
        (zstd, "the archive cannot be read: "),
        (nested("riscv128"), "the image is not for machines of this kind"),
        (deep, "the archive cannot be read: its indexes are nested too deep"),
        (neither, "the archive cannot be read: it has neither manifests nor layers"),
        (gzip(&directory_of(""))[..40].to_vec(), "the archive cannot be read: "),
    ];
    for (archive, expected) in cases {
        let server = Server::new();
        let refused = server.install(archive, false);
        assert!(refused.starts_with(expected), "{refused:?} should be {expected:?}");
        assert!(server.names("buildpacks").is_empty());
    }
}

#[test]
fn links_do_not_lead_out_while_unpacking() {
    let server = Server::new();
    let outside = server.root.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let link = format!("bin -> {}", outside.display());
    let archive = tar_of(&[("buildpack.toml", DESCRIPTOR.as_bytes()), (&link, b""), ("bin/detect", b"evil")]);
    assert!(server.install(&archive, false).starts_with("one/bin"));
    assert!(server.names("outside").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever is cut out of or changed in an archive, it is installed or refused.
    #[test]
    fn damaged_archives(image in any::<bool>(), at in 0_usize..4096, length in 0_usize..600, byte in any::<u8>()) {
        let mut archive = if image { layout(&[layer()]) } else { directory_of("x/") };
        let at = at.min(archive.len() - 1);
        archive[at] = byte;
        let end = (at + length).min(archive.len());
        archive.drain(at..end);
        let _either = Server::new().install(&archive, false);
    }
}
