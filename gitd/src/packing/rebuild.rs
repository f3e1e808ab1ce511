//! Rebuilding an object of a long chain of large deltas: with one of them in memory at a time, where gix has all of them at once. Blocking.

use std::io::{self, Read};

use flate2::read::ZlibDecoder;
use gix::objs::Kind;

use super::stored::{Packs, Place, Stored};
use crate::ObjectId;
use crate::index_pack::apply;

/// Deltas of deltas; git makes no longer chains.
const DEPTH: usize = 4095;

/// Puts the object, and what is between it and its base, no larger than `limit` bytes each, into `content`. None if no pack has it.
/// Three times `limit` is held at most.
pub(crate) fn rebuild(
    packs: &Packs,
    id: ObjectId,
    limit: usize,
    content: &mut Vec<u8>,
) -> Result<Option<Kind>, gix::Error> {
    // Whoever tried before may have made it large.
    *content = Vec::new();
    let Some(place) = packs.places(id).next() else { return Ok(None) };
    let (whole, deltas) = chain(packs, place)?;
    let whole = packs.stored(whole)?;
    *content = unpack(&whole, limit)?;
    for delta in deltas.into_iter().rev() {
        let delta = unpack(&packs.stored(delta)?, limit)?;
        *content = apply(content, &delta, limit as u64).ok_or_else(broken)?;
    }
    whole.kind.map(Some).ok_or_else(broken)
}

/// The whole object at the end, and the deltas on the way there.
fn chain(packs: &Packs, mut place: Place) -> Result<(Place, Vec<Place>), gix::Error> {
    let mut deltas = Vec::new();
    while let Some(base) = packs.stored(place)?.base {
        if deltas.len() >= DEPTH {
            return Err(broken());
        }
        deltas.push(place);
        // Each pack is complete by itself.
        place = packs.places(base).find(|base| base.pack == place.pack).ok_or_else(broken)?;
    }
    Ok((place, deltas))
}

fn unpack(stored: &Stored<'_>, limit: usize) -> Result<Vec<u8>, gix::Error> {
    let size = usize::try_from(stored.size).ok().filter(|size| *size <= limit).ok_or_else(broken)?;
    let mut content = Vec::new();
    content.try_reserve_exact(size).map_err(gix::Error::from_error)?;
    content.resize(size, 0);
    ZlibDecoder::new(stored.compressed).read_exact(&mut content).map_err(gix::Error::from_error)?;
    Ok(content)
}

fn broken() -> gix::Error {
    gix::Error::from_error(io::Error::new(
        io::ErrorKind::InvalidData,
        "a chain of deltas is broken or beyond its bounds",
    ))
}
