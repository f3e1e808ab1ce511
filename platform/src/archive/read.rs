//! Reads the archive of a release, which may come from anybody: nothing is believed before it is checked.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use builder::inventory::{Inventory, Item, LONGEST_TEXT};
use builder::lay_out::{check, lay_out};
use builder::{Digest, store};
use gitd::PublicKey;
use gitd::signature::signer;
use tokio_util::sync::CancellationToken;

use super::{CONTENTS, Contents, NAMESPACE, SIGNATURE, file_name, list_name};
use crate::failure::{Failure, Result};
use crate::source::unpacked;

/// Longest description and signature.
const LONGEST_CONTENTS: u64 = 4 << 20;
const LONGEST_SIGNATURE: u64 = 16 << 10;
/// Bytes of an archive, packed and unpacked.
pub const MOST_BYTES: u64 = 8 << 30;

const BROKEN: &str = "export it again with `releases:export APP --format tar`, and send it uncut";

/// An archive whose signature has been checked.
#[derive(Debug)]
pub struct ReleaseArchive {
    file: File,
    /// What it says it is.
    pub contents: Contents,
    /// Who says so.
    pub signer: PublicKey,
}

/// Where its parts go.
pub struct Places<'a> {
    /// An empty directory for the code, and whom it is given to.
    pub code: &'a Path,
    /// Of the code.
    pub owner: Option<u32>,
    /// A new directory for the software bills of material.
    pub sbom: &'a Path,
    /// An empty directory on the file system of the store.
    pub scratch: &'a Path,
    /// The store of layers.
    pub store: &'a Path,
}

/// What was laid out.
#[derive(Debug, PartialEq, Eq)]
pub struct Lists {
    /// Of the code.
    pub code: Inventory,
    /// Of the software bills of material, if there are any.
    pub sbom: Option<Inventory>,
}

impl ReleaseArchive {
    /// Whether something that begins so is the archive of a release, and not of a tree.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(CONTENTS.as_bytes()) && bytes.get(CONTENTS.len()) == Some(&0)
    }

    /// Reads the description and checks its signature; None if it is the archive of a tree. Whether the signer is trusted is still to
    /// be asked.
    pub fn open(file: File) -> Result<Option<Self>> {
        let mut start = Vec::new();
        let begins = unpacked(&file, 64).and_then(|mut reader| reader.read_to_end(&mut start));
        if begins.is_err() || !Self::begins(&start) {
            return Ok(None);
        }
        let (text, signature) = head(&file).map_err(|e| broken(&e))?;
        let signer = signer(&String::from_utf8_lossy(&signature), NAMESPACE, &text);
        let signer =
            signer.map_err(|e| Failure::new(format!("the signature of the release is not valid: {e}"), BROKEN))?;
        let contents =
            Contents::parse(&text).map_err(|e| Failure::new(format!("the release is refused: {e}"), BROKEN))?;
        Ok(Some(Self { file, contents, signer }))
    }

    /// Lays the code out and puts the layers into the store, in this order: everything is read and checked, then the first layer is placed.
    pub fn unpack(&self, places: &Places<'_>, cancel: &CancellationToken) -> Result<Lists> {
        self.try_unpack(places, cancel).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => Failure::plain("cancelled"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::disk_full(),
            _ => broken(&error),
        })
    }

    fn try_unpack(&self, places: &Places<'_>, cancel: &CancellationToken) -> io::Result<Lists> {
        let mut archive = tar::Archive::new(unpacked(&self.file, MOST_BYTES)?);
        let mut parts = Parts { entries: archive.entries()? };
        parts.bytes(CONTENTS.as_bytes(), LONGEST_CONTENTS)?;
        parts.bytes(SIGNATURE.as_bytes(), LONGEST_SIGNATURE)?;
        let (mut code, mut sbom, mut layers) = (None, None, Vec::new());
        for digest in self.contents.trees() {
            let files = parts.list(digest)?;
            let mut fetch = |item: &Item, to: &mut dyn Write| parts.copy(digest, item, to, cancel);
            if code.is_none() {
                lay_out(&files, places.code, places.owner, &mut fetch)?;
                code = Some(files);
            } else if self.contents.manifest.sbom.as_ref() == Some(digest) {
                std::fs::create_dir(places.sbom)?;
                lay_out(&files, places.sbom, None, &mut fetch)?;
                sbom = Some(files);
            } else if store::layer(places.store, digest).is_dir() {
                files.items().iter().try_for_each(|item| check(item, io::sink(), &mut fetch).map(drop))?;
            } else {
                let place = made(places.scratch, digest)?;
                lay_out(&files, &place, None, &mut fetch)?;
                layers.push((place, files));
            }
        }
        parts.end()?;
        store::add(places.store, places.scratch, layers, places.owner.is_some())?;
        Ok(Lists { code: code.ok_or_else(|| odd("it has no code"))?, sbom })
    }
}

/// Description and signature.
fn head(file: &File) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut archive = tar::Archive::new(unpacked(file, MOST_BYTES)?);
    let mut parts = Parts { entries: archive.entries()? };
    let text = parts.bytes(CONTENTS.as_bytes(), LONGEST_CONTENTS)?;
    Ok((text, parts.bytes(SIGNATURE.as_bytes(), LONGEST_SIGNATURE)?))
}

fn made(scratch: &Path, digest: &Digest) -> io::Result<PathBuf> {
    let place = scratch.join(digest.as_str());
    std::fs::create_dir(&place)?;
    Ok(place)
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(format!("the archive of the release cannot be read: {error}"), BROKEN)
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The entries, of which each is expected under its name.
struct Parts<'a, R: Read> {
    entries: tar::Entries<'a, R>,
}

impl<'a, R: Read> Parts<'a, R> {
    fn next(&mut self, name: &[u8]) -> io::Result<tar::Entry<'a, R>> {
        let entry = self.entries.next().ok_or_else(|| odd("it ends too early"))??;
        let is_file = entry.header().entry_type() == tar::EntryType::Regular;
        if !is_file || *entry.path_bytes() != *name {
            let found = String::from_utf8_lossy(&entry.path_bytes()).escape_debug().to_string();
            let expected = String::from_utf8_lossy(name).escape_debug().to_string();
            return Err(odd(&format!("it has {found} where {expected} should be")));
        }
        Ok(entry)
    }

    fn bytes(&mut self, name: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let entry = self.next(name)?;
        if entry.size() > limit {
            return Err(odd(&format!("{} is too long", String::from_utf8_lossy(name))));
        }
        let mut bytes = Vec::new();
        entry.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&mut self, digest: &Digest) -> io::Result<Inventory> {
        let text = self.bytes(list_name(digest).as_bytes(), LONGEST_TEXT)?;
        if Inventory::digest_of(&text) != *digest {
            return Err(odd(&format!("the list of files of {digest} has been changed")));
        }
        Inventory::parse(&text).map_err(|error| odd(&error.to_string()))
    }

    fn copy(&mut self, digest: &Digest, item: &Item, to: &mut dyn Write, cancel: &CancellationToken) -> io::Result<()> {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let name = file_name(digest, &item.path);
        let copied = io::copy(&mut self.next(&name)?, to);
        let named = |error: io::Error| match error.kind() {
            io::ErrorKind::InvalidData => {
                odd(&format!("{} {error}", String::from_utf8_lossy(&item.path).escape_debug()))
            }
            _ => error,
        };
        copied.map(drop).map_err(named)
    }

    fn end(&mut self) -> io::Result<()> {
        match self.entries.next() {
            None => Ok(()),
            Some(_) => Err(odd("it goes on after its end")),
        }
    }
}

#[cfg(test)]
mod tests;
