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
use tokio::io::AsyncWrite;

use crate::body::{BodyError, RequestBody};
use crate::onward::{Onward, field};

/// Parts of a body up to this size are copied behind what is written before them.
const SMALL: usize = 8 * 1024;

/// No more is collected before it is written.
const FULL: usize = 16 * 1024;

/// A connection that waits for its next request keeps no larger buffer.
const KEPT: usize = 4 * 1024;

#[derive(Default)]
pub(super) struct Sending {
    /// What is to be written, and how much of it has been.
    out: Vec<u8>,
    written: usize,
    /// To be written after it.
    large: Bytes,
    body: RequestBody,
    chunked: bool,
    /// Announced trailers.
    trailers: Vec<HeaderName>,
    failed: bool,
}

impl Sending {
    /// Lays out the head of a request, and takes its body. What was sent before has been finished.
    pub(super) fn begin(&mut self, onward: &mut Onward<'_>) {
        self.body = std::mem::take(&mut onward.body);
        let length = self.body.size_hint().exact();
        self.chunked = length.is_none();
        onward.lay_out(&mut self.out, length);
        self.trailers = if self.chunked { announced(&onward.parts().headers) } else { Vec::new() };
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
            if self.body.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(filled);
        }
    }

    /// Whether another request may follow: this one was written to its end.
    pub(super) fn finish(&mut self) -> bool {
        let complete = self.body.is_empty() && self.out.is_empty() && !self.large.has_remaining();
        self.trailers = Vec::new();
        if self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        complete && !self.failed
    }

    /// Ready when there is as much to write as should be written at once, or no more will come.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while !self.body.is_empty() && self.large.is_empty() && self.out.len() < FULL {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()? {
                Some(frame) => self.add(frame),
                None => self.end(&HeaderMap::new()),
            }
            if !self.chunked && self.body.is_end_stream() {
                self.body = RequestBody::default();
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
        self.body = RequestBody::default();
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
    use super::*;

    #[test]
    fn what_says_where_a_message_goes_or_ends_is_no_trailer() {
        let mut headers = HeaderMap::new();
        headers.insert("trailer", "X-Sum, Content-Length,host , bad name".parse().unwrap());
        headers.append("trailer", "x-forwarded-for, grpc-status".parse().unwrap());
        assert_eq!(announced(&headers), ["x-sum", "grpc-status"]);
    }
}
