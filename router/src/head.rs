//! Heads of requests and responses: what is refused, what is removed, what is added.
//!
//! hyper has parsed them and refuses what breaks the syntax, and [`strict`](crate::strict) what hyper would hide; here is
//! what they let through and a router must not.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Version};

use crate::promises::Promises;
use crate::table::normal;
use crate::{strict, switch};

/// What a stream of events is called.
pub(crate) const EVENTS: &str = "text/event-stream";

/// What is said about the client to the app, the same for all requests of a connection.
#[derive(Clone)]
pub(crate) struct Client {
    /// Its address.
    pub(crate) ip: IpAddr,
    /// The same as text.
    pub(crate) address: HeaderValue,
    /// The port it connected to.
    pub(crate) port: HeaderValue,
    /// `http` or `https`.
    pub(crate) scheme: HeaderValue,
    /// For what is sent to it before an answer.
    pub(crate) promises: Arc<Promises>,
}

impl Client {
    pub(crate) fn new(peer: SocketAddr, port: HeaderValue, scheme: HeaderValue) -> Self {
        // Digits, dots and colons are always a header value.
        let ip = peer.ip().to_canonical();
        let address = HeaderValue::from_str(&ip.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { ip, address, port, scheme, promises: Arc::default() }
    }

    /// Whether it came with TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.scheme == "https"
    }
}

/// A request's head, and what else is known before anybody is asked.
pub(crate) struct Asked {
    pub(crate) parts: Parts,
    pub(crate) has: Has,
    /// What the request is called.
    pub(crate) id: HeaderValue,
    /// Who sent it, if it came by a proxy that is trusted to say so.
    pub(crate) behind: Option<Box<Client>>,
}

impl Asked {
    /// Who sent it, over the connection of this client.
    pub(crate) fn client<'a>(&'a self, peer: &'a Client) -> &'a Client {
        self.behind.as_deref().unwrap_or(peer)
    }
}

/// Which headers it has, of those that few requests have and that have to be looked at.
#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "that is what it is")]
pub(crate) struct Has {
    pub(crate) connection: bool,
    pub(crate) expect: bool,
    pub(crate) request_id: bool,
    pub(crate) te: bool,
    pub(crate) transfer_encoding: bool,
    pub(crate) upgrade: bool,
}

impl Has {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut has = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => has.connection = true,
                "expect" => has.expect = true,
                "x-request-id" => has.request_id = true,
                "te" => has.te = true,
                "transfer-encoding" => has.transfer_encoding = true,
                "upgrade" => has.upgrade = true,
                _ => {}
            }
        }
        has
    }
}

/// Why a request is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it names no host")]
    NoHost,
    #[error("it has more than one Host header")]
    ManyHosts,
    #[error("its Host header is not a host name with an optional port")]
    BadHost,
    #[error("its target and its Host header name different hosts")]
    OtherHost,
    #[error("its method or the form of its target is not for a web server")]
    Form,
    #[error("its Transfer-Encoding is not supported")]
    TransferEncoding,
    #[error("its body does not end as it should")]
    Body,
}

/// Checks a request; the result is the `Host` to use: from its header, or from a target in absolute form.
pub(crate) fn check(parts: &Parts, has: Has) -> Result<Cow<'_, HeaderValue>, Malformed> {
    if has.transfer_encoding {
        check_framing(&parts.headers)?;
    }
    check_form(parts)?;
    let from_header = host_header(&parts.headers)?;
    let Some(authority) = parts.uri.authority() else {
        return from_header.map(Cow::Borrowed).ok_or(Malformed::NoHost);
    };
    match from_header {
        Some(host) if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => Ok(Cow::Borrowed(host)),
        Some(_) => Err(Malformed::OtherHost),
        None if parts.version == Version::HTTP_11 => Err(Malformed::NoHost),
        None => HeaderValue::from_str(authority.as_str()).map(Cow::Owned).map_err(|_| Malformed::BadHost),
    }
}

fn check_framing(headers: &HeaderMap) -> Result<(), Malformed> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Malformed::TransferEncoding),
    }
}

