//! What is remembered of each object of a pack.

use gix::objs::Kind;

use crate::ObjectId;

/// An object as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where its header begins.
    pub(super) offset: u64,
    /// Bytes of that.
    pub(super) header: u8,
    /// Bytes that it, or the delta, has uncompressed.
    pub(super) size: u64,
    /// Of header and compressed bytes.
    pub(super) crc: u32,
    pub(super) base: Base,
    /// Once it is known.
    pub(super) id: ObjectId,
}

/// What an object is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// As a whole.
    Whole(Kind),
    /// As a delta to the entry of this number.
    Entry(u32),
    /// As a delta to this object, wherever it is.
    Named(ObjectId),
}
