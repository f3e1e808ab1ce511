//! The packs of a repository, as bytes: what is stored there can be sent as it is. Blocking.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gix_pack::data::File as Data;
use gix_pack::data::entry::Header;
use gix_pack::index::File as Index;

use crate::ObjectId;

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;

/// All packs of object directories, mapped into memory.
pub(crate) struct Packs(Vec<Pack>);

struct Pack {
    data: Data,
    index: Index,
    /// Where each object begins, and its place in the index; by offset.
    offsets: Vec<(u64, u32)>,
}

/// An object in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) pack: usize,
    pub(super) offset: u64,
}

/// What is stored there.
pub(super) struct Stored<'a> {
    pub(super) base: Option<ObjectId>,
    /// Of a whole object.
    pub(super) kind: Option<gix::objs::Kind>,
    /// Of the object or the delta, before compression.
    pub(super) size: u64,
    pub(super) compressed: &'a [u8],
}

impl Packs {
    pub(crate) fn open(directories: impl IntoIterator<Item = PathBuf>) -> Result<Self, gix::Error> {
        let mut packs = Vec::new();
        for directory in directories {
            for index in indexes(&directory.join("pack")).map_err(gix::Error::from_error)? {
                packs.push(Pack::open(&index)?);
            }
        }
        // Most of what is looked for is in the largest.
        packs.sort_by_key(|pack| std::cmp::Reverse(pack.offsets.len()));
        Ok(Self(packs))
    }

    /// Every pack that has the object.
    pub(super) fn places(&self, id: ObjectId) -> impl Iterator<Item = Place> {
        self.0.iter().enumerate().filter_map(move |(number, pack)| {
            let offset = pack.index.pack_offset_at_index(pack.index.lookup(id)?);
            Some(Place { pack: number, offset })
        })
    }

    pub(super) fn stored(&self, place: Place) -> Result<Stored<'_>, gix::Error> {
        let broken = || gix::Error::from_error(io::Error::from(io::ErrorKind::InvalidData));
        self.0.get(place.pack).ok_or_else(broken)?.stored(place.offset)?.ok_or_else(broken)
    }
}

/// The paths of their indexes.
fn indexes(packs: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(packs)?.map(|entry| Ok(entry?.path()));
    let is_index = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "idx");
    paths.filter(|path| path.as_ref().map_or(true, is_index)).collect()
}

impl Pack {
    fn open(path: &Path) -> Result<Self, gix::Error> {
        let (data, index) = (Data::at(path.with_extension("pack"), SHA1)?, Index::at(path, SHA1)?);
        let mut offsets: Vec<_> =
            (0..index.num_objects()).map(|number| (index.pack_offset_at_index(number), number)).collect();
        offsets.sort_unstable();
        Ok(Self { data, index, offsets })
    }

    /// None where the pack is not what its index says.
    fn stored(&self, offset: u64) -> Result<Option<Stored<'_>>, gix::Error> {
        let Some(position) = self.position(offset) else { return Ok(None) };
        let end = self.offsets.get(position + 1).map_or(self.data.pack_end() as u64, |(next, _)| *next);
        let entry = self.data.entry(offset)?;
        let base = match entry.header {
            Header::OfsDelta { base_distance } => {
                let base = entry.checked_base_pack_offset(base_distance).and_then(|base| self.id(base));
                if base.is_none() {
                    return Ok(None);
                }
                base
            }
            Header::RefDelta { base_id } => Some(base_id),
            _ => None,
        };
        let compressed = self.data.entry_slice(entry.data_offset..end);
        let (kind, size) = (entry.header.as_kind(), entry.decompressed_size);
        Ok(compressed.map(|compressed| Stored { base, kind, size, compressed }))
    }

    fn id(&self, offset: u64) -> Option<ObjectId> {
        let (_, number) = self.offsets.get(self.position(offset)?)?;
        Some(self.index.oid_at_index(*number).to_owned())
    }

    fn position(&self, offset: u64) -> Option<usize> {
        self.offsets.binary_search_by_key(&offset, |(offset, _)| *offset).ok()
    }
}
