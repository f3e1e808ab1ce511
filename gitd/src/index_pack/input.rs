//! The bytes of a pack on their way in: counted, hashed, and written to a file.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use flate2::Crc;
use gix::hash::Hasher;

use super::{IndexPackError, SHA1};

const BUFFER: usize = 64 * 1024;

pub(super) struct Input<'a, R> {
    source: R,
    buffer: Box<[u8]>,
    /// What of the buffer has been taken, but not been hashed and written; what is still to be taken.
    taken: usize,
    next: usize,
    end: usize,
    before: u64,
    limit: u64,
    hash: Hasher,
    file: BufWriter<&'a File>,
    /// Of what was taken since it was set.
    pub(super) crc: Crc,
}

impl<'a, R: Read> Input<'a, R> {
    pub(super) fn new(source: R, file: &'a File, limit: u64) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER].into(),
            taken: 0,
            next: 0,
            end: 0,
            before: 0,
            limit,
            hash: gix::hash::hasher(SHA1),
            file: BufWriter::with_capacity(BUFFER, file),
            crc: Crc::new(),
        }
    }

    /// How much has been taken.
    pub(super) fn offset(&self) -> u64 {
        self.before + self.next as u64
    }

    /// What comes next; never nothing.
    pub(super) fn peek<E>(&mut self) -> Result<&[u8], IndexPackError<E>> {
        if self.next == self.end {
            self.fill()?;
        }
        Ok(self.buffer.get(self.next..self.end).unwrap_or_default())
    }

    fn fill<E>(&mut self) -> Result<(), IndexPackError<E>> {
        self.settle()?;
        if self.before > self.limit {
            return Err(IndexPackError::PackTooLarge(self.limit));
        }
        self.end = loop {
            match self.source.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if self.end == 0 { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) } else { Ok(()) }
    }

    /// Hashes and writes what has been taken. Only at the buffer's end, or at the pack's.
    fn settle(&mut self) -> io::Result<()> {
        let bytes = self.buffer.get(self.taken..self.next).unwrap_or_default();
        self.hash.update(bytes);
        self.file.write_all(bytes)?;
        self.before += self.next as u64;
        (self.taken, self.next, self.end) = (0, 0, 0);
        Ok(())
    }

    pub(super) fn take(&mut self, count: usize) {
        let end = self.end.min(self.next + count);
        self.crc.update(self.buffer.get(self.next..end).unwrap_or_default());
        self.next = end;
    }

    pub(super) fn byte<E>(&mut self) -> Result<u8, IndexPackError<E>> {
        let byte = self.peek()?.first().copied().unwrap_or_default();
        self.take(1);
        Ok(byte)
    }

    pub(super) fn bytes<E, const N: usize>(&mut self) -> Result<[u8; N], IndexPackError<E>> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// The pack's end, and the hash of what was taken, which has been written.
    pub(super) fn finish<E>(&mut self) -> Result<(u64, Hasher), IndexPackError<E>> {
        let end = self.offset();
        let bytes = self.buffer.get(self.taken..self.next).unwrap_or_default();
        self.hash.update(bytes);
        self.file.write_all(bytes)?;
        self.file.flush()?;
        self.taken = self.next;
        if end > self.limit {
            return Err(IndexPackError::PackTooLarge(self.limit));
        }
        Ok((end, self.hash.clone()))
    }
}
