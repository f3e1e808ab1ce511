//! A client's wish to speak another protocol: by `Upgrade` in HTTP/1.1, by an extended CONNECT in HTTP/2 (RFC 8441). The
//! app is asked in HTTP/1.1 either way.

use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, StatusCode, Version};

use crate::head;

/// Without a meaning in HTTP/2, which needs no proof that the app knows what it is asked.
const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// The only protocol that is known to be the same over HTTP/2.
const WEBSOCKET: &str = "websocket";

/// Bytes of a key (RFC 6455, 4.1).
const KEY: usize = 16;

/// What the client wants, and its connection if it gets it.
pub(crate) struct Switch {
    pub(crate) wanted: Wanted,
    pub(crate) connection: OnUpgrade,
}

/// What the client wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The protocol.
    name: HeaderValue,
    /// For the app, if the client has sent none: it has asked in HTTP/2.
    key: Option<HeaderValue>,
}

impl Switch {
    /// Not `h2c`: an app that spoke it would take requests past all the checks here.
    pub(crate) fn wanted(request: &mut Request<Incoming>, nonce: impl FnOnce() -> HeaderValue) -> Option<Self> {
        let wanted = if is_extended_connect(request.method(), request.extensions().get()) {
            Wanted { name: HeaderValue::from_static(WEBSOCKET), key: Some(key(nonce().as_bytes())) }
        } else {
            Wanted { name: upgrade(request)?, key: None }
        };
        Some(Self { wanted, connection: hyper::upgrade::on(request) })
    }
}

impl Wanted {
    /// The method of the request that the app gets.
    pub(crate) fn method<'a>(&self, asked: &'a Method) -> &'a Method {
        if self.key.is_some() { &Method::GET } else { asked }
    }

    /// The headers that ask the app for it.
    pub(crate) fn each(&self, mut take: impl FnMut(&HeaderName, &HeaderValue)) {
        take(&header::CONNECTION, &HeaderValue::from_static("upgrade"));
        take(&header::UPGRADE, &self.name);
        if let Some(key) = &self.key {
            take(&SEC_WEBSOCKET_KEY, key);
        }
    }

    /// Whether this answer would say the opposite of what the app has said.
    pub(crate) fn misunderstands(&self, status: StatusCode) -> bool {
        self.key.is_some() && status.is_success()
    }

    /// Makes the app's agreement what the client expects.
    pub(crate) fn agree(&self, status: &mut StatusCode, headers: &mut HeaderMap) {
        if self.key.is_some() {
            *status = StatusCode::OK;
            for name in [header::CONNECTION, header::UPGRADE, SEC_WEBSOCKET_ACCEPT] {
                headers.remove(name);
            }
        }
    }
}

/// Whether it is CONNECT and yet for a web server.
pub(crate) fn is_connect(parts: &Parts) -> bool {
    is_extended_connect(&parts.method, parts.extensions.get())
}

fn is_extended_connect(method: &Method, protocol: Option<&Protocol>) -> bool {
    *method == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == WEBSOCKET)
}

fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let protocol = request.headers().get(header::UPGRADE)?;
    let asked = request.version() == Version::HTTP_11
        && head::connection_options(request.headers()).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let h2c = protocol.to_str().is_ok_and(|text| text.split(',').any(|name| name.trim().eq_ignore_ascii_case("h2c")));
    (asked && !h2c).then(|| protocol.clone())
}

/// A key of what nobody guesses, in base64.
fn key(nonce: &[u8]) -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(24);
    for group in nonce[..nonce.len().min(KEY)].chunks(3) {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            text.push(if place <= group.len() { DIGITS[bits >> (18 - 6 * place) & 63] } else { b'=' });
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_must_be_asked_for_properly() {
        for (version, connection, protocol, wanted) in [
            (Version::HTTP_11, "upgrade", "websocket", true),
            (Version::HTTP_11, "keep-alive, Upgrade", "x/1", true),
            (Version::HTTP_11, "keep-alive", "websocket", false),
            (Version::HTTP_10, "upgrade", "websocket", false),
            (Version::HTTP_11, "upgrade", "h2c", false),
            (Version::HTTP_11, "upgrade", "websocket, H2C", false),
        ] {
            let request =
                Request::builder().version(version).header("connection", connection).header("upgrade", protocol);
            assert_eq!(upgrade(&request.body(()).unwrap()).is_some(), wanted, "{version:?} {connection} {protocol}");
        }
    }

    #[test]
    fn keys_are_in_base64() {
        assert_eq!(key(b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(key(b"the sample nonce, and more"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(key(&[255, 254, 253]), "//79");
        assert_eq!(key(b"ab"), "YWI=");
    }
}
