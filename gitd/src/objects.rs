//! Reading objects, with a bound on the memory that one of them may take.

use std::io;
use std::path::Path;

use gix::odb::Handle;
use gix::odb::store::init::Options;

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
