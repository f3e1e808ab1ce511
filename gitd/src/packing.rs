//! Writes a pack of given objects. Blocking.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

use gix::odb::Handle;
use gix_pack::data::Version;
use gix_pack::data::output::bytes::FromEntriesIter;
use gix_pack::data::output::{count, entry};

use crate::ObjectId;

const THREADS: usize = 2;

/// Why a pack could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackingError {
    #[error("{0}")]
    Objects(#[from] gix::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Writes the objects and flushes; deltas are taken over where they are.
pub(crate) fn write(
    objects: Handle,
    ids: Vec<ObjectId>,
    output: impl Write,
    interrupt: &AtomicBool,
) -> Result<(), PackingError> {
    let mut objects = objects.into_arc()?;
    // Packs that are looked at must not go away in between.
    objects.prevent_pack_unload();
    let options = count::objects::Options { thread_limit: Some(THREADS), ..count::objects::Options::default() };
    let ids = Box::new(ids.into_iter().map(Ok));
    let (counts, _) = count::objects(objects.clone(), ids, &gix::progress::Discard, interrupt, options)?;
    let number = u32::try_from(counts.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let options = entry::iter_from_counts::Options { thread_limit: Some(THREADS), ..Default::default() };
    let entries = entry::iter_from_counts(counts, objects, Box::new(gix::progress::Discard), options)?;
    let entries = gix::parallel::InOrderIter::from(entries);
    let mut pack = FromEntriesIter::new(entries, output, number, Version::V2, gix::hash::Kind::Sha1);
    for written in &mut pack {
        written?;
    }
    Ok(pack.into_write().flush()?)
}
