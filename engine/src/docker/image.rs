//! Images made from layers: an archive in the layout of the Open Container Initiative, which also has the file that
//! Docker's older archives have, so that every engine can load it.

use std::io::{self, Write};
use std::path::PathBuf;

use bollard::query_parameters::ImportImageOptions;
use futures_util::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::client::{Client, io as docker_failed};
use crate::EngineError;

/// One layer: an archive of what it adds.
pub(super) struct Layer {
    tar: Vec<u8>,
    digest: String,
}

impl Layer {
    /// A layer of empty directories and symbolic links. Equal ones have equal digests.
    pub(super) fn of_links(directories: &[(&str, u32)], links: &[(String, PathBuf)]) -> io::Result<Self> {
        let mut archive = Builder::new(Vec::new());
        for (path, mode) in directories {
            archive.append_data(&mut header(EntryType::Directory, *mode, 0), path, io::empty())?;
        }
        for (path, target) in links {
            archive.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)?;
        }
        Ok(Self::new(archive.into_inner()?))
    }

    fn new(tar: Vec<u8>) -> Self {
        let digest = hex(&tar);
        Self { tar, digest }
    }

    /// Enough of the digest to tell layers apart.
    pub(super) fn short_digest(&self) -> &str {
        &self.digest[..16]
    }
}

/// Has the engine keep an image of these layers under `name`.
pub(super) async fn load(client: &Client, name: &str, layers: &[Layer]) -> Result<(), EngineError> {
    let doing = format!("load the image {name}");
    let archive = archive(name, layers).map_err(|source| EngineError::Io { doing: doing.clone(), source })?;
    let options = ImportImageOptions { quiet: true, ..Default::default() };
    let mut answers = client.docker().import_image(options, bollard::body_full(archive.into()), None);
    while let Some(answer) = answers.next().await {
        answer.map_err(|error| docker_failed(&doing, &error))?;
    }
    Ok(())
}

fn archive(name: &str, layers: &[Layer]) -> io::Result<Vec<u8>> {
    let digests: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": digests },
    });
    let config = serde_json::to_vec(&config)?;
    let described: Vec<Value> =
        layers.iter().map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", &layer.tar)).collect();
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": described,
    }))?;
    let mut indexed = descriptor(MANIFEST, &manifest);
    indexed["annotations"] = json!({ "org.opencontainers.image.ref.name": name, "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [indexed] });
    let paths: Vec<String> = layers.iter().map(|layer| blob(&layer.digest)).collect();
    let older = json!([{ "Config": blob(&hex(&config)), "RepoTags": [name], "Layers": paths }]);

    let mut archive = Builder::new(Vec::new());
    put(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put(&mut archive, "index.json", &serde_json::to_vec(&index)?)?;
    put(&mut archive, "manifest.json", &serde_json::to_vec(&older)?)?;
    for content in layers.iter().map(|layer| &layer.tar).chain([&config, &manifest]) {
        put(&mut archive, &blob(&hex(content)), content)?;
    }
    archive.into_inner()
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": format!("sha256:{}", hex(content)), "size": content.len() })
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn put<W: Write>(archive: &mut Builder<W>, path: &str, content: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(EntryType::Regular, 0o644, content.len() as u64), path, content)
}

/// Of nobody in particular, made at no time in particular.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// As images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
