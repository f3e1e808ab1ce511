//! Writes a pack of given objects. Blocking.
//!
//! What is stored as a delta is sent as one, byte for byte, if its base is sent, too, or is known to the receiver ([`plan`]). For what is
//! left new deltas are looked for, within a bound of time ([`search`]).

mod delta;
mod plan;
mod rebuild;
mod search;
mod stored;

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use gix::hash::Hasher;
use gix::objs::Kind;
use gix_pack::data::Version;
use gix_pack::data::entry::Header;

use crate::ObjectId;
use crate::objects::Objects;
use plan::{How, Item, Target};
pub(crate) use rebuild::rebuild;
use search::Bounds;
pub(crate) use stored::Packs;

/// What is to be in a pack, and how it may be written.
pub(crate) struct Contents {
    /// The objects, once each, with [`name_hash`].
    pub(crate) objects: Vec<(ObjectId, u32)>,
    /// What the receiver has for sure: deltas may be against these, which are not in the pack.
    pub(crate) known: HashMap<ObjectId, u32>,
    /// Whether the receiver understands where a base is by its distance.
    pub(crate) distances: bool,
    /// How long new deltas are looked for.
    pub(crate) search: Duration,
}

/// Why a pack could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackingError {
    #[error("{0}")]
    Objects(#[from] gix::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Goes on with the hash of a path: what ends alike has hashes that are near each other. (pack-objects.h, `pack_name_hash`)
pub(crate) fn name_hash(hash: u32, part: &[u8]) -> u32 {
    let visible = part.iter().filter(|byte| !byte.is_ascii_whitespace());
    visible.fold(hash, |hash, byte| (hash >> 2).wrapping_add(u32::from(*byte) << 24))
}

/// Writes objects, and flushes.
pub(crate) fn write(
    objects: &Objects,
    contents: &Contents,
    output: impl Write,
    interrupt: &AtomicBool,
) -> Result<(), PackingError> {
    let packs = objects.packs()?;
    let mut items = plan::plan(contents, packs)?;
    if !contents.search.is_zero() {
        let bounds = Bounds { time: contents.search, interrupt };
        search::search(&mut items, &contents.known, packs, objects, &bounds)?;
    }
    let (offsets, hash) = (vec![0; items.len()], gix::hash::hasher(gix::hash::Kind::Sha1));
    let distances = contents.distances;
    let mut pack = Pack { packs, objects, items, offsets, distances, output, hash, written: 0 };
    pack.write_all(interrupt)
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

struct Pack<'a, W> {
    packs: &'a Packs,
    objects: &'a Objects,
    items: Vec<Item>,
    /// Where each begins; 0 before it is written.
    offsets: Vec<u64>,
    distances: bool,
    output: W,
    hash: Hasher,
    written: u64,
}

impl<W: Write> Pack<'_, W> {
    fn write_all(&mut self, interrupt: &AtomicBool) -> Result<(), PackingError> {
        let number = u32::try_from(self.items.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.write(&gix_pack::data::header::encode(Version::V2, number))?;
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        // As the packs are read fastest.
        order.sort_by_key(|number| self.items.get(*number).and_then(Item::place));
        for number in order {
            if interrupt.load(Ordering::Relaxed) {
                return Err(io::Error::from(io::ErrorKind::Interrupted).into());
            }
            self.write_with_bases(number)?;
        }
        let hash = self.hash.clone().try_finalize().map_err(gix::Error::from_error)?;
        self.output.write_all(hash.as_slice())?;
        Ok(self.output.flush()?)
    }

    /// What is not written yet of the objects that it is a delta of, and itself.
    fn write_with_bases(&mut self, number: usize) -> Result<(), PackingError> {
        let mut chain = Vec::new();
        let mut next = Some(number);
        while let Some(number) = next.filter(|number| self.offsets.get(*number) == Some(&0)) {
            chain.push(number);
            next = self.items.get(number).and_then(Item::before);
        }
        chain.into_iter().rev().try_for_each(|number| self.write_item(number))
    }

    fn write_item(&mut self, number: usize) -> Result<(), PackingError> {
        let Some((item, offset)) = self.items.get_mut(number).zip(self.offsets.get_mut(number)) else { return Ok(()) };
        *offset = self.written;
        let id = item.id;
        // A new delta is needed once.
        match std::mem::replace(&mut item.how, How::Compress) {
            How::Copy(place) => {
                let stored = self.packs.stored(place)?;
                let header = stored.kind.map_or(Header::Blob, header);
                self.write_entry(&header, stored.size, stored.compressed)
            }
            How::CopyDelta(place, target) => {
                let stored = self.packs.stored(place)?;
                self.write_entry(&self.against(target), stored.size, stored.compressed)
            }
            How::Delta(target, made) => self.write_entry(&self.against(target), made.size, &made.compressed),
            How::Compress => {
                let mut content = Vec::new();
                let kind = self.objects.read(id, &mut content)?;
                let (header, size, compressed) = (header(kind), content.len(), compress(&content)?);
                drop(content);
                self.write_entry(&header, size as u64, &compressed)
            }
        }
    }

    fn against(&self, target: Target) -> Header {
        match target {
            Target::Known(base_id) => Header::RefDelta { base_id },
            Target::Item(base) => {
                let offset = self.offsets.get(base).copied().unwrap_or_default();
                let base_id = self.items.get(base).map(|base| base.id);
                match base_id {
                    Some(base_id) if !self.distances => Header::RefDelta { base_id },
                    _ => Header::OfsDelta { base_distance: self.written - offset },
                }
            }
        }
    }

    fn write_entry(&mut self, header: &Header, size: u64, compressed: &[u8]) -> Result<(), PackingError> {
        let mut head = Vec::with_capacity(32);
        header.write_to(size, &mut head)?;
        self.write(&head)?;
        self.write(compressed)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackingError> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        Ok(self.output.write_all(bytes)?)
    }
}

fn header(kind: Kind) -> Header {
    match kind {
        Kind::Commit => Header::Commit,
        Kind::Tree => Header::Tree,
        Kind::Blob => Header::Blob,
        Kind::Tag => Header::Tag,
    }
}
