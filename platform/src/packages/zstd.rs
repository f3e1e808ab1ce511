//! Reads what is packed with zstd: frames behind each other, and those that decoders pass over (tools keep an index of a layer in them).

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What a frame of zstd begins with.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The content of all frames.
pub(super) struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new() }
    }

    /// Begins the next frame; false if there is none.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    let passed = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
                    if passed < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 {
            if self.decoder.is_finished() && !self.begin()? {
                return Ok(0);
            }
            let next = BlockDecodingStrategy::UptoBlocks(1);
            self.decoder.decode_blocks(&mut self.source, next).map_err(io::Error::other)?;
        }
        self.decoder.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn packed(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Frames::new(bytes).read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn all_frames_are_read_and_those_to_pass_over_are_not() {
        let large = b"layer ".repeat(100_000);
        let passed_over = [&[0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"index"].concat();
        let frames = [passed_over.clone(), packed(&large), packed(b""), passed_over, packed(b"end")].concat();
        assert!(packed(&large).starts_with(&MAGIC));
        assert!(unpacked(&frames).unwrap() == [&large[..], b"end"].concat());
        assert_eq!(unpacked(b"").unwrap(), b"");
        assert!(unpacked(&frames[..frames.len() - 1]).is_err());
        assert!(unpacked(&frames[..10]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..60_usize, bit in any::<u8>()) {
            let _either = unpacked(&[&MAGIC[..], &bytes].concat());
            let mut damaged = packed(&bytes);
            let at = at % damaged.len();
            damaged[at] ^= bit;
            let _either = unpacked(&damaged);
        }
    }
}
