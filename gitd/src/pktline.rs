//! Git's packet lines: four hex digits of length, then bytes; with a band number in front where streams are multiplexed.
//! (gitprotocol-common(5))

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::PACKET;

/// Bytes of one packet of a band at most.
const BAND: usize = PACKET - 5;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// `0000`: end of a section.
    Flush,
    /// `0001`: end of a part of it (protocol v2).
    Delimiter,
    /// Bytes.
    Data(Vec<u8>),
}

impl Packet {
    /// The bytes without a line end.
    pub(crate) fn text(bytes: &[u8]) -> &[u8] {
        bytes.strip_suffix(b"\n").unwrap_or(bytes)
    }
}

/// The streams of `side-band-64k`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Band {
    /// The protocol's own data.
    Data = 1,
    /// Text for the user.
    Progress = 2,
    /// Why nothing more comes.
    Error = 3,
}

/// Reads one packet of `most` bytes at most; None if the input ends before it.
pub(crate) async fn read(input: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Option<Packet>> {
    let mut head = [0; 4];
    match input.read(&mut head).await? {
        0 => return Ok(None),
        count => input.read_exact(head.get_mut(count..).unwrap_or_default()).await?,
    };
    match length(head)? {
        0 => Ok(Some(Packet::Flush)),
        1 => Ok(Some(Packet::Delimiter)),
        length @ 4..=PACKET if length > most => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line of {length} bytes is too long: at most {most}"),
        )),
        length @ 4..=PACKET => {
            let mut bytes = vec![0; length - 4];
            input.read_exact(&mut bytes).await?;
            Ok(Some(Packet::Data(bytes)))
        }
        _ => Err(malformed()),
    }
}

/// Appends a packet.
pub(crate) fn data(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("{:04x}", bytes.len() + 4).as_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a flush packet.
pub(crate) fn flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// Appends a delimiter packet.
pub(crate) fn delimiter(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0001");
}

/// Appends as many packets of a band as the bytes need.
pub(crate) fn band(out: &mut Vec<u8>, band: Band, bytes: &[u8]) {
    for chunk in bytes.chunks(BAND) {
        out.extend_from_slice(format!("{:04x}", chunk.len() + 5).as_bytes());
        out.push(band as u8);
        out.extend_from_slice(chunk);
    }
}

/// A packet that says nothing: keeps the connection's middlemen awake.
pub(crate) const KEEPALIVE: &[u8] = b"0005\x01";

fn length(head: [u8; 4]) -> io::Result<usize> {
    let digits = std::str::from_utf8(&head).map_err(|_| malformed())?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    usize::from_str_radix(digits, 16).map_err(|_| malformed())
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "bad line length character")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn all(mut input: &[u8]) -> io::Result<Vec<Packet>> {
        let mut packets = Vec::new();
        while let Some(packet) = read(&mut input, PACKET).await? {
            packets.push(packet);
        }
        Ok(packets)
    }

    #[tokio::test]
    async fn reads_what_it_writes() {
        let mut bytes = Vec::new();
        data(&mut bytes, b"hello\n");
        flush(&mut bytes);
        band(&mut bytes, Band::Progress, b"x");
        assert_eq!(bytes, b"000ahello\n00000006\x02x");
        let expected = vec![Packet::Data(b"hello\n".to_vec()), Packet::Flush, Packet::Data(b"\x02x".to_vec())];
        assert_eq!(all(&bytes).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn refuses_lengths_that_are_none() {
        for bytes in ["0002", "0003", "fff1", "+00a", "-001", " 00a", "zzzz", "00", "000ahel"] {
            assert!(all(bytes.as_bytes()).await.is_err(), "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_line_may_be_as_long_as_is_allowed() {
        let mut bytes = Vec::new();
        data(&mut bytes, &[b'x'; 96]);
        assert!(read(&mut bytes.as_slice(), 100).await.is_ok());
        let error = read(&mut bytes.as_slice(), 99).await.unwrap_err();
        assert_eq!(error.to_string(), "a line of 100 bytes is too long: at most 99");
    }

    #[test]
    fn a_band_is_cut_at_the_largest_packet() {
        let mut bytes = Vec::new();
        band(&mut bytes, Band::Data, &vec![0; BAND + 1]);
        assert_eq!(&bytes[..5], b"fff0\x01");
        assert_eq!(&bytes[PACKET..PACKET + 5], b"0006\x01");
    }

    proptest! {
        #[test]
        fn any_input_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(all(&bytes));
        }
    }
}
