//! Reading objects, with a bound on the memory that one of them may take.

use std::io;
use std::path::Path;

use gix::objs::{Find, Kind};
use gix::odb::Handle;
use gix::odb::store::init::Options;

use crate::{ObjectId, packing};

/// Unpacked bytes kept to rebuild deltas from.
const DELTA_BASES: usize = 32 << 20;

/// To rebuild an object from deltas takes its base and itself, and the deltas all at once: together no more than so many times the
/// largest object.
const REBUILT: usize = 3;

/// Opens an object directory (and those it borrows from), of which no object is larger than `limit` bytes.
pub(crate) fn open(directory: &Path, limit: Option<usize>) -> io::Result<Handle> {
    let alloc_limit_bytes = limit.map(|limit| limit.saturating_mul(REBUILT));
    let options = Options { alloc_limit_bytes, ..Options::default() };
    let mut handle = gix::odb::at_opts(directory, gix::hash::Kind::Sha1, None, options)?;
    handle.set_pack_cache(|| Box::new(gix_pack::cache::lru::MemoryCappedHashmap::new(DELTA_BASES)));
    Ok(handle)
}

/// Puts an object of `limit` bytes at most into `content`, and nothing else; the chain of deltas that it is stored as may be any. None if
/// there is none.
pub(crate) fn read(
    objects: &Handle,
    id: ObjectId,
    limit: usize,
    content: &mut Vec<u8>,
) -> Result<Option<Kind>, gix::Error> {
    match objects.try_find(&id, content).map(|found| found.map(|object| object.kind)) {
        Err(error) if error.is_resource_exhausted() => rebuild(objects, id, limit, content),
        found => found,
    }
}

fn rebuild(objects: &Handle, id: ObjectId, limit: usize, content: &mut Vec<u8>) -> Result<Option<Kind>, gix::Error> {
    let store = objects.store_ref();
    let borrowed = store.alternate_db_paths().map_err(gix::Error::from_error)?;
    for directory in std::iter::once(store.path().to_owned()).chain(borrowed) {
        if let Some(kind) = packing::rebuild(&directory, id, limit, content)? {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}
