//! Takes a pack in and makes its index, as `git index-pack --fix-thin` does, within bounds. Blocking. (gitformat-pack(5))
//!
//! What comes is read once: a whole object is hashed while it arrives, however large, and is not kept. Then the deltas are rebuilt,
//! several families of them at a time, with no more of their bases in memory than [`resolve`] says.

mod delta;
mod entry;
mod index;
mod input;
mod reader;
mod resolve;
#[cfg(test)]
mod tests;
mod thin;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::hash::Hasher;
use gix::objs::Kind;

use crate::objects::Objects;
use crate::stall::Stalled;
use crate::{Limits, ObjectId};
pub(crate) use delta::apply;
use entry::{Base, Entry};
use reader::Reader;
use resolve::Resolver;

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;
/// `PACK`, version, number of objects.
const HEADER: usize = 12;
/// Bytes of bases that each thread keeps.
pub(crate) const KEPT: usize = 16 << 20;

/// Why a pack was not taken. The words are git's where git has some.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexPackError<E> {
    #[error("pack exceeds maximum allowed size ({0} bytes)")]
    PackTooLarge(u64),
    #[error("a pack of {0} objects exceeds the maximum allowed number ({1})")]
    TooManyObjects(u32, u32),
    #[error("an object exceeds the maximum allowed size ({0} bytes)")]
    ObjectTooLarge(u64),
    #[error("pack exceeds maximum allowed size when unpacked ({0} bytes)")]
    UnpacksTooLarge(u64),
    #[error("{0}")]
    Stalled(#[from] Stalled),
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Broken(&'static str),
    #[error("pack has {0} unresolved deltas")]
    Unresolved(usize),
    #[error("{0}")]
    Bases(String),
    #[error("interrupted")]
    Interrupted,
    #[error("object {0}: {1}")]
    Unsound(ObjectId, E),
}

impl<E> IndexPackError<E> {
    /// Nothing may be wrong with the pack, but it is too much, or comes too slowly.
    pub(crate) fn is_bound(&self) -> bool {
        matches!(
            self,
            Self::PackTooLarge(_)
                | Self::TooManyObjects(..)
                | Self::ObjectTooLarge(_)
                | Self::UnpacksTooLarge(_)
                | Self::Stalled(_)
        )
    }
}

impl<E> From<io::Error> for IndexPackError<E> {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Broken("early EOF");
        }
        Stalled::behind(&error).map_or(Self::Io(error), Self::Stalled)
    }
}

/// How much there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) objects: u32,
    /// Bytes of one object, and of one delta, unpacked.
    pub(crate) object: u64,
    /// Bytes of all objects, unpacked; also of what has to be rebuilt again because there was no room to keep it.
    pub(crate) unpacked: u64,
    /// Bytes of bases that a thread keeps besides the one at hand. An object of more is large.
    pub(crate) kept: usize,
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        Self {
            bytes: limits.pack_bytes,
            objects: limits.pack_objects,
            object: limits.object_bytes as u64,
            unpacked: limits.unpacked_bytes,
            kept: KEPT,
        }
    }
}

/// Looks at each commit, tree and tag as it is unpacked, from several threads at once.
pub(crate) trait Inspect: Sync {
    type Problem: Send;
    /// So many objects will be in the pack.
    fn expect(&mut self, objects: u32);
    fn look(&self, id: ObjectId, kind: Kind, content: &[u8]) -> Result<(), Self::Problem>;
}

/// Looks at nothing.
impl Inspect for () {
    type Problem = std::convert::Infallible;
    fn expect(&mut self, _: u32) {}
    fn look(&self, _: ObjectId, _: Kind, _: &[u8]) -> Result<(), Self::Problem> {
        Ok(())
    }
}

/// Writes the pack and its index into `directory`, unless it is empty. The input is not read past its end. Bases that a pack lacks are
/// taken from `bases`. The number of objects.
pub(crate) fn index_pack<I: Inspect>(
    input: impl Read,
    directory: &Path,
    bases: Option<&Objects>,
    bounds: Bounds,
    inspector: &mut I,
    interrupt: &AtomicBool,
) -> Result<usize, IndexPackError<I::Problem>> {
    let (file, path) = tempfile::NamedTempFile::new_in(directory)?.into_parts();
    let mut reader = Reader::new(input, &file, bounds, interrupt)?;
    inspector.expect(reader.objects);
    let mut entries = reader.entries(inspector)?;
    let (mut end, mut trailer, unpacked) = reader.finish()?;
    let resolver = Resolver::new(&file, bounds, unpacked, &entries, interrupt);
    resolver.run(&mut entries, 0, end, inspector)?;
    let missing = resolver.wanted();
    if !missing.is_empty() {
        let whole = entries.len();
        end = thin::add_bases(&mut entries, &missing, bases, &file, end)?;
        resolver.run(&mut entries, whole, end, inspector)?;
        trailer = thin::rewrite(&file, entries.len(), end)?;
    }
    match resolver.wanted().len() {
        0 => {}
        unresolved => return Err(IndexPackError::Unresolved(unresolved)),
    }
    if !entries.is_empty() {
        io::Write::write_all(&mut thin::at(&file, end)?, trailer.as_slice())?;
        keep(path, directory, trailer, &mut entries)?;
    }
    Ok(entries.len())
}

/// Gives pack and index their names.
fn keep(path: tempfile::TempPath, directory: &Path, trailer: ObjectId, entries: &mut [Entry]) -> io::Result<()> {
    let name = directory.join(format!("pack-{trailer}.pack"));
    index::write(File::create_new(name.with_extension("idx"))?, entries, trailer)?;
    path.persist(&name).map_err(|error| error.error)
}

/// The name of an object whose content goes through the hasher.
fn hasher(kind: Kind, size: u64) -> Hasher {
    let mut hasher = gix::hash::hasher(SHA1);
    hasher.update(&gix::objs::encode::loose_header(kind, size));
    hasher
}

fn finalize<E>(hasher: Hasher) -> Result<ObjectId, IndexPackError<E>> {
    hasher.try_finalize().map_err(|_| IndexPackError::Broken("an object is made to collide with another one"))
}