fn check_form(parts: &Parts) -> Result<(), Malformed> {
    let uri = &parts.uri;
    let asterisk = uri.path() == "*" && parts.method == Method::OPTIONS;
    let origin = uri.path().starts_with('/');
    let scheme = uri.scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https"));
    let authority_only = uri.authority().is_some() && uri.scheme().is_none();
    let connect = parts.method == Method::CONNECT && !switch::is_connect(parts);
    if connect || authority_only || !scheme || !(origin || asterisk) {
        return Err(Malformed::Form);
    }
    Ok(())
}

fn host_header(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Malformed> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() { Err(Malformed::ManyHosts) } else { Ok(host) }
}

/// The name in a `Host` header, as it stands in a table.
pub(crate) fn host_name(host: &HeaderValue) -> Result<Cow<'_, str>, Malformed> {
    let text = host.to_str().map_err(|_| Malformed::BadHost)?;
    if text.is_empty() {
        return Err(Malformed::NoHost);
    }
    let (name, port) = split_port(text);
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.len() > 5 {
        return Err(Malformed::BadHost);
    }
    normal(name).ok_or(Malformed::BadHost)
}

pub(crate) fn split_port(text: &str) -> (&str, &str) {
    let after_address = text.rfind(']').map_or(0, |end| end + 1);
    match text[after_address..].find(':') {
        Some(colon) => (&text[..after_address + colon], &text[after_address + colon + 1..]),
        None => (text, ""),
    }
}

/// Whether no further request may come over the connection of this one, unless it is answered with an upgrade: what
/// follows it has not been checked.
pub(crate) fn ends_connection(parts: &Parts) -> bool {
    let mut upgrades = parts.headers.get_all(header::UPGRADE).iter();
    parts.version != Version::HTTP_2 && upgrades.any(|value| strict::may_upgrade(value.as_bytes()))
}

/// Makes the head that the client gets.
pub(crate) fn to_client<B>(response: &mut Response<B>) {
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    let upgrade = if switches { headers.get(header::UPGRADE).cloned() } else { None };
    remove(headers);
    announce_upgrade(headers, upgrade);
}

/// Says again which protocol is switched to.
pub(crate) fn announce_upgrade(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Whether an answer is a stream of events: it lasts until somebody ends it, and its client comes again by itself then.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| media_type(kind).eq_ignore_ascii_case(EVENTS))
}

/// A `Content-Type` without its parameters.
pub(crate) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Removes the headers that are for one hop, and those that `Connection` lists.
fn remove(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    for name in listed(headers).iter().chain(&named) {
        headers.remove(name);
    }
}

/// The headers that `Connection` lists; never what says where the message goes or ends.
pub(crate) fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    connection_options(headers).filter_map(listed_name).collect()
}

/// The header that an option of `Connection` is.
pub(crate) fn listed_name(option: &str) -> Option<HeaderName> {
    let usual = ["close", "keep-alive", "upgrade", "host", "content-length"];
    if usual.iter().any(|usual| option.eq_ignore_ascii_case(usual)) { None } else { option.parse().ok() }
}

/// What `Connection` says.
pub(crate) fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// `Trailer` stays: it announces what hyper then passes on. `Expect` goes: it has been met once the body is asked for.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_found_in_its_header() {
        for (header, name) in [
            ("app", Ok("app")),
            ("App.:80", Ok("app")),
            ("app:", Ok("app")),
            ("[::1]", Ok("::1")),
            ("[::1]:80", Ok("::1")),
            ("127.0.0.1:80", Ok("127.0.0.1")),
            ("", Err(Malformed::NoHost)),
            (":80", Err(Malformed::BadHost)),
            ("::1", Err(Malformed::BadHost)),
            ("app:80:80", Err(Malformed::BadHost)),
            ("app:x", Err(Malformed::BadHost)),
            ("[::1]x", Err(Malformed::BadHost)),
            ("[app]", Err(Malformed::BadHost)),
        ] {
            let value = HeaderValue::from_static(header);
            assert_eq!(host_name(&value).as_deref().map_err(|error| *error), name, "{header}");
        }
    }
}
