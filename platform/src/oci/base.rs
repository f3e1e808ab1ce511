//! What an image is put over: another image, as `docker save` and `skopeo copy … docker-archive:` write it. It may come from anybody; nothing of
//! it is unpacked, its layers are passed on as they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use serde::Deserialize;

use super::Layer;

/// Longest `manifest.json` and configuration.
const LONGEST_JSON: u64 = 4 << 20;
/// More entries or layers are refused.
const MOST: usize = 10_000;

/// Layers below an image's own.
#[derive(Default)]
pub struct Base {
    pub(super) layers: Vec<Layer>,
    pub(super) diff_ids: Vec<String>,
    /// As images name it; None for no base.
    pub architecture: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    architecture: String,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Where an entry's bytes are.
#[derive(Clone, Copy)]
struct Range {
    offset: u64,
    size: u64,
}

impl Base {
    /// The first image in a saved archive.
    pub fn read(file: &File) -> io::Result<Self> {
        let entries = entries(file)?;
        let manifests: Vec<Manifest> = json(file, &entries, "manifest.json")?;
        let manifest = manifests.into_iter().next().ok_or_else(|| odd("it has no image"))?;
        let config: Config = json(file, &entries, &manifest.config)?;
        let is_diff_id =
            |text: &String| text.strip_prefix("sha256:").is_some_and(|hash| hash.len() == 64 && is_hex(hash));
        let fits = manifest.layers.len() == config.rootfs.diff_ids.len() && manifest.layers.len() <= MOST;
        if !fits || !config.rootfs.diff_ids.iter().all(is_diff_id) {
            return Err(odd("its layers and their digests do not fit"));
        }
        let layers = manifest.layers.iter().map(|name| layer(file, &entries, name)).collect::<io::Result<_>>()?;
        Ok(Self { layers, diff_ids: config.rootfs.diff_ids, architecture: Some(config.architecture) })
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn entries(file: &File) -> io::Result<BTreeMap<String, Range>> {
    let mut start = file.try_clone()?;
    start.rewind()?;
    let mut archive = tar::Archive::new(BufReader::new(start));
    let mut found = BTreeMap::new();
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.header().entry_type() != tar::EntryType::Regular {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        found.insert(name, Range { offset: entry.raw_file_position(), size: entry.size() });
        if found.len() > MOST {
            return Err(odd("it has too many files"));
        }
    }
    Ok(found)
}

fn find(entries: &BTreeMap<String, Range>, name: &str) -> io::Result<Range> {
    let range = entries.get(name).copied();
    range.ok_or_else(|| odd(&format!("{} is not in it as a file", name.escape_debug())))
}

fn json<T: serde::de::DeserializeOwned>(file: &File, entries: &BTreeMap<String, Range>, name: &str) -> io::Result<T> {
    let range = find(entries, name)?;
    if range.size > LONGEST_JSON {
        return Err(odd(&format!("{} is too long", name.escape_debug())));
    }
    let mut bytes = Vec::new();
    at(file, range)?.read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|error| odd(&format!("{}: {error}", name.escape_debug())))
}

fn layer(file: &File, entries: &BTreeMap<String, Range>, name: &str) -> io::Result<Layer> {
    let range = find(entries, name)?;
    let mut magic = Vec::new();
    at(file, range)?.take(2).read_to_end(&mut magic)?;
    Ok(Layer::Saved { file: file.try_clone()?, offset: range.offset, size: range.size, packed: magic == [0x1f, 0x8b] })
}

fn at(file: &File, range: Range) -> io::Result<impl Read> {
    let mut file = file.try_clone()?;
    file.seek(io::SeekFrom::Start(range.offset))?;
    Ok(file.take(range.size))
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
