//! Reading objects, with a bound on the memory that one of them may take. Blocking.

use std::cell::OnceCell;
use std::io;
use std::path::Path;
use std::sync::Arc;

use gix::objs::{Exists, Find, Kind};
use gix::odb::store::init::Options;
use gix::odb::{HandleArc, Header};

use crate::ObjectId;
use crate::packing::{self, Packs};

/// Unpacked bytes kept to rebuild deltas from.
const DELTA_BASES: usize = 32 << 20;

/// To rebuild an object from deltas takes its base and itself, and the deltas all at once: together no more than so many times the
/// largest object.
const REBUILT: usize = 3;

/// Reads the objects of a directory, and of those it borrows from.
#[derive(Clone)]
pub(crate) struct Objects {
    handle: HandleArc,
    /// Bytes of the largest object.
    limit: usize,
    /// As they were when one of them was needed first.
    packs: OnceCell<Arc<Packs>>,
}

impl Objects {
    /// Of a directory of which no object is larger than `limit` bytes.
    pub(crate) fn open(directory: &Path, limit: usize) -> io::Result<Self> {
        let options = Options { alloc_limit_bytes: Some(limit.saturating_mul(REBUILT)), ..Options::default() };
        let mut handle = gix::odb::at_opts(directory, gix::hash::Kind::Sha1, None, options)?.into_arc()?;
        handle.set_pack_cache(|| Box::new(gix_pack::cache::lru::MemoryCappedHashmap::new(DELTA_BASES)));
        Ok(Self { handle, limit, packs: OnceCell::new() })
    }

    /// Whether there is such an object.
    pub(crate) fn exists(&self, id: ObjectId) -> bool {
        self.handle.exists(&id)
    }

    /// Kind and size of an object, if it exists.
    pub(crate) fn try_header(&self, id: ObjectId) -> Result<Option<(Kind, u64)>, gix::Error> {
        let header = Header::try_header(&self.handle, &id)?;
        Ok(header.map(|header| (header.kind(), header.size())))
    }

    /// Kind and size of an object.
    pub(crate) fn header(&self, id: ObjectId) -> Result<(Kind, u64), gix::Error> {
        self.try_header(id)?.ok_or_else(|| missing(id))
    }

    /// The kind of an object, if it exists.
    pub(crate) fn kind(&self, id: ObjectId) -> Option<Kind> {
        self.try_header(id).ok().flatten().map(|(kind, _)| kind)
    }

    /// How many objects there are in packs.
    pub(crate) fn packed(&self) -> u64 {
        self.handle.packed_object_count().unwrap_or_default()
    }

    /// The packs, opened once.
    pub(crate) fn packs(&self) -> Result<&Packs, gix::Error> {
        if let Some(packs) = self.packs.get() {
            return Ok(packs);
        }
        let store = self.handle.store_ref();
        let borrowed = store.alternate_db_paths().map_err(gix::Error::from_error)?;
        let directories = std::iter::once(store.path().to_owned()).chain(borrowed);
        let packs = Arc::new(Packs::open(directories)?);
        Ok(self.packs.get_or_init(|| packs))
    }

    /// Puts an object into `content`, and nothing else; the chain of deltas that it is stored as may be any.
    pub(crate) fn read(&self, id: ObjectId, content: &mut Vec<u8>) -> Result<Kind, gix::Error> {
        self.try_read(id, content)?.ok_or_else(|| missing(id))
    }

    /// As [`Self::read`]; None if there is none.
    pub(crate) fn try_read(&self, id: ObjectId, content: &mut Vec<u8>) -> Result<Option<Kind>, gix::Error> {
        let found = self.handle.try_find(&id, content).map(|found| found.map(|object| object.kind));
        match found {
            Err(error) if error.is_resource_exhausted() => {
                let rebuilt = packing::rebuild(self.packs()?, id, self.limit, content)?;
                // What is not in a pack is too large by itself.
                rebuilt.map(Some).ok_or(error)
            }
            found => found,
        }
    }
}

fn missing(id: ObjectId) -> gix::Error {
    gix::Error::from_error(io::Error::new(io::ErrorKind::NotFound, format!("no object {id}")))
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_loose_object_that_is_too_large_is_not_called_missing() {
        let home = tempfile::tempdir().unwrap();
        let object = [b"blob 5000\0".as_slice(), &[b'x'; 5000]].concat();
        let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
        hasher.update(&object);
        let id = hasher.try_finalize().unwrap();
        let (start, rest) = (id.to_string()[..2].to_owned(), id.to_string()[2..].to_owned());
        std::fs::create_dir(home.path().join("pack")).unwrap();
        std::fs::create_dir(home.path().join(&start)).unwrap();
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&object).unwrap();
        std::fs::write(home.path().join(start).join(rest), encoder.finish().unwrap()).unwrap();
        let read = |limit| Objects::open(home.path(), limit).unwrap().try_read(id, &mut Vec::new());
        assert_eq!(read(5000).unwrap(), Some(Kind::Blob));
        assert!(read(1000).unwrap_err().is_resource_exhausted());
    }
}
