//! Compression of answers that the app sent uncompressed, for clients that take it.
//!
//! Left as they are: what is compressed already or does not shrink, what is small, parts of a whole, streams of events, and
//! whatever says `no-transform`. What is compressed is sent on whenever the app pauses: nothing waits for more.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::write::GzEncoder;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use crate::body::{AnswerBody, AnswerError};
use crate::head::{EVENTS, media_type};

/// Answers shorter than this are not worth it.
const SMALLEST: u64 = 1024;
/// Compressed bytes that are sent on without a pause of the app.
const PIECE: usize = 16 * 1024;
/// Effort: about that of nginx's default, in all three.
const GZIP: u32 = 4;
const BROTLI: u32 = 4;
const ZSTD: i32 = 3;
/// Bytes that the encoder remembers for each answer, as powers of two.
const BROTLI_WINDOW: u32 = 18;
const ZSTD_WINDOW: u32 = 18;

/// What a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    coding: Option<Coding>,
    head: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    /// The better ones first.
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

impl Wish {
    pub(crate) fn of(parts: &Parts) -> Self {
        Self { coding: wanted(&parts.headers), head: parts.method == Method::HEAD }
    }

    /// Compresses an answer, if the client takes it and it may be.
    pub(crate) fn pack(self, mut response: Response<AnswerBody>) -> Response<Packed> {
        if !may_be_packed(&response) {
            return response.map(Packed::plain);
        }
        vary(response.headers_mut());
        let Some(coding) = self.coding else { return response.map(Packed::plain) };
        let encoder = if self.head { Ok(None) } else { Encoder::new(coding).map(Some) };
        let Ok(encoder) = encoder else { return response.map(Packed::plain) };
        announce(response.headers_mut(), coding);
        let packing = Box::new(Packing { encoder, unsent: false, trailers: None });
        response.map(|body| Packed { body, packing: Some(packing) })
    }
}

/// Of the codings that the client weighs most, the best.
fn wanted(headers: &HeaderMap) -> Option<Coding> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let entries: Vec<(&str, u16)> = values.flat_map(|value| value.split(',')).filter_map(weighed).collect();
    let weight = |coding: &Coding| {
        let named = entries.iter().find(|(name, _)| name.eq_ignore_ascii_case(coding.name()));
        named.map_or(0, |(_, weight)| *weight)
    };
    let best = Coding::ALL.iter().map(weight).max()?;
    Coding::ALL.into_iter().find(|coding| best > 0 && weight(coding) == best)
}

/// `br;q=0.5`, as thousandths.
fn weighed(entry: &str) -> Option<(&str, u16)> {
    let mut parts = entry.split(';').map(str::trim);
    let name = parts.next()?;
    let Some(quality) = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="))) else {
        return Some((name, 1000));
    };
    let quality: f32 = quality.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1000")]
    Some((name, (quality * 1000.0) as u16))
}

fn may_be_packed(response: &Response<AnswerBody>) -> bool {
    let (status, headers) = (response.status(), response.headers());
    let whole = !matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
    );
    let forbidding = [header::CONTENT_ENCODING.as_str(), "content-range", "content-digest", "digest", "content-md5"];
    whole
        && !status.is_informational()
        && !forbidding.iter().any(|name| headers.contains_key(*name))
        && !says(headers, &header::CACHE_CONTROL, "no-transform")
        && headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(shrinks)
        && length(response).is_none_or(|length| length >= SMALLEST)
}

/// By its header first: the answer to HEAD has no body.
fn length(response: &Response<AnswerBody>) -> Option<u64> {
    let header = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    header.or_else(|| response.body().size_hint().exact())
}

fn shrinks(content_type: &str) -> bool {
    let kind = media_type(content_type).to_ascii_lowercase();
    match kind.as_str() {
        EVENTS => false,
        "application/json"
        | "application/javascript"
        | "application/xml"
        | "application/wasm"
        | "application/x-ndjson"
        | "application/manifest+json"
        | "application/vnd.ms-fontobject"
        | "image/svg+xml"
        | "image/bmp"
        | "image/x-icon"
        | "font/ttf"
        | "font/otf" => true,
        kind => {
            kind.starts_with("text/")
                || kind.starts_with("application/") && (kind.ends_with("+json") || kind.ends_with("+xml"))
        }
    }
}

fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|entry| entry.trim().eq_ignore_ascii_case(word))
}

fn vary(headers: &mut HeaderMap) {
    if !says(headers, &header::VARY, "*") && !says(headers, &header::VARY, "accept-encoding") {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// What is sent is not, byte for byte, what the app's headers speak of.
fn announce(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    let strong = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    if let Some(weak) = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()) {
        headers.insert(header::ETAG, weak);
    }
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP))),
            Coding::Brotli => {
                Self::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), 4096, BROTLI, BROTLI_WINDOW)))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD)?;
                encoder.window_log(ZSTD_WINDOW)?;
                Self::Zstd(encoder)
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(self.output()).into()
    }

    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        }
        .into())
    }
}

/// The body of an answer, compressed or not.
pub(crate) struct Packed {
    body: AnswerBody,
    /// None: it passes as it is. On the heap, so that most answers need not be as large as some.
    packing: Option<Box<Packing>>,
}

struct Packing {
    /// None: it has ended.
    encoder: Option<Encoder>,
    /// The encoder holds something back.
    unsent: bool,
    trailers: Option<Frame<Bytes>>,
}

/// Why an answer ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    App(#[from] AnswerError),
    #[error("compressing: {0}")]
    Encoder(#[from] io::Error),
}

type Polled = Poll<Option<Result<Frame<Bytes>, Broken>>>;

impl Packed {
    pub(crate) fn plain(body: AnswerBody) -> Self {
        Self { body, packing: None }
    }
}

impl Packing {
    /// Passes what comes through the encoder, until that gives something or there is nothing more for now.
    fn poll(&mut self, body: &mut AnswerBody, cx: &mut Context<'_>) -> Polled {
        while let Some(encoder) = &mut self.encoder {
            match Pin::new(&mut *body).poll_frame(cx)? {
                Poll::Pending if self.unsent => {
                    self.unsent = false;
                    encoder.writer().flush()?;
                    let piece = encoder.take();
                    if !piece.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.unsent = true;
                        encoder.writer().write_all(&data)?;
                        if encoder.output().len() >= PIECE {
                            return Poll::Ready(Some(Ok(Frame::data(encoder.take()))));
                        }
                    }
                    Err(trailers) => {
                        self.trailers = Some(trailers);
                        return self.end();
                    }
                },
                Poll::Ready(None) => return self.end(),
            }
        }
        Poll::Ready(self.trailers.take().map(Ok))
    }

    fn end(&mut self) -> Polled {
        let last = self.encoder.take().map(Encoder::finish).transpose()?;
        Poll::Ready(last.map(|last| Ok(Frame::data(last))))
    }

    fn is_end(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }
}

impl Body for Packed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Self { body, packing } = self.get_mut();
        match packing {
            Some(packing) => packing.poll(body, cx),
            None => Pin::new(body).poll_frame(cx).map_err(Broken::App),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.packing.as_ref().map_or_else(|| self.body.is_end_stream(), |packing| packing.is_end())
    }

    fn size_hint(&self) -> SizeHint {
        if self.packing.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coding_that_the_client_weighs_most() {
        for (accepted, coding) in [
            ("", None),
            ("identity", None),
            ("gzip", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("gzip, deflate, br", Some(Coding::Brotli)),
            ("gzip;q=1.0, br;q=0.5", Some(Coding::Gzip)),
            ("GZIP; q=0.001", Some(Coding::Gzip)),
            ("gzip;q=0, br;q=0.0", None),
            ("gzip;q=2, br;q=x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(wanted(&headers), coding, "{accepted}");
        }
        assert_eq!(wanted(&HeaderMap::new()), None);
    }

    #[test]
    fn kinds() {
        for kind in ["text/html; charset=utf-8", "Text/CSS", "application/json", "application/ld+json", "image/svg+xml"]
        {
            assert!(shrinks(kind), "{kind}");
        }
        for kind in
            ["text/event-stream", "image/png", "application/zip", "application/grpc", "video/mp4", "font/woff2", ""]
        {
            assert!(!shrinks(kind), "{kind}");
        }
    }
}
