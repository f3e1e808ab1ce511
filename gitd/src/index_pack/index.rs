//! The index of a pack. (gitformat-pack(5), "Version 2 pack-*.idx files")

use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::{Entry, SHA1};
use crate::ObjectId;

/// Offsets from here on are in a table of their own.
const LARGE: u64 = 1 << 31;

/// Writes it; the entries are sorted by name then.
pub(super) fn write(file: File, entries: &mut [Entry], pack: ObjectId) -> io::Result<()> {
    entries.sort_unstable_by_key(|entry| (entry.id, entry.offset));
    let mut out = BufWriter::new(gix::hash::io::Write::new(file, SHA1));
    out.write_all(b"\xfftOc\0\0\0\x02")?;
    for first in 0..=u8::MAX {
        let upto = entries.partition_point(|entry| entry.id.first_byte() <= first);
        out.write_all(&number(upto).to_be_bytes())?;
    }
    for entry in entries.iter() {
        out.write_all(entry.id.as_slice())?;
    }
    for entry in entries.iter() {
        out.write_all(&entry.crc.to_be_bytes())?;
    }
    let mut large = Vec::new();
    for entry in entries.iter() {
        out.write_all(&offset(entry.offset, &mut large).to_be_bytes())?;
    }
    for offset in large {
        out.write_all(&offset.to_be_bytes())?;
    }
    out.write_all(pack.as_slice())?;
    let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    let checksum = out.hash.try_finalize().map_err(io::Error::other)?;
    (&out.inner).write_all(checksum.as_slice())
}

fn offset(offset: u64, large: &mut Vec<u64>) -> u32 {
    if offset < LARGE {
        return u32::try_from(offset).unwrap_or_default();
    }
    large.push(offset);
    number(large.len() - 1) | 1 << 31
}

/// A pack has no more objects than this can count.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
