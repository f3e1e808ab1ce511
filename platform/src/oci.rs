//! Images in the layout of the Open Container Initiative, as one tar, which also has the file of Docker's older archives: so
//! `docker load`, podman and skopeo all take it. It is written without a file in between: each layer is made twice, once
//! to learn its digest. Equal layers over an equal base make an equal archive.
//!
//! (The engine writes images for Docker, too, from directories as they are, with their times; see its `docker/image`.)

mod base;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use builder::inventory::Content;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::archive::{EPOCH, Exactly, Tree};

pub use base::Base;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What a layer adds.
pub enum Layer {
    /// Directories with their owners, links, and short texts.
    Places {
        /// Paths without a leading `/`, parents first.
        directories: Vec<(PathBuf, u32)>,
        /// Links, and where they lead.
        links: Vec<(PathBuf, PathBuf)>,
        /// Files and their content.
        texts: Vec<(PathBuf, String)>,
    },
    /// One program, in a directory that another layer has.
    Program {
        /// Its bytes.
        file: File,
        /// How many there are.
        size: u64,
        /// Where.
        target: PathBuf,
    },
    /// A tree at a place, whose parents another layer has.
    Tree {
        /// What.
        tree: Tree,
        /// Where.
        target: PathBuf,
        /// Whose (user and group).
        owner: u32,
    },
    /// A layer of the base: bytes of a file.
    Saved {
        /// Which file.
        file: File,
        /// Where they begin.
        offset: u64,
        /// How many there are.
        size: u64,
        /// With gzip.
        packed: bool,
    },
}

/// How an image is run, and what it is: names are those of the specification of images.
pub struct Description {
    /// `APP:vN`.
    pub name: String,
    /// As images name it: `amd64`.
    pub architecture: &'static str,
    /// `Env`, `Entrypoint`, `Labels` and so on.
    pub config: Value,
}

/// Something with a digest.
struct Blob<'a> {
    digest: String,
    size: u64,
    content: &'a Layer,
}

/// Writes the archive of an image: the base's layers, then these.
pub fn write(description: &Description, base: &Base, layers: &[Layer], to: impl Write) -> io::Result<()> {
    let blobs = base.layers.iter().chain(layers).map(Layer::blob).collect::<io::Result<Vec<_>>>()?;
    let own = blobs.iter().skip(base.layers.len()).map(|blob| format!("sha256:{}", blob.digest));
    let diff_ids: Vec<String> = base.diff_ids.iter().cloned().chain(own).collect();
    let config = serde_json::to_vec(&json!({
        "created": "1980-01-01T00:00:01Z",
        "architecture": description.architecture,
        "os": "linux",
        "config": description.config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": blobs.iter().map(Blob::descriptor).collect::<Vec<_>>(),
    }))?;
    let mut indexed = descriptor(MANIFEST, &manifest);
    let name = &description.name;
    indexed["annotations"] = json!({ "org.opencontainers.image.ref.name": name, "io.containerd.image.name": name });
    let paths: Vec<String> = blobs.iter().map(|blob| path(&blob.digest)).collect();
    let older = json!([{ "Config": path(&digest(&config)), "RepoTags": [name], "Layers": paths }]);

    let mut archive = Builder::new(to);
    put(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put(&mut archive, "index.json", &serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [indexed] }))?)?;
    put(&mut archive, "manifest.json", &serde_json::to_vec(&older)?)?;
    put(&mut archive, path(&digest(&config)), &config)?;
    put(&mut archive, path(&digest(&manifest)), &manifest)?;
    let mut written = BTreeSet::new();
    for blob in blobs.iter().filter(|blob| written.insert(&blob.digest)) {
        blob.put(&mut archive)?;
    }
    archive.into_inner()?.flush()
}

