//! The head of an app's answer, read strictly, and what it says about the body.
//!
//! Where an answer ends must not be a matter of opinion: whoever sees it end elsewhere takes its rest for the answer to
//! somebody else's request (RFC 9112, 11.1).

use std::mem::MaybeUninit;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use memchr::memchr_iter;

use crate::head::{announce_upgrade, is_hop_by_hop, listed_name};

/// Most headers of an answer.
const HEADERS: usize = 128;

/// An answer's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the app keeps the connection for another request.
    pub(super) keeps: bool,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// Why an answer is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Garbled {
    #[error("its head is not HTTP/1: {0}")]
    Syntax(#[from] httparse::Error),
    #[error("its head breaks off or is not HTTP/1")]
    Head,
    #[error("its head is too long")]
    Long,
    #[error("its Content-Length is not one length")]
    Length,
    #[error("its Transfer-Encoding is not \"chunked\" alone")]
    Coding,
    #[error("it has both Content-Length and Transfer-Encoding")]
    Both,
    #[error("a chunk of its body is not one")]
    Chunk,
    #[error("its trailers are not headers, or too long")]
    Trailers,
    #[error("it only ever promises an answer")]
    Promises,
}

/// Where the head at the beginning of `bytes` ends, with its empty line; the first `seen` bytes are known not to end it.
pub(super) fn end(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(2);
    memchr_iter(b'\n', &bytes[from..]).find_map(|at| match &bytes[from + at + 1..] {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

/// Reads a whole head, the answer to a request of `method`; of its headers what is for the client.
pub(super) fn parse(bytes: &Bytes, method: &Method) -> Result<Head, Garbled> {
    let mut space = [MaybeUninit::uninit(); HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut space)? {
        httparse::Status::Complete(length) if length == bytes.len() => {}
        _ => return Err(Garbled::Head),
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Garbled::Head)?;
    let old = parsed.version != Some(1);
    let (mut headers, said) = read(bytes, parsed.headers)?;
    for name in &said.listed {
        headers.remove(name);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        announce_upgrade(&mut headers, said.upgrade.clone());
    }
    let framing = said.framing(status, method, old)?;
    let keeps = framing != Framing::Close && !said.close && (!old || said.keep_alive);
    Ok(Head { status, headers, framing, keeps })
}

/// Headers whose values share the memory of `bytes`, in which they lie.
pub(super) fn headers(bytes: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, Garbled> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let (name, value) = header_of(bytes, header)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn header_of(bytes: &Bytes, header: &httparse::Header<'_>) -> Result<(HeaderName, HeaderValue), Garbled> {
    let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Garbled::Head)?;
    let value = match header.value {
        [] => HeaderValue::from_static(""),
        value => HeaderValue::from_maybe_shared(bytes.slice_ref(value)).map_err(|_| Garbled::Head)?,
    };
    Ok((name, value))
}

/// Those for the client, and what the others say to us.
fn read(bytes: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<(HeaderMap, Said), Garbled> {
    let mut said = Said::default();
    // One is added to every answer.
    let mut headers = HeaderMap::with_capacity(parsed.len() + 1);
    for header in parsed {
        let (name, value) = header_of(bytes, header)?;
        match name.as_str() {
            "content-length" => said.length(value.as_bytes())?,
            "transfer-encoding" => said.coding(value.as_bytes())?,
            "connection" => said.connection(&value),
            "upgrade" => said.upgrade = Some(value.clone()),
            _ => {}
        }
        if name == header::CONTENT_LENGTH {
            headers.insert(name, value);
        } else if !is_hop_by_hop(&name) {
            headers.append(name, value);
        }
    }
    Ok((headers, said))
}

/// What the headers of an answer say about its way and its end.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    /// By `Connection`, as for one hop.
    listed: Vec<HeaderName>,
    upgrade: Option<HeaderValue>,
}

impl Said {
    /// The same length twice is one length; anything else that is not one number is none.
    fn length(&mut self, value: &[u8]) -> Result<(), Garbled> {
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse().ok()).ok_or(Garbled::Length)?;
        if self.length.replace(length).is_some_and(|before| before != length) { Err(Garbled::Length) } else { Ok(()) }
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Garbled> {
        let known = value.eq_ignore_ascii_case(b"chunked");
        if std::mem::replace(&mut self.chunked, true) || !known { Err(Garbled::Coding) } else { Ok(()) }
    }

    fn connection(&mut self, value: &HeaderValue) {
        for option in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            self.close |= option.eq_ignore_ascii_case("close");
            self.keep_alive |= option.eq_ignore_ascii_case("keep-alive");
            self.listed.extend(listed_name(option));
        }
    }

    /// RFC 9112, 6.3.
    fn framing(&self, status: StatusCode, method: &Method, old: bool) -> Result<Framing, Garbled> {
        if self.chunked && self.length.is_some() {
            return Err(Garbled::Both);
        }
        if self.chunked && old {
            return Err(Garbled::Coding);
        }
        let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 304) || *method == Method::HEAD;
        Ok(match self.length {
            _ if bodiless => Framing::Length(0),
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, method: &Method) -> Result<(u16, Framing, bool), Garbled> {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        parse(&bytes, method).map(|head| (head.status.as_u16(), head.framing, head.keeps))
    }

    #[test]
    fn where_a_body_ends() {
        for (method, head, expected) in [
            ("GET", "200 OK\r\nContent-Length: 5\r\n", Ok((200, Framing::Length(5), true))),
            ("GET", "200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n", Ok((200, Framing::Length(5), true))),
            ("GET", "200 OK\r\nTransfer-Encoding: Chunked\r\n", Ok((200, Framing::Chunked, true))),
            ("GET", "200 OK\r\n", Ok((200, Framing::Close, false))),
            ("GET", "200\r\nContent-Length: 0\r\n", Ok((200, Framing::Length(0), true))),
            ("GET", "200 OK\nContent-Length: 0\n", Ok((200, Framing::Length(0), true))),
            ("GET", "200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n", Ok((200, Framing::Length(0), false))),
            ("HEAD", "200 OK\r\nContent-Length: 5\r\n", Ok((200, Framing::Length(0), true))),
            ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n", Ok((200, Framing::Length(0), true))),
            ("GET", "204 No Content\r\nContent-Length: 5\r\n", Ok((204, Framing::Length(0), true))),
            ("GET", "304 Not Modified\r\nContent-Length: 5\r\n", Ok((304, Framing::Length(0), true))),
            ("GET", "103 Early Hints\r\n", Ok((103, Framing::Length(0), true))),
            ("GET", "200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n", Err(Garbled::Length)),
            ("GET", "200 OK\r\nContent-Length: 5, 5\r\n", Err(Garbled::Length)),
            ("GET", "200 OK\r\nContent-Length: +5\r\n", Err(Garbled::Length)),
            ("GET", "200 OK\r\nContent-Length: -5\r\n", Err(Garbled::Length)),
            ("GET", "200 OK\r\nContent-Length: 0x5\r\n", Err(Garbled::Length)),
            ("GET", "200 OK\r\nContent-Length:\r\n", Err(Garbled::Length)),
            ("GET", "200 OK\r\nContent-Length: 99999999999999999999\r\n", Err(Garbled::Length)),
            ("GET", "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(Garbled::Both)),
            ("HEAD", "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(Garbled::Both)),
            ("GET", "200 OK\r\nTransfer-Encoding: gzip, chunked\r\n", Err(Garbled::Coding)),
            ("GET", "200 OK\r\nTransfer-Encoding: identity\r\n", Err(Garbled::Coding)),
            ("GET", "200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(Garbled::Coding)),
            ("GET", "200 OK\r\nX: a\r\n b\r\n", Err(Garbled::Syntax(httparse::Error::HeaderName))),
            ("GET", "200 OK\r\nX : a\r\n", Err(Garbled::Syntax(httparse::Error::HeaderName))),
            ("GET", "200 OK\r\nX: a\0b\r\n", Err(Garbled::Syntax(httparse::Error::HeaderValue))),
            ("GET", "200 OK\r\nX: a\rb\r\n", Err(Garbled::Syntax(httparse::Error::HeaderValue))),
            ("GET", "20 OK\r\n", Err(Garbled::Syntax(httparse::Error::Status))),
            ("GET", "099 No\r\n", Err(Garbled::Head)),
        ] {
            let text = format!("HTTP/1.1 {head}\r\n");
            assert_eq!(read(&text, &method.parse().unwrap()), expected, "{text:?}");
        }
    }

    #[test]
    fn old_answers_keep_the_connection_only_if_they_say_so() {
        for (headers, expected) in [
            ("Content-Length: 5\r\n", Ok((200, Framing::Length(5), false))),
            ("Content-Length: 5\r\nConnection: Keep-Alive\r\n", Ok((200, Framing::Length(5), true))),
            ("Connection: keep-alive\r\n", Ok((200, Framing::Close, false))),
            ("Transfer-Encoding: chunked\r\n", Err(Garbled::Coding)),
        ] {
            let text = format!("HTTP/1.0 200 OK\r\n{headers}\r\n");
            assert_eq!(read(&text, &Method::GET), expected, "{text:?}");
        }
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\nbody\n\n", Some(19)),
            ("HTTP/1.1 200 OK\n\nbody", Some(17)),
            ("HTTP/1.1 200 OK\n\r\nbody", Some(18)),
            ("HTTP/1.1 200 OK\r\n\r", None),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", None),
            ("", None),
        ] {
            assert_eq!(end(text.as_bytes(), 0), expected, "{text:?}");
        }
    }

    #[test]
    fn what_does_not_begin_like_an_answer_is_none() {
        for text in [
            "\r\n",
            "\n\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            assert!(parse(&bytes, &Method::GET).is_err(), "{text:?}");
        }
    }

    #[test]
    fn headers_are_bounded() {
        let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        assert_eq!(read(&text, &Method::GET), Err(Garbled::Syntax(httparse::Error::TooManyHeaders)));
    }

    fn odd_head() -> impl Strategy<Value = Vec<u8>> {
        let part = proptest::sample::select(vec![
            &b"HTTP/1.1 "[..],
            b"200",
            b" OK",
            b"\r\n",
            b"\n",
            b"\r",
            b"content-length: ",
            b"transfer-encoding: ",
            b"chunked",
            b"5",
            b":",
            b" ",
            b"\t",
            b"\0",
            b"x",
            b"\x80",
            b"connection: close",
        ]);
        proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        /// However the bytes arrive, the end is found at the same place.
        #[test]
        fn the_end_does_not_depend_on_the_splits(bytes in odd_head(), cut: proptest::sample::Index) {
            let cut = cut.index(bytes.len() + 1);
            let whole = end(&bytes, 0);
            let split = end(&bytes[..cut], 0).or_else(|| end(&bytes, cut));
            prop_assert_eq!(whole, split);
        }

        /// What is accepted has one framing, and says nothing that another reader could take for another one.
        #[test]
        fn what_is_accepted_is_unambiguous(bytes in odd_head()) {
            let Some(end) = end(&bytes, 0) else { return Ok(()) };
            let bytes = Bytes::from(bytes).slice(..end);
            if let Ok(head) = parse(&bytes, &Method::GET) {
                let mut space = [httparse::EMPTY_HEADER; HEADERS];
                let mut parsed = httparse::Response::new(&mut space);
                prop_assert!(parsed.parse(&bytes).is_ok());
                let said = headers(&bytes, parsed.headers).unwrap();
                let lengths = said.get_all(header::CONTENT_LENGTH).iter().count();
                let codings = said.get_all(header::TRANSFER_ENCODING).iter().count();
                prop_assert!(lengths == 0 || codings == 0);
                prop_assert_eq!(head.framing == Framing::Chunked, codings == 1);
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = parse(&Bytes::from(bytes), &Method::GET);
        }
    }
}
