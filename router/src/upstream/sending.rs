//! A request on its way to an app in HTTP/1.1.
//!
//! Head and small parts of the body are written together; large parts are written from where they lie. A write that
//! fails does not end the exchange: an app that answers early and closes makes writes fail while its answer still waits
//! to be read; reading ends by itself when there is nothing more.

use std::io::{IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame};
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::{Method, Uri};
use tokio::io::AsyncWrite;

use crate::body::{BodyError, RequestBody};

/// Parts of a body up to this size are copied behind what is written before them.
const SMALL: usize = 8 * 1024;

/// No more is collected before it is written.
const FULL: usize = 16 * 1024;

/// A connection that waits for its next request keeps no larger buffer.
const KEPT: usize = 4 * 1024;

pub(super) struct Sending {
    /// What is to be written, and how much of it has been.
    out: Vec<u8>,
    written: usize,
    /// To be written after it.
    large: Bytes,
    body: Option<RequestBody>,
    chunked: bool,
    /// Announced trailers.
    trailers: Vec<HeaderName>,
    failed: bool,
}

impl Sending {
    /// A request whose head is laid out in `out`.
    pub(super) fn new(mut out: Vec<u8>, parts: &Parts, body: RequestBody) -> Self {
        let length = body.size_hint().exact();
        let chunked = !body.is_empty() && length.is_none();
        out.clear();
        lay_out(&mut out, parts, if chunked { None } else { length.or(Some(0)) });
        let trailers = if chunked { announced(&parts.headers) } else { Vec::new() };
        let body = (!body.is_empty()).then_some(body);
        Self { out, written: 0, large: Bytes::new(), body, chunked, trailers, failed: false }
    }

    /// Sends all that can be sent; ready when everything has been.
    pub(super) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut W,
    ) -> Poll<Result<(), BodyError>> {
        loop {
            let filled = self.poll_fill(cx)?;
            ready!(self.poll_write(cx, stream));
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            ready!(filled);
        }
    }

    /// The buffer for the next request, if this one was written to its end.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        let complete = self.body.is_none() && self.written == self.out.len() && !self.large.has_remaining();
        let out = if self.out.capacity() > KEPT { Vec::new() } else { self.out };
        (complete && !self.failed).then_some(out)
    }

    /// Ready when there is as much to write as should be written at once, or no more will come.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while let Some(body) = &mut self.body
            && self.large.is_empty()
            && self.out.len() < FULL
        {
            match ready!(Pin::new(body).poll_frame(cx)).transpose()? {
                Some(frame) => self.add(frame),
                None => self.end(&HeaderMap::new()),
            }
            if self.body.as_ref().is_some_and(|body| !self.chunked && body.is_end_stream()) {
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn add(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) if self.chunked => {
                let _ = write!(self.out, "{:x}\r\n", data.len());
                self.add_data(data);
                // What closes a large chunk goes before the next one.
                if self.large.is_empty() {
                    self.out.extend_from_slice(b"\r\n");
                }
            }
            Ok(data) => self.add_data(data),
            Err(frame) => self.end(frame.trailers_ref().unwrap_or(&HeaderMap::new())),
        }
    }

    fn add_data(&mut self, data: Bytes) {
        if data.len() <= SMALL {
            self.out.extend_from_slice(&data);
        } else {
            self.large = data;
        }
    }

    fn end(&mut self, trailers: &HeaderMap) {
        self.body = None;
        if self.chunked {
            self.out.extend_from_slice(b"0\r\n");
            for (name, value) in trailers.iter().filter(|(name, _)| self.trailers.contains(name)) {
                field(&mut self.out, name, value.as_bytes());
            }
            self.out.extend_from_slice(b"\r\n");
        }
    }

    /// Ready when nothing is left to write.
    fn poll_write<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut W) -> Poll<()> {
        let large = !self.large.is_empty();
        while !self.failed && (self.written < self.out.len() || !self.large.is_empty()) {
            let stream = Pin::new(&mut *stream);
            let first = &self.out[self.written..];
            let wrote = ready!(if self.large.is_empty() {
                stream.poll_write(cx, first)
            } else {
                stream.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(&self.large)])
            });
            match wrote {
                Ok(1..) => self.advance(wrote.unwrap_or_default()),
                _ => self.failed = true,
            }
        }
        self.out.clear();
        self.written = 0;
        self.large = Bytes::new();
        if large && self.chunked {
            self.out.extend_from_slice(b"\r\n");
        }
        Poll::Ready(())
    }

    fn advance(&mut self, length: usize) {
        let first = length.min(self.out.len() - self.written);
        self.written += first;
        self.large.advance(length - first);
    }
}

fn lay_out(out: &mut Vec<u8>, parts: &Parts, length: Option<u64>) {
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    target(out, &parts.uri);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let said = parts.headers.contains_key(header::CONTENT_LENGTH);
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != header::CONTENT_LENGTH) {
        field(out, name, value.as_bytes());
    }
    let wants_length = said || matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    // Writing to a vector does not fail.
    let _ = match length {
        None => write!(out, "transfer-encoding: chunked\r\n\r\n"),
        Some(0) if !wants_length => write!(out, "\r\n"),
        Some(length) => write!(out, "content-length: {length}\r\n\r\n"),
    };
}

fn target(out: &mut Vec<u8>, uri: &Uri) {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
}

fn field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The trailers that `Trailer` announces and that may be trailers (RFC 9110, 6.5.1).
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::TRAILER).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok());
    names.filter(may_trail).collect()
}

fn may_trail(name: &HeaderName) -> bool {
    let name = name.as_str();
    let forbidden = [
        "authorization",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "max-forwards",
        "proxy",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
    ];
    !forbidden.contains(&name) && !name.starts_with("x-forwarded-") && !name.starts_with("if-")
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper::Request;
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn sent(request: Request<()>) -> String {
        let (mut near, mut far) = tokio::io::duplex(16);
        let (parts, ()) = request.into_parts();
        let mut sending = Sending::new(Vec::new(), &parts, RequestBody::empty());
        let write = async {
            poll_fn(|cx| sending.poll(cx, &mut near)).await.unwrap();
            drop(near);
        };
        let mut text = String::new();
        let ((), read) = tokio::join!(write, far.read_to_string(&mut text));
        read.unwrap();
        assert!(sending.finish().is_some());
        text
    }

    #[tokio::test]
    async fn a_head_is_laid_out() {
        let request = |method: &str, uri: &str| Request::builder().method(method).uri(uri).header("X-A", "b");
        for (request, expected) in [
            (request("GET", "/x?y"), "GET /x?y HTTP/1.1\r\nx-a: b\r\n\r\n"),
            (request("OPTIONS", "*"), "OPTIONS * HTTP/1.1\r\nx-a: b\r\n\r\n"),
            (request("POST", "/"), "POST / HTTP/1.1\r\nx-a: b\r\ncontent-length: 0\r\n\r\n"),
            (
                request("GET", "/").header("content-length", "0"),
                "GET / HTTP/1.1\r\nx-a: b\r\ncontent-length: 0\r\n\r\n",
            ),
        ] {
            assert_eq!(sent(request.body(()).unwrap()).await, expected);
        }
    }

    #[test]
    fn what_says_where_a_message_goes_or_ends_is_no_trailer() {
        let mut headers = HeaderMap::new();
        headers.insert("trailer", "X-Sum, Content-Length,host , bad name".parse().unwrap());
        headers.append("trailer", "x-forwarded-for, grpc-status".parse().unwrap());
        assert_eq!(announced(&headers), ["x-sum", "grpc-status"]);
    }
}
