//! A pack on its way in, that ends in an error where it grows over the bounds.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::unpack::UnpackError;
use crate::Limits;
use crate::stall::Stalled;

/// What the reader and the writer of the pack have in their buffers, generously.
const SLACK: u64 = 1 << 20;

/// Reads a pack; `exceeded` tells why reading has failed, if that is why.
///
/// gix keeps each object of the pack in memory, still compressed, until it is complete, and only then adds it to the
/// file in `directory`. So what has been read and is not in the file is the size of the object that is coming in.
pub(super) struct BoundedPack<R> {
    input: R,
    directory: PathBuf,
    limits: Limits,
    read: u64,
    /// Where to look at the file next: before, an object cannot be too large.
    look_at: u64,
    pub(super) exceeded: Option<UnpackError>,
}

impl<R: Read> BoundedPack<R> {
    pub(super) fn new(input: R, directory: PathBuf, limits: &Limits) -> Self {
        let look_at = limits.object_bytes as u64 + SLACK;
        Self { input, directory, limits: limits.clone(), read: 0, look_at, exceeded: None }
    }

    fn check(&mut self) -> Result<(), UnpackError> {
        if self.read > self.limits.pack_bytes {
            return Err(UnpackError::PackTooLarge(self.limits.pack_bytes));
        }
        if self.read <= self.look_at {
            return Ok(());
        }
        let complete = size_of_files(&self.directory).map_err(UnpackError::Quarantine)?;
        self.look_at = complete + self.limits.object_bytes as u64 + SLACK;
        if self.read <= self.look_at { Ok(()) } else { Err(UnpackError::ObjectTooLarge(self.limits.object_bytes)) }
    }
}

impl<R: Read> Read for BoundedPack<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(out).inspect_err(|error| {
            self.exceeded = Stalled::behind(error).map(UnpackError::Stalled);
        });
        let count = read?;
        self.read += count as u64;
        self.check().map_err(|error| {
            self.exceeded = Some(error);
            io::Error::from(io::ErrorKind::FileTooLarge)
        })?;
        Ok(count)
    }
}

fn size_of_files(directory: &Path) -> io::Result<u64> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(limits: &Limits, already_written: u64) -> Option<UnpackError> {
        let directory = tempfile::tempdir().unwrap();
        let file = fs::File::create(directory.path().join("pack")).unwrap();
        file.set_len(already_written).unwrap();
        let mut pack = BoundedPack::new(io::repeat(0).take(10 << 20), directory.path().to_owned(), limits);
        let ended = io::copy(&mut pack, &mut io::sink());
        assert_eq!(ended.is_err(), pack.exceeded.is_some());
        pack.exceeded
    }

    #[test]
    fn packs_and_objects_have_bounds() {
        let limits = Limits { pack_bytes: 10 << 20, object_bytes: 2 << 20, ..Limits::default() };
        assert!(matches!(read_all(&limits, 0), Some(UnpackError::ObjectTooLarge(_))));
        assert!(read_all(&limits, 8 << 20).is_none());
        let limits = Limits { pack_bytes: (10 << 20) - 1, ..Limits::default() };
        assert!(matches!(read_all(&limits, 0), Some(UnpackError::PackTooLarge(_))));
    }
}
