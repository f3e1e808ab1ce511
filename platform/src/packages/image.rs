//! `.cnb` files: a tar of an image in the layout of the Open Container Initiative. Every blob is checked against its digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::os::unix::fs::FileExt;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::unpack::{broken, path_of};
use super::zstd;
use crate::failure::{Failure, Result};

/// Where a layout begins.
const INDEX: &[u8] = b"index.json";
/// What it must have beside it.
const MARK: &[u8] = b"oci-layout";
/// Longest document.
const LONGEST: u64 = 4 << 20;
/// So many indexes may stand above an image.
const DEEPEST: usize = 4;

/// Where in the archive the parts of a layout are: offset and length.
pub(super) struct Blobs {
    index: (u64, u64),
    blobs: BTreeMap<String, (u64, u64)>,
}

/// An index or the manifest of an image: they are told apart by what they list.
#[derive(Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

impl Platform {
    fn fits(&self) -> bool {
        let ours = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        self.os == "linux" && self.architecture == ours
    }
}

impl Blobs {
    /// None if the archive is no image layout.
    pub(super) fn of(archive: &mut File) -> Result<Option<Self>> {
        archive.rewind().map_err(|e| broken(&e))?;
        let (mut index, mut marked, mut blobs) = (None, false, BTreeMap::new());
        let mut tar = tar::Archive::new(BufReader::new(archive));
        for entry in tar.entries().map_err(|e| broken(&e))? {
            let entry = entry.map_err(|e| broken(&e))?;
            let Some(path) = path_of(&entry) else { continue };
            let place = (entry.raw_file_position(), entry.size());
            if path == INDEX {
                index = Some(place);
            } else if let Some(name) = path.strip_prefix(b"blobs/sha256/") {
                blobs.insert(String::from_utf8_lossy(name).into_owned(), place);
            }
            marked |= path == MARK;
        }
        Ok(index.filter(|_| marked).map(|index| Self { index, blobs }))
    }

    /// The layers of its image, unpacked as they are read. Their digests are checked before.
    pub(super) fn layers<'a>(&self, archive: &'a File) -> Result<Vec<Box<dyn Read + 'a>>> {
        let index = document(Section::new(archive, self.index))?;
        let fitting = self.fitting(archive, index, DEEPEST)?;
        let layers = fitting.ok_or_else(|| Failure::plain("the image is not for machines of this kind"))?;
        layers.iter().map(|layer| unpacked(self.checked(archive, layer)?)).collect()
    }

    /// The layers of the first image that is for this machine. An index may list further ones.
    fn fitting(&self, archive: &File, document: Document, depth: usize) -> Result<Option<Vec<Descriptor>>> {
        if let Some(layers) = document.layers {
            return Ok(Some(layers));
        }
        let depth = depth.checked_sub(1).ok_or_else(|| broken(&"its indexes are nested too deep"))?;
        let listed = document.manifests.ok_or_else(|| broken(&"it has neither manifests nor layers"))?;
        for descriptor in listed.iter().filter(|listed| listed.platform.as_ref().is_none_or(Platform::fits)) {
            let found = self.fitting(archive, self::document(self.checked(archive, descriptor)?)?, depth)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// A blob that is what its digest says.
    fn checked<'a>(&self, archive: &'a File, blob: &Descriptor) -> Result<Section<'a>> {
        let wrong = |fault: &str| broken(&format!("the blob {} {fault}", blob.digest));
        let name = blob.digest.strip_prefix("sha256:").ok_or_else(|| wrong("is not named by sha256"))?;
        let section = Section::new(archive, *self.blobs.get(name).ok_or_else(|| wrong("is missing"))?);
        let (mut hasher, mut content, mut buffer) = (Sha256::new(), section, vec![0; 128 << 10]);
        while let length @ 1.. = content.read(&mut buffer).map_err(|e| broken(&e))? {
            hasher.update(&buffer[..length]);
        }
        let digest = hasher.finalize().iter().fold(String::new(), |digest, byte| format!("{digest}{byte:02x}"));
        if digest == name { Ok(section) } else { Err(wrong("has another content")) }
    }
}

/// A part of the archive, read wherever others read.
#[derive(Clone, Copy)]
struct Section<'a> {
    file: &'a File,
    next: u64,
    end: u64,
}

impl<'a> Section<'a> {
    fn new(file: &'a File, (offset, length): (u64, u64)) -> Self {
        Self { file, next: offset, end: offset.saturating_add(length) }
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let length = self.file.read_at(&mut buffer[..wanted], self.next)?;
        self.next += length as u64;
        Ok(length)
    }
}

/// A layer without its compression.
fn unpacked(layer: Section<'_>) -> Result<Box<dyn Read + '_>> {
    let mut magic = [0; 4];
    let length = layer.file.read_at(&mut magic, layer.next).map_err(|e| broken(&e))?;
    match &magic[..length] {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(layer)))),
        magic if *magic == zstd::MAGIC => Ok(Box::new(zstd::Frames::new(BufReader::new(layer)))),
        _ => Ok(Box::new(BufReader::new(layer))),
    }
}

fn document(section: Section<'_>) -> Result<Document> {
    let mut content = Vec::new();
    section.take(LONGEST + 1).read_to_end(&mut content).map_err(|e| broken(&e))?;
    if content.len() as u64 > LONGEST {
        return Err(broken(&"a manifest is too long"));
    }
    serde_json::from_slice(&content).map_err(|e| broken(&e))
}
