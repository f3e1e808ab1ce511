//! Images made from layers: an archive in the layout of the Open Container Initiative, which also has the file that
//! Docker's older archives have, so that every engine can load it. Equal layers over an equal base make an equal archive.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Archive, Builder};

use super::layer::{entry, hex};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One layer: an archive of what it adds, in a file.
pub(super) struct Layer {
    file: PathBuf,
    digest: String,
    size: u64,
    compressed: bool,
}

impl Layer {
    /// The archive in `file`.
    pub(super) fn of(file: PathBuf) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(256 * 1024, File::open(&file)?);
        let compressed = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let (mut hash, mut size) = (Sha256::new(), 0);
        loop {
            let piece = reader.fill_buf()?;
            if piece.is_empty() {
                return Ok(Self { file, digest: hex(&hash.finalize()), size, compressed });
            }
            hash.update(piece);
            let length = piece.len();
            size += length as u64;
            reader.consume(length);
        }
    }

    /// Of its archive.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    fn descriptor(&self) -> Value {
        let kind = format!("{LAYER}{}", if self.compressed { "+gzip" } else { "" });
        json!({ "mediaType": kind, "digest": format!("sha256:{}", self.digest), "size": self.size })
    }
}

/// Layers, and how to run what is in them.
pub(super) struct Image {
    /// As the specification of images has it; the digests of its layers are in it.
    config: Value,
    layers: Vec<Layer>,
}

impl Image {
    /// Without anything.
    pub(super) fn empty() -> Self {
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [] },
            "history": [],
        });
        Self { config, layers: Vec::new() }
    }

    /// What an engine has saved in `archive`; its parts are unpacked into the directory `place`.
    pub(super) fn saved(archive: &Path, place: &Path) -> io::Result<Self> {
        fs::create_dir(place)?;
        Archive::new(BufReader::new(File::open(archive)?)).unpack(place)?;
        let manifest: Value = serde_json::from_slice(&fs::read(place.join("manifest.json"))?)?;
        let part = |value: &Value| value.as_str().map(|name| place.join(name)).ok_or(io::ErrorKind::InvalidData);
        let config = serde_json::from_slice(&fs::read(part(&manifest[0]["Config"])?)?)?;
        let names = manifest[0]["Layers"].as_array().ok_or(io::ErrorKind::InvalidData)?;
        let layers = names.iter().map(|name| Layer::of(part(name)?)).collect::<io::Result<_>>()?;
        Ok(Self { config, layers })
    }

    /// Adds an uncompressed layer; `made_by` says in the image's history where it comes from.
    pub(super) fn add(&mut self, layer: Layer, made_by: &str) {
        append(&mut self.config["rootfs"]["diff_ids"], json!(format!("sha256:{}", layer.digest)));
        append(&mut self.config["history"], json!({ "created_by": made_by }));
        self.layers.push(layer);
    }

    /// Sets how it is run: the names are those of the specification (`Cmd`, `Env`, `User`, `WorkingDir`).
    pub(super) fn configure(&mut self, settings: Value) {
        let (Some(own), Value::Object(settings)) = (self.config["config"].as_object_mut(), settings) else { return };
        own.extend(settings);
    }

    /// Writes the archive; loaded, the image has the given name.
    pub(super) fn write(&self, name: &str, file: &Path) -> io::Result<()> {
        let config = serde_json::to_vec(&self.config)?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": self.layers.iter().map(Layer::descriptor).collect::<Vec<_>>(),
        }))?;
        let mut indexed = descriptor(MANIFEST, &manifest);
        indexed["annotations"] = json!({ "org.opencontainers.image.ref.name": name, "io.containerd.image.name": name });
        let index = json!({ "schemaVersion": 2, "manifests": [indexed] });
        let paths: Vec<String> = self.layers.iter().map(|layer| blob(&layer.digest)).collect();
        let older = json!([{ "Config": blob(&digest(&config)), "RepoTags": [name], "Layers": paths }]);

        let mut archive = Builder::new(BufWriter::new(File::create(file)?));
        put(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        put(&mut archive, "index.json", &serde_json::to_vec(&index)?)?;
        put(&mut archive, "manifest.json", &serde_json::to_vec(&older)?)?;
        put(&mut archive, &blob(&digest(&config)), &config)?;
        put(&mut archive, &blob(&digest(&manifest)), &manifest)?;
        let mut written = std::collections::HashSet::new();
        for layer in self.layers.iter().filter(|layer| written.insert(&layer.digest)) {
            archive.append_data(&mut entry(layer.size), blob(&layer.digest), File::open(&layer.file)?)?;
        }
        archive.into_inner()?.flush()
    }
}

fn append(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(item),
        None => *list = json!([item]),
    }
}

fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": format!("sha256:{}", digest(content)), "size": content.len() })
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn put<W: Write>(archive: &mut Builder<W>, path: &str, content: &[u8]) -> io::Result<()> {
    archive.append_data(&mut entry(content.len() as u64), path, content)
}

/// As images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::layer;

    fn image(dir: &Path) -> Image {
        let file = dir.join("layer");
        layer::write_links(&file, &[("etc/", 0o755)], &[("bin".to_owned(), "usr/bin".into())]).unwrap();
        let mut image = Image::empty();
        image.add(Layer::of(file).unwrap(), "a test");
        image.configure(json!({ "WorkingDir": "/home/app" }));
        image
    }

    #[test]
    fn equal_layers_make_an_equal_archive() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let place = dir.path().join(name);
            fs::create_dir(&place).unwrap();
            image(&place).write("x:1", &place.join("archive")).unwrap();
            fs::read(place.join("archive")).unwrap()
        };
        assert!(write("a") == write("b"));
    }

    #[test]
    fn what_was_written_can_be_read_and_added_to() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("archive");
        image(dir.path()).write("x:1", &archive).unwrap();
        let mut read = Image::saved(&archive, &dir.path().join("parts")).unwrap();
        let known = read.layers[0].digest.clone();
        assert_eq!(read.config["rootfs"]["diff_ids"], json!([format!("sha256:{known}")]));
        assert_eq!(read.config["config"], json!({ "WorkingDir": "/home/app" }));
        read.add(Layer::of(dir.path().join("layer")).unwrap(), "again");
        assert_eq!(read.config["history"], json!([{ "created_by": "a test" }, { "created_by": "again" }]));
        read.write("x:2", &archive).unwrap();
    }
}