impl Blob<'_> {
    fn descriptor(&self) -> Value {
        let packed = matches!(self.content, Layer::Saved { packed: true, .. });
        let kind = format!("{LAYER}{}", if packed { "+gzip" } else { "" });
        json!({ "mediaType": kind, "digest": format!("sha256:{}", self.digest), "size": self.size })
    }

    /// The content once more, which must be what it was.
    fn put<W: Write>(&self, archive: &mut Builder<W>) -> io::Result<()> {
        let mut header = header(EntryType::Regular, 0o644, self.size, 0);
        header.set_path(path(&self.digest))?;
        header.set_cksum();
        archive.get_mut().write_all(header.as_bytes())?;
        let mut sum = Sum { sha: Sha256::new(), size: 0, to: archive.get_mut() };
        self.content.write(&mut sum)?;
        let (digest, size) = (hex(&sum.sha.finalize()), sum.size);
        if (digest, size) != (self.digest.clone(), self.size) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a layer changed while it was written"));
        }
        let rest = usize::try_from((512 - size % 512) % 512).unwrap_or(0);
        archive.get_mut().write_all(&[0; 512][..rest])
    }
}

impl Layer {
    fn blob(&self) -> io::Result<Blob<'_>> {
        let mut sum = Sum { sha: Sha256::new(), size: 0, to: io::sink() };
        self.write(&mut sum)?;
        Ok(Blob { digest: hex(&sum.sha.finalize()), size: sum.size, content: self })
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Places { directories, links, texts } => {
                let mut archive = Builder::new(to);
                for (path, owner) in directories {
                    directory(&mut archive, path, *owner)?;
                }
                for (path, target) in links {
                    link(&mut archive, path, target, 0)?;
                }
                for (path, text) in texts {
                    put(&mut archive, path, text.as_bytes())?;
                }
                archive.into_inner()?.flush()
            }
            Self::Program { file, size, target } => {
                let mut archive = Builder::new(to);
                let mut header = header(EntryType::Regular, 0o755, *size, 0);
                archive.append_data(&mut header, target, part(file, 0, *size)?)?;
                archive.into_inner()?.flush()
            }
            Self::Tree { tree, target, owner } => {
                let mut archive = Builder::new(to);
                directory(&mut archive, target, *owner)?;
                write_tree(&mut archive, tree, target, *owner)?;
                archive.into_inner()?.flush()
            }
            Self::Saved { file, offset, size, .. } => io::copy(&mut part(file, *offset, *size)?, to).map(drop),
        }
    }
}

/// So many bytes of a file, or an error.
fn part(file: &File, offset: u64, size: u64) -> io::Result<impl Read> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(Exactly { file: file.take(size), left: size })
}

fn write_tree<W: Write>(archive: &mut Builder<W>, tree: &Tree, target: &Path, owner: u32) -> io::Result<()> {
    for item in tree.files.items() {
        let path = target.join(OsStr::from_bytes(&item.path));
        match &item.content {
            Content::Directory => directory(archive, &path, owner)?,
            Content::Symlink(to) => link(archive, &path, Path::new(OsStr::from_bytes(to)), owner)?,
            Content::File { size, executable, .. } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                let file = builder::lay_out::open(&tree.root, item)?.take(*size);
                let mut header = header(EntryType::Regular, mode, *size, owner);
                archive.append_data(&mut header, path, Exactly { file, left: *size })?;
            }
        }
    }
    Ok(())
}

fn directory<W: Write>(archive: &mut Builder<W>, path: &Path, owner: u32) -> io::Result<()> {
    archive.append_data(&mut header(EntryType::Directory, 0o755, 0, owner), path, io::empty())
}

fn link<W: Write>(archive: &mut Builder<W>, path: &Path, target: &Path, owner: u32) -> io::Result<()> {
    archive.append_link(&mut header(EntryType::Symlink, 0o777, 0, owner), path, target)
}

fn put<W: Write>(archive: &mut Builder<W>, path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(EntryType::Regular, 0o644, content.len() as u64, 0), path, content)
}

fn header(kind: EntryType, mode: u32, size: u64, owner: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(EPOCH);
    header.set_uid(owner.into());
    header.set_gid(owner.into());
    header
}

fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": format!("sha256:{}", digest(content)), "size": content.len() })
}

fn path(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Counts and hashes what passes.
struct Sum<W> {
    sha: Sha256,
    size: u64,
    to: W,
}

impl<W: Write> Write for Sum<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.sha.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests;
