//! Where in the requests of a connection its bytes are, by the strictest reading of RFC 9112.

use memchr::memchr;

use crate::limits::BUFFER_BYTES;

/// Most bytes of the line before a chunk, with its extensions.
const CHUNK_LINE: usize = 256;

/// Whether an `Upgrade` header with this value may end the requests on a connection. To `h2c` it never does.
pub(crate) fn may_upgrade(value: &[u8]) -> bool {
    !value.split(|byte| *byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// The byte at which a request left the grammar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inadmissible {
    pub(super) at: usize,
}

/// Where in the requests of a connection its bytes are.
#[derive(Default)]
pub(super) struct Reading {
    place: Place,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    framing: Framing,
    /// Requests that have begun.
    begun: usize,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    RequestLine,
    Header,
    ChunkLine,
    Trailer,
    /// This many more bytes of a body.
    Body(u64),
    /// This many more bytes of a chunk, then the end of its line.
    Chunk(u64),
    ChunkEnd(u8),
    /// Another protocol, if the app agrees; nothing otherwise. Whether any of it has come.
    Upgraded(bool),
}

/// What a head says about what follows it.
#[derive(Default)]
struct Framing {
    old: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Reading {
    pub(super) fn is_between(&self) -> bool {
        self.place == Place::RequestLine && self.line.is_empty()
    }

    /// Whether all has come of so many requests, and nothing more.
    pub(super) fn has_come(&self, requests: usize) -> bool {
        self.begun == requests && (self.is_between() || self.place == Place::Upgraded(false))
    }

    /// Follows the next bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Inadmissible> {
        let mut at = 0;
        while at < bytes.len() {
            at += self.step(&bytes[at..]).map_err(|fault| Inadmissible { at: at + fault.at })?;
        }
        Ok(())
    }

    /// How many bytes were followed, at least one.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Inadmissible> {
        match self.place {
            Place::Upgraded(_) => {
                self.place = Place::Upgraded(true);
                Ok(bytes.len())
            }
            Place::Body(left) => Ok(self.skip(left, bytes.len(), Place::Body, self.framing.next())),
            Place::Chunk(left) => Ok(self.skip(left, bytes.len(), Place::Chunk, Place::ChunkEnd(b'\r'))),
            Place::ChunkEnd(wanted) if bytes[0] == wanted => {
                self.place = if wanted == b'\r' { Place::ChunkEnd(b'\n') } else { Place::ChunkLine };
                Ok(1)
            }
            Place::ChunkEnd(_) => Err(Inadmissible { at: 0 }),
            _ => self.step_line(bytes),
        }
    }

    fn skip(&mut self, left: u64, available: usize, same: impl Fn(u64) -> Place, next: Place) -> usize {
        let skipped = left.min(available as u64);
        self.place = if skipped == left { next } else { same(left - skipped) };
        usize::try_from(skipped).unwrap_or(available)
    }

    fn step_line(&mut self, bytes: &[u8]) -> Result<usize, Inadmissible> {
        let Some(end) = memchr(b'\n', bytes) else {
            if self.line.len() + bytes.len() > BUFFER_BYTES {
                return Err(Inadmissible { at: 0 });
            }
            self.line.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        let followed = if self.line.is_empty() {
            self.end_line(&bytes[..end])
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..end]);
            self.end_line(&line)
        };
        followed.map(|()| end + 1).ok_or(Inadmissible { at: end })
    }

    /// None: the line is inadmissible.
    fn end_line(&mut self, line: &[u8]) -> Option<()> {
        let line = line.strip_suffix(b"\r")?;
        if memchr(b'\r', line).is_some() {
            return None;
        }
        match self.place {
            // Empty lines before a request are allowed (RFC 9112, 2.2).
            Place::RequestLine if line.is_empty() => Some(()),
            Place::RequestLine => {
                self.framing = Framing { old: line.ends_with(b"HTTP/1.0"), ..Framing::default() };
                self.begun += 1;
                self.place = Place::Header;
                Some(())
            }
            Place::Header if line.is_empty() => {
                self.place = self.framing.body();
                Some(())
            }
            Place::Header => self.framing.header(line),
            Place::ChunkLine => {
                self.place = match chunk_size(line)? {
                    0 => Place::Trailer,
                    size => Place::Chunk(size),
                };
                Some(())
            }
            Place::Trailer if line.is_empty() => {
                self.place = self.framing.next();
                Some(())
            }
            _ => trailer(line),
        }
    }
}

