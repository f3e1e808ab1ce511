//! The first look at a pack, while it arrives.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::{Crc, Decompress, FlushDecompress, Status};
use gix::objs::Kind;

use super::input::Input;
use super::{Base, Bounds, Entry, IndexPackError, Inspect, SHA1, delta, finalize, hasher};
use crate::ObjectId;

const BUFFER: usize = 64 * 1024;
/// Objects that room is made for before they have been seen.
const FORESEEN: usize = 100_000;

pub(super) struct Reader<'a, R> {
    input: Input<'a, R>,
    inflater: Inflater,
    bounds: Bounds,
    interrupt: &'a AtomicBool,
    pub(super) objects: u32,
    unpacked: u64,
    content: Vec<u8>,
}

struct Inflater {
    state: Decompress,
    out: Box<[u8]>,
}

impl<'a, R: Read> Reader<'a, R> {
    pub(super) fn new<E>(
        source: R,
        file: &'a File,
        bounds: Bounds,
        interrupt: &'a AtomicBool,
    ) -> Result<Self, IndexPackError<E>> {
        let mut input = Input::new(source, file, bounds.bytes);
        let (signature, version) = (input.bytes::<E, 4>()?, u32::from_be_bytes(input.bytes::<E, 4>()?));
        if signature != *b"PACK" || version != 2 {
            return Err(IndexPackError::Broken("pack signature mismatch"));
        }
        let objects = u32::from_be_bytes(input.bytes::<E, 4>()?);
        if objects > bounds.objects {
            return Err(IndexPackError::TooManyObjects(objects, bounds.objects));
        }
        let inflater = Inflater { state: Decompress::new(true), out: vec![0; BUFFER].into() };
        Ok(Self { input, inflater, bounds, interrupt, objects, unpacked: 0, content: Vec::new() })
    }

    /// Reads all of them.
    pub(super) fn entries<I: Inspect>(&mut self, inspector: &I) -> Result<Vec<Entry>, IndexPackError<I::Problem>> {
        let mut entries = Vec::with_capacity(FORESEEN.min(self.objects as usize));
        for _ in 0..self.objects {
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(IndexPackError::Interrupted);
            }
            let entry = self.entry(&entries, inspector)?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Where the entries end, the pack's checksum, and what all objects have uncompressed.
    pub(super) fn finish<E>(mut self) -> Result<(u64, ObjectId, u64), IndexPackError<E>> {
        let (end, hash) = self.input.finish()?;
        let checksum = ObjectId::from_bytes_or_panic(&self.input.bytes::<E, 20>()?);
        if finalize::<E>(hash)? != checksum {
            return Err(IndexPackError::Broken("pack is corrupted (SHA1 mismatch)"));
        }
        Ok((end, checksum, self.unpacked))
    }

    fn entry<I: Inspect>(&mut self, before: &[Entry], inspector: &I) -> Result<Entry, IndexPackError<I::Problem>> {
        let offset = self.input.offset();
        self.input.crc = Crc::new();
        let (kind, size) = self.kind_and_size()?;
        let base = self.base(kind, offset, before)?;
        let header = u8::try_from(self.input.offset() - offset).unwrap_or(u8::MAX);
        if size > self.bounds.object {
            return Err(IndexPackError::ObjectTooLarge(self.bounds.object));
        }
        let id = match base {
            Base::Whole(Kind::Blob) => self.blob(size)?,
            Base::Whole(kind) => self.small(kind, size, inspector)?,
            Base::Entry(_) | Base::Named(_) => self.delta(size)?,
        };
        Ok(Entry { offset, header, size, crc: self.input.crc.sum(), base, id })
    }

    fn kind_and_size<E>(&mut self) -> Result<(u8, u64), IndexPackError<E>> {
        let first = self.input.byte()?;
        let (mut size, mut shift, mut byte) = (u64::from(first & 0xf), 4, first);
        while byte & 0x80 != 0 {
            byte = self.input.byte()?;
            if shift > 53 {
                return Err(IndexPackError::Broken("an object's size is out of range"));
            }
            size |= u64::from(byte & 0x7f) << shift;
            shift += 7;
        }
        Ok((first >> 4 & 7, size))
    }

    fn base<E>(&mut self, kind: u8, offset: u64, before: &[Entry]) -> Result<Base, IndexPackError<E>> {
        Ok(match kind {
            1 => Base::Whole(Kind::Commit),
            2 => Base::Whole(Kind::Tree),
            3 => Base::Whole(Kind::Blob),
            4 => Base::Whole(Kind::Tag),
            6 => {
                let base = offset.checked_sub(self.distance()?);
                let number = base.and_then(|base| before.binary_search_by_key(&base, |entry| entry.offset).ok());
                let number = number.and_then(|number| u32::try_from(number).ok());
                Base::Entry(number.ok_or(IndexPackError::Broken("delta base offset is out of bound"))?)
            }
            7 => Base::Named(ObjectId::from_bytes_or_panic(&self.input.bytes::<E, 20>()?)),
            _ => return Err(IndexPackError::Broken("unknown object type")),
        })
    }

    fn distance<E>(&mut self) -> Result<u64, IndexPackError<E>> {
        let mut byte = self.input.byte()?;
        let mut distance = u64::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.input.byte()?;
            if distance >= 1 << 56 {
                return Err(IndexPackError::Broken("delta base offset is out of bound"));
            }
            distance = (distance + 1) << 7 | u64::from(byte & 0x7f);
        }
        Ok(distance)
    }

