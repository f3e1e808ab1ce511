//! Making a pack complete that lacks bases of its deltas.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use gix::objs::Kind;

use super::{Base, Entry, HEADER, IndexPackError, SHA1, finalize};
use crate::ObjectId;
use crate::objects::Objects;

/// Adds those of the `missing` that there are. Where the entries end then.
pub(super) fn add_bases<E>(
    entries: &mut Vec<Entry>,
    missing: &[ObjectId],
    bases: Option<&Objects>,
    file: &File,
    mut end: u64,
) -> Result<u64, IndexPackError<E>> {
    let Some(bases) = bases else { return Ok(end) };
    let mut content = Vec::new();
    let mut out = BufWriter::new(at(file, end)?);
    for id in missing {
        let found = bases.try_read(*id, &mut content);
        let found = found.map_err(|error| IndexPackError::Bases(error.probable_cause().to_string()))?;
        let Some(kind) = found else { continue };
        let (header, bytes) = encode(kind, &content)?;
        let mut crc = Crc::new();
        crc.update(&bytes);
        out.write_all(&bytes)?;
        let size = content.len() as u64;
        entries.push(Entry { offset: end, header, size, crc: crc.sum(), base: Base::Whole(kind), id: *id });
        end += bytes.len() as u64;
    }
    out.flush()?;
    Ok(end)
}

/// The object as it stands in a pack, and how much of that is its header.
fn encode(kind: Kind, content: &[u8]) -> io::Result<(u8, Vec<u8>)> {
    let number = match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 3,
        Kind::Tag => 4,
    };
    let mut out = Vec::new();
    let (mut byte, mut rest) = (number << 4 | content.len() & 0xf, content.len() >> 4);
    while rest > 0 {
        out.push(low(byte) | 0x80);
        (byte, rest) = (rest & 0x7f, rest >> 7);
    }
    out.push(low(byte));
    let header = u8::try_from(out.len()).unwrap_or(u8::MAX);
    let mut encoder = ZlibEncoder::new(out, Compression::fast());
    encoder.write_all(content)?;
    Ok((header, encoder.finish()?))
}

fn low(number: usize) -> u8 {
    u8::try_from(number & 0xff).unwrap_or_default()
}

/// Puts the new number of objects into the header; the new checksum.
pub(super) fn rewrite<E>(file: &File, objects: usize, end: u64) -> Result<ObjectId, IndexPackError<E>> {
    let count = u32::try_from(objects).map_err(|_| IndexPackError::Broken("too many objects"))?;
    file.write_all_at(&count.to_be_bytes(), HEADER as u64 - 4)?;
    let mut hash = gix::hash::hasher(SHA1);
    let (mut buffer, mut rest) = (vec![0; 64 * 1024], at(file, 0)?.take(end));
    loop {
        match rest.read(&mut buffer)? {
            0 => return finalize(hash),
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// The file, from this place on.
pub(super) fn at(mut file: &File, offset: u64) -> io::Result<&File> {
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}