impl Framing {
    /// What follows the head.
    fn body(&self) -> Place {
        match self.length {
            _ if self.chunked => Place::ChunkLine,
            Some(1..) => Place::Body(self.length.unwrap_or_default()),
            _ => self.next(),
        }
    }

    /// What follows the body.
    fn next(&self) -> Place {
        if self.upgrade { Place::Upgraded(false) } else { Place::RequestLine }
    }

    fn header(&mut self, line: &[u8]) -> Option<()> {
        let (name, value) = split(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let unique = self.length.is_none() && !self.chunked;
            self.length = Some(length(value).filter(|_| unique)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let unique = self.length.is_none() && !self.chunked && !self.old;
            self.chunked = (unique && value.eq_ignore_ascii_case(b"chunked")).then_some(true)?;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade |= may_upgrade(value);
        }
        Some(())
    }
}

/// Name and value; no folding, and nothing between the name and its colon (RFC 9112, 5).
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', line)?;
    let name = &line[..colon];
    let clean = |byte: Option<&u8>| byte.is_some_and(|byte| !byte.is_ascii_whitespace());
    (clean(name.first()) && clean(name.last())).then(|| (name, line[colon + 1..].trim_ascii()))
}

/// Digits alone: no sign, no list; at most 18, so that every sum in any language holds them.
fn length(value: &[u8]) -> Option<u64> {
    if !(1..=18).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Hexadecimal digits, at most 15, and after a semicolon what we ignore.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = memchr(b';', line).map_or(line, |semicolon| &line[..semicolon]);
    let clean = line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
    let hex = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    if line.len() > CHUNK_LINE || !clean || !hex {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// After a body it is too late to say how long it is, or for whom (RFC 9110, 6.5.1).
fn trailer(line: &[u8]) -> Option<()> {
    const TOO_LATE: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
    let (name, _) = split(line)?;
    (!TOO_LATE.iter().any(|late| name.eq_ignore_ascii_case(late))).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(parts: &[&[u8]]) -> Result<Place, usize> {
        let (mut reading, mut before) = (Reading::default(), 0);
        for part in parts {
            reading.take(part).map_err(|fault| before + fault.at)?;
            before += part.len();
        }
        Ok(reading.place)
    }

    #[test]
    fn bodies_are_followed_to_their_ends() {
        for (bytes, place) in [
            ("\r\nGET / HTTP/1.1\r\nA: b\r\n\r\n", Place::RequestLine),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab\n\0", Place::Body(1)),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde", Place::RequestLine),
            ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", Place::RequestLine),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", Place::ChunkLine),
            ("POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\r\n1f;a=\"b\"\r\nxyz", Place::Chunk(28)),
            ("POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\r\n1\r\n\n", Place::ChunkEnd(b'\r')),
            ("POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\r\n1\r\nx\r\n0\r\n", Place::Trailer),
            ("POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\r\n0\r\nA: b\r\n\r\n", Place::RequestLine),
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\0\n\0", Place::Upgraded(true)),
            ("POST / HTTP/1.1\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\na\n\n", Place::Upgraded(true)),
            ("POST / HTTP/1.1\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\na", Place::Upgraded(false)),
            ("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", Place::RequestLine),
        ] {
            assert!(take(&[bytes.as_bytes()]) == Ok(place), "{bytes:?}");
        }
    }

    proptest! {
        /// However the bytes are cut into reads, the same one is found at fault; and nothing panics.
        #[test]
        fn the_cut_does_not_matter(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                proptest::collection::vec(
                    prop_oneof![
                        Just("POST / HTTP/1.1\r\n"), Just("\r\n"), Just("Content-Length: 3\r\n"), Just("\n"), Just("abc"),
                        Just("Transfer-Encoding: chunked\r\n"), Just("3\r\n"), Just("0\r\n"), Just("Upgrade: x\r\n"),
                    ],
                    0..12,
                ).prop_map(|parts| parts.concat().into_bytes()),
            ],
            cut in any::<proptest::sample::Index>(),
        ) {
            let (one, two) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert!(take(&[&bytes]) == take(&[one, two]));
            let each: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert!(take(&[&bytes]) == take(&each));
        }
    }
}