    /// However large: nothing is kept.
    fn blob<E>(&mut self, size: u64) -> Result<ObjectId, IndexPackError<E>> {
        self.count(size)?;
        let mut hasher = hasher(Kind::Blob, size);
        self.inflater.run(&mut self.input, size, self.interrupt, |bytes| hasher.update(bytes))?;
        finalize(hasher)
    }

    fn small<I: Inspect>(
        &mut self,
        kind: Kind,
        size: u64,
        inspector: &I,
    ) -> Result<ObjectId, IndexPackError<I::Problem>> {
        self.count(size)?;
        self.content.clear();
        let content = &mut self.content;
        self.inflater.run(&mut self.input, size, self.interrupt, |bytes| content.extend_from_slice(bytes))?;
        let mut hasher = hasher(kind, size);
        hasher.update(content);
        let id = finalize(hasher)?;
        inspector.look(id, kind, content).map_err(|problem| IndexPackError::Unsound(id, problem))?;
        Ok(id)
    }

    /// Its name is found later.
    fn delta<E>(&mut self, size: u64) -> Result<ObjectId, IndexPackError<E>> {
        let mut head = Vec::with_capacity(delta::HEAD);
        self.inflater.run(&mut self.input, size, self.interrupt, |bytes| {
            head.extend_from_slice(bytes.get(..bytes.len().min(delta::HEAD - head.len())).unwrap_or_default());
        })?;
        let sizes = delta::sizes(&head).ok_or(IndexPackError::Broken("failed to apply delta"))?;
        if sizes.base.max(sizes.result) > self.bounds.object {
            return Err(IndexPackError::ObjectTooLarge(self.bounds.object));
        }
        self.count(sizes.result)?;
        Ok(ObjectId::null(SHA1))
    }

    fn count<E>(&mut self, size: u64) -> Result<(), IndexPackError<E>> {
        self.unpacked += size;
        let most = self.bounds.unpacked;
        if self.unpacked > most { Err(IndexPackError::UnpacksTooLarge(most)) } else { Ok(()) }
    }
}

impl Inflater {
    fn run<R: Read, E>(
        &mut self,
        input: &mut Input<'_, R>,
        size: u64,
        interrupt: &AtomicBool,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), IndexPackError<E>> {
        let wrong = || IndexPackError::Broken("inflate returned an error");
        self.state.reset(true);
        loop {
            let (read, made) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(input.peek()?, &mut self.out, FlushDecompress::None);
            let status = status.map_err(|_| wrong())?;
            let read = usize::try_from(self.state.total_in() - read).unwrap_or_default();
            let made = usize::try_from(self.state.total_out() - made).unwrap_or_default();
            sink(self.out.get(..made).unwrap_or_default());
            input.take(read);
            let total = self.state.total_out();
            if status == Status::StreamEnd && total == size {
                return Ok(());
            }
            if status == Status::StreamEnd || total > size || (read == 0 && made == 0) {
                return Err(wrong());
            }
            if interrupt.load(Ordering::Relaxed) {
                return Err(IndexPackError::Interrupted);
            }
        }
    }
}
