//! The header with which a proxy begins a connection, to say whose it is: the PROXY protocol, versions 1 and 2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What begins version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;

/// Most bytes after the fixed part of version 2: addresses, and what else a proxy has to say.
const LONGEST_REST: usize = 4096;

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) client: SocketAddr,
    /// What the client connected to.
    pub(crate) to: SocketAddr,
}

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unannounced {
    #[error("reading the header of the PROXY protocol: {0}")]
    Io(#[from] io::Error),
    #[error("it does not begin with a header of the PROXY protocol")]
    Malformed,
}

/// Reads the header, and not a byte more. None: the connection is the proxy's own, or it does not say.
pub(crate) async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Option<Origin>, Unannounced> {
    let mut first = [0; SIGNATURE.len()];
    stream.read_exact(&mut first).await?;
    if first == SIGNATURE { version_2(stream).await } else { version_1(stream, &first).await }
}

/// Nothing says how long the line is: it is read byte by byte, once for a connection.
async fn version_1<R: AsyncRead + Unpin>(stream: &mut R, first: &[u8]) -> Result<Option<Origin>, Unannounced> {
    let mut line = first.to_vec();
    if !line.starts_with(b"PROXY ") {
        return Err(Unannounced::Malformed);
    }
    while !line.ends_with(b"\r\n") {
        if line.len() >= LONGEST_LINE {
            return Err(Unannounced::Malformed);
        }
        line.push(stream.read_u8().await?);
    }
    parse_line(&line)
}

async fn version_2<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Option<Origin>, Unannounced> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let [version_and_command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_REST {
        return Err(Unannounced::Malformed);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match version_and_command {
        0x20 => Ok(None),
        0x21 => parse_addresses(family, &rest),
        _ => Err(Unannounced::Malformed),
    }
}

fn parse_line(line: &[u8]) -> Result<Option<Origin>, Unannounced> {
    let text = std::str::from_utf8(line).ok().and_then(|text| text.strip_prefix("PROXY ")?.strip_suffix("\r\n"));
    let words: Vec<&str> = text.unwrap_or_default().split(' ').collect();
    match words[..] {
        ["UNKNOWN", ..] => Ok(None),
        [family, from, to, from_port, to_port] => {
            let client = socket(family, from, from_port).ok_or(Unannounced::Malformed)?;
            let to = socket(family, to, to_port).ok_or(Unannounced::Malformed)?;
            Ok(Some(Origin { client, to }))
        }
        _ => Err(Unannounced::Malformed),
    }
}

fn socket(family: &str, address: &str, port_text: &str) -> Option<SocketAddr> {
    let address: IpAddr = match family {
        "TCP4" => address.parse::<Ipv4Addr>().ok()?.into(),
        "TCP6" => address.parse::<Ipv6Addr>().ok()?.into(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port(port_text)?))
}

/// Digits alone, and no zero before others.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn parse_addresses(family: u8, rest: &[u8]) -> Result<Option<Origin>, Unannounced> {
    let origin = match family {
        0x11 => origin::<4>(rest),
        0x21 => origin::<16>(rest),
        // Unix sockets and datagrams: nothing that could be told to an app.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Ok(None),
        _ => None,
    };
    origin.ok_or(Unannounced::Malformed).map(Some)
}

/// Two addresses of so many bytes, and two ports.
fn origin<const LENGTH: usize>(bytes: &[u8]) -> Option<Origin>
where
    IpAddr: From<[u8; LENGTH]>,
{
    let (from, bytes) = bytes.split_first_chunk::<LENGTH>()?;
    let (to, bytes) = bytes.split_first_chunk::<LENGTH>()?;
    let (from_port, bytes) = bytes.split_first_chunk()?;
    let to_port = bytes.first_chunk()?;
    let socket = |address, port| SocketAddr::new(IpAddr::from(address), u16::from_be_bytes(port));
    Some(Origin { client: socket(*from, *from_port), to: socket(*to, *to_port) })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    /// What is said, and what is left to read.
    fn said(mut bytes: &[u8]) -> Result<(Option<Origin>, Vec<u8>), String> {
        let origin = read(&mut bytes).now_or_never().unwrap().map_err(|error| error.to_string())?;
        Ok((origin, bytes.to_vec()))
    }

    fn from(client: &str, to: &str) -> Origin {
        Origin { client: client.parse().unwrap(), to: to.parse().unwrap() }
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn lines() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Some(from("192.0.2.1:56324", "198.51.100.1:443"))),
            ("PROXY TCP6 2001:db8::1 ::1 1 0\r\n", Some(from("[2001:db8::1]:1", "[::1]:0"))),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", None),
        ] {
            let text = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(said(text.as_bytes()), Ok((expected, b"GET / HTTP/1.1\r\n".to_vec())), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE));
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 56324 443\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 0\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 0\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 443\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 443\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.1 1 443\r\n",
            long.as_str(),
        ] {
            assert_eq!(said(text.as_bytes()), Err(Unannounced::Malformed.to_string()), "{text:?}");
        }
        assert!(said(b"PROXY TCP4 192.0.2.1").unwrap_err().contains("reading"));
    }

    #[test]
    fn binary_headers() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 187];
        let six = [&Ipv6Addr::LOCALHOST.octets()[..], &Ipv6Addr::UNSPECIFIED.octets(), &[0, 1, 0, 2]].concat();
        let more = [&four[..], b"\x03\0\x04abcd"].concat();
        for (bytes, expected) in [
            (version_2(0x21, 0x11, &four), Ok(Some(from("192.0.2.1:56324", "198.51.100.1:443")))),
            (version_2(0x21, 0x11, &more), Ok(Some(from("192.0.2.1:56324", "198.51.100.1:443")))),
            (version_2(0x21, 0x21, &six), Ok(Some(from("[::1]:1", "[::]:2")))),
            (version_2(0x20, 0x00, b""), Ok(None)),
            (version_2(0x20, 0x11, &four), Ok(None)),
            (version_2(0x21, 0x00, b""), Ok(None)),
            (version_2(0x21, 0x31, &[0; 216]), Ok(None)),
            (version_2(0x21, 0x11, &four[..11]), Err(())),
            (version_2(0x21, 0x21, &four), Err(())),
            (version_2(0x21, 0x41, &four), Err(())),
            (version_2(0x22, 0x11, &four), Err(())),
            (version_2(0x11, 0x11, &four), Err(())),
            (version_2(0x20, 0x00, &vec![0; LONGEST_REST + 1]), Err(())),
        ] {
            let bytes = [bytes, b"rest".to_vec()].concat();
            let expected =
                expected.map(|origin| (origin, b"rest".to_vec())).map_err(|()| Unannounced::Malformed.to_string());
            assert_eq!(said(&bytes), expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, family: u8, rest in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = said(&bytes);
            let _ = said(&[&b"PROXY TCP4 "[..], &bytes].concat());
            let _ = said(&version_2(0x21, family, &rest));
        }

        #[test]
        fn what_is_written_is_read(from: [u8; 4], to: [u8; 4], ports: (u16, u16)) {
            let (from, to) = (Ipv4Addr::from(from), Ipv4Addr::from(to));
            let expected = Ok((Some(Origin { client: (from, ports.0).into(), to: (to, ports.1).into() }), Vec::new()));
            let line = format!("PROXY TCP4 {from} {to} {} {}\r\n", ports.0, ports.1);
            prop_assert_eq!(said(line.as_bytes()), expected.clone());
            let rest = [&from.octets()[..], &to.octets(), &ports.0.to_be_bytes(), &ports.1.to_be_bytes()].concat();
            prop_assert_eq!(said(&version_2(0x21, 0x11, &rest)), expected);
        }
    }
}
