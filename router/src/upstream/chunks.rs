//! A body in chunks, as an app sends it (RFC 9112, 7.1).

use bytes::{Buf, Bytes, BytesMut};
use hyper::HeaderMap;

use super::head::{self, Garbled};

/// Most bytes of the line before a chunk, with its extensions, and of a line end.
const LINE: usize = 1024;

/// Most bytes of all trailers.
const TRAILERS: usize = 16 * 1024;

/// Most trailers.
const FIELDS: usize = 32;

/// Where in the body the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Chunks {
    /// In the line with a chunk's size.
    #[default]
    Size,
    /// In a chunk of which this much is left.
    Data(u64),
    /// In the line end after a chunk.
    After,
    /// In the trailers.
    Trailers,
    /// Behind it all.
    End,
}

/// What came out of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Chunks {
    /// Takes the next piece out of `input`; None if there is none (yet, or any more).
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Garbled> {
        loop {
            match *self {
                Self::Size => match line(input)? {
                    Some(line) => *self = size(&line)?,
                    None => return Ok(None),
                },
                Self::Data(left) => return Ok(self.data(left, input)),
                Self::After => match input.get(..2) {
                    Some(b"\r\n") => {
                        input.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(Garbled::Chunk),
                    None => return Ok(None),
                },
                Self::Trailers => return self.trailers(input),
                Self::End => return Ok(None),
            }
        }
    }

    fn data(&mut self, left: u64, input: &mut BytesMut) -> Option<Piece> {
        if input.is_empty() {
            return None;
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let rest = left - length as u64;
        *self = if rest == 0 { Self::After } else { Self::Data(rest) };
        Some(Piece::Data(input.split_to(length).freeze()))
    }

    fn trailers(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Garbled> {
        if input.starts_with(b"\r\n") {
            input.advance(2);
            *self = Self::End;
            return Ok(None);
        }
        let Some(end) = head::end(input, 0).filter(|end| *end <= TRAILERS) else {
            return if input.len() > TRAILERS { Err(Garbled::Trailers) } else { Ok(None) };
        };
        let bytes = input.split_to(end).freeze();
        let mut space = [httparse::EMPTY_HEADER; FIELDS];
        let parsed = httparse::parse_headers(&bytes, &mut space).map_err(|_| Garbled::Trailers)?;
        let httparse::Status::Complete((_, fields)) = parsed else { return Err(Garbled::Trailers) };
        *self = Self::End;
        Ok(Some(Piece::Trailers(head::headers(&bytes, fields)?)))
    }
}

/// A line without its end, if it is there.
fn line(input: &mut BytesMut) -> Result<Option<BytesMut>, Garbled> {
    let end = memchr::memchr(b'\n', &input[..input.len().min(LINE)]);
    let Some(end) = end else { return if input.len() < LINE { Ok(None) } else { Err(Garbled::Chunk) } };
    let mut line = input.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(Garbled::Chunk);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// Extensions are dropped.
fn size(line: &[u8]) -> Result<Chunks, Garbled> {
    let extension = line.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(line.len());
    let (digits, extension) = line.split_at(extension);
    let spaceless = extension.trim_ascii_start();
    let sized = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    if !sized || !(spaceless.is_empty() || spaceless.starts_with(b";")) || extension.contains(&b'\r') {
        return Err(Garbled::Chunk);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Garbled::Chunk)?;
    match u64::from_str_radix(digits, 16).map_err(|_| Garbled::Chunk)? {
        0 => Ok(Chunks::Trailers),
        size => Ok(Chunks::Data(size)),
    }
}

/// The data of a body that arrives in two halves, and whether it was well-formed so far.
#[cfg(any(test, fuzzing))]
pub(super) fn trial(halves: [BytesMut; 2]) -> (Vec<u8>, bool) {
    let (mut chunks, mut input, mut data) = (Chunks::default(), BytesMut::new(), Vec::new());
    for half in halves {
        input.unsplit(half);
        loop {
            match chunks.take(&mut input) {
                Ok(Some(Piece::Data(piece))) => data.extend_from_slice(&piece),
                Ok(Some(Piece::Trailers(_))) => {}
                Ok(None) => break,
                Err(_) => return (data, false),
            }
        }
    }
    (data, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All data, whether there were trailers, and what is left; reading in two parts.
    fn read(bytes: &[u8], cut: usize) -> Result<(Vec<u8>, bool, Chunks, Vec<u8>), Garbled> {
        let (mut chunks, mut data, mut trailers, mut input) = (Chunks::default(), Vec::new(), false, BytesMut::new());
        for part in [&bytes[..cut], &bytes[cut..]] {
            input.extend_from_slice(part);
            while let Some(piece) = chunks.take(&mut input)? {
                match piece {
                    Piece::Data(more) => data.extend_from_slice(&more),
                    Piece::Trailers(_) => trailers = true,
                }
            }
        }
        Ok((data, trailers, chunks, input.to_vec()))
    }

    #[test]
    fn chunks_are_put_together() {
        let ended = |data: &str, trailers, rest: &str| Ok((data.into(), trailers, Chunks::End, rest.into()));
        for (bytes, expected) in [
            ("0\r\n\r\n", ended("", false, "")),
            ("3\r\none\r\n0\r\n\r\n", ended("one", false, "")),
            ("3;a=b\r\none\r\n00A\r\n0123456789\r\n0\r\nX: y\r\n\r\n", ended("one0123456789", true, "")),
            ("3 ; a\r\none\r\n0\r\n\r\nHTTP", ended("one", false, "HTTP")),
            ("3\r\non", Ok(("on".into(), false, Chunks::Data(1), Vec::new()))),
            ("3\none\r\n", Err(Garbled::Chunk)),
            ("3\r\nonex\r\n", Err(Garbled::Chunk)),
            ("3\r\none\n0\r\n\r\n", Err(Garbled::Chunk)),
            ("\r\n", Err(Garbled::Chunk)),
            ("x\r\n", Err(Garbled::Chunk)),
            ("-1\r\n", Err(Garbled::Chunk)),
            ("0x3\r\none", Err(Garbled::Chunk)),
            ("3 3\r\none", Err(Garbled::Chunk)),
            ("1000000000000000\r\n", Err(Garbled::Chunk)),
            ("0\r\nno header\r\n\r\n", Err(Garbled::Trailers)),
        ] {
            for cut in 0..=bytes.len() {
                assert_eq!(read(bytes.as_bytes(), cut), expected, "{bytes:?} at {cut}");
            }
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        let long = "1".repeat(LINE);
        assert_eq!(read(format!("1;{long}").as_bytes(), 0), Err(Garbled::Chunk));
        let long = "1".repeat(TRAILERS);
        assert_eq!(read(format!("0\r\na: {long}").as_bytes(), 0), Err(Garbled::Trailers));
    }

    proptest! {
        #[test]
        fn what_is_cut_into_chunks_comes_out_whole(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6), cut: proptest::sample::Index,
        ) {
            let mut bytes = Vec::new();
            for part in &parts {
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\nnext");
            let read = read(&bytes, cut.index(bytes.len() + 1)).unwrap();
            prop_assert_eq!(read, (parts.concat(), false, Chunks::End, b"next".to_vec()));
        }

        #[test]
        fn any_bytes_are_read_the_same_however_they_arrive(
            parts in proptest::collection::vec(proptest::sample::select(vec!["0", "3", "a", "\r\n", "\n", ";", " ", "x: y"]), 0..20),
            cut: proptest::sample::Index,
        ) {
            let bytes = parts.concat().into_bytes();
            prop_assert_eq!(read(&bytes, cut.index(bytes.len() + 1)), read(&bytes, 0));
        }
    }
}
