//! What must hold for any bytes, tried by the fuzz targets in `router/fuzz` with bytes that they make up, and by a test with
//! those that have been found worth keeping. Each panics if it does not hold.
#![expect(clippy::expect_used, reason = "a trial fails by panicking")]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request};
use tokio::io::AsyncReadExt;

use crate::body::RequestBody;
use crate::head::{self, Asked, Client, Has};
use crate::onward::Onward;
use crate::proxies::{Network, Proxies};
use crate::strict::Strict;
use crate::table::HostName;
use crate::{proxy_protocol, upstream};

/// A trial, and its name.
pub type Trial = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Trial; 5] =
    [("strict", strict), ("rewriting", rewriting), ("host", host), ("answer", answer), ("proxies", proxies)];

/// A client's bytes reach hyper the same however they arrive, and of a head that passes the whole is one to another
/// parser. The first byte says how they arrive.
pub fn strict(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else { return };
    let whole = passed(bytes, bytes.len() + 1);
    assert_eq!(whole, passed(bytes, usize::from(*size) + 1), "the cut matters");
    let blank = whole.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    let requests = &whole[blank..];
    if requests.windows(4).any(|end| end == b"\r\n\r\n") && !whole.contains(&0) {
        let mut space = vec![httparse::EMPTY_HEADER; 4096];
        let parsed = httparse::Request::new(&mut space).parse(requests);
        assert_ne!(parsed, Ok(httparse::Status::Partial), "it ends elsewhere for another parser");
    }
}

fn passed(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut strict = Strict::new(bytes, Bytes::new(), Arc::default(), Arc::default());
    let mut all = Vec::new();
    let mut part = vec![0; size];
    while let Some(Ok(length @ 1..)) = strict.read(&mut part).now_or_never() {
        all.extend_from_slice(&part[..length]);
    }
    all
}

/// Whatever a client's head holds, the app's says once whose it is, and nothing that is for one hop.
pub fn rewriting(data: &[u8]) {
    let Some(parts) = request(data) else { return };
    let has = Has::of(&parts.headers);
    let asked = Asked { parts, has, id: HeaderValue::from_static("7"), behind: None };
    let parts = &asked.parts;
    let Ok(host) = head::check(parts, has) else { return };
    let client =
        Client::new(([192, 0, 2, 1], 5).into(), HeaderValue::from_static("80"), HeaderValue::from_static("http"));
    let onward = Onward::new(&asked, &client, RequestBody::default(), &host, None);
    let mut out = Vec::new();
    onward.lay_out(&mut out, Some(0));
    let again = request(&out).expect("it is a head");
    assert_eq!(again.method, parts.method);
    assert_eq!(again.uri.path_and_query(), parts.uri.path_and_query());
    let only = |name: &str| {
        let mut values = again.headers.get_all(name).iter();
        (values.next().map(HeaderValue::as_bytes), values.next())
    };
    assert_eq!(only("host"), (Some(host.as_bytes()), None));
    assert_eq!(only("x-forwarded-for"), (Some(&b"192.0.2.1"[..]), None));
    assert_eq!(only("x-forwarded-proto"), (Some(&b"http"[..]), None));
    assert_eq!(only("x-request-id"), (Some(&b"7"[..]), None));
    for name in
        ["connection", "upgrade", "transfer-encoding", "keep-alive", "proxy-authorization", "forwarded", "proxy"]
    {
        assert_eq!(only(name), (None, None), "{name}");
    }
    assert!(again.headers.get_all("content-length").iter().count() <= 1);
    assert!(again.headers.get(header::TE).is_none_or(|te| te == "trailers"));
}

/// A head as hyper would make it of these bytes.
fn request(bytes: &[u8]) -> Option<Parts> {
    let mut space = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut space);
    if !parsed.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    let mut request = Request::builder().method(method).uri(parsed.path?).body(()).ok()?;
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(request.into_parts().0)
}

/// A `Host` that is accepted names a host as tables do, and the same one when it is read again.
pub fn host(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let Ok(name) = head::host_name(&value) else { return };
    let known = HostName::new(&name).expect("what is looked up could stand in a table");
    assert_eq!(known.as_str(), name);
    assert!(name.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || b".-_:".contains(&byte)));
    let bracketed = if name.contains(':') { format!("[{name}]:80") } else { format!("{name}.:80") };
    let again = HeaderValue::from_str(&bracketed).expect("a name is a header value");
    assert_eq!(head::host_name(&again).as_deref(), Ok(&*name));
}

/// An app's answer is read the same however it arrives. The first byte says how.
pub fn answer(data: &[u8]) {
    upstream::trial(data);
}

/// Nothing that is said about a client leads to anything but an address, or to the proxy's own.
pub fn proxies(data: &[u8]) {
    let mut rest = data;
    if let Some(Ok(Some(_))) = proxy_protocol::read(&mut rest).now_or_never() {
        assert!(data.len() - rest.len() >= 16, "it takes a header, and not more");
    }
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let trusted: Vec<Network> = ["10.0.0.0/8".parse(), "::1".parse()].into_iter().flatten().collect();
    let proxies = Proxies { trusted, protocol: false };
    let client =
        Client::new(([10, 0, 0, 1], 5).into(), HeaderValue::from_static("80"), HeaderValue::from_static("http"));
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "forwarded"] {
        let headers = [(HeaderName::from_static(name), value.clone())].into_iter().collect();
        let seen = proxies.behind(&client, &headers).expect("it is trusted");
        assert!(seen.scheme == "http" || seen.scheme == "https");
        assert!(seen.port.as_bytes().iter().all(u8::is_ascii_digit));
    }
}

/// Bytes that are cut in two read the same.
pub(crate) fn halves(bytes: &[u8], cut: u8) -> [BytesMut; 2] {
    let (one, two) = bytes.split_at(usize::from(cut).min(bytes.len()));
    [BytesMut::from(one), BytesMut::from(two)]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The corpus of each fuzz target.
    #[test]
    fn what_was_worth_keeping_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, trial) in super::ALL {
            let files: Vec<_> = std::fs::read_dir(corpus.join(name)).unwrap().collect();
            assert!(files.len() > 2, "{name} has a corpus");
            for file in files {
                let path = file.unwrap().path();
                println!("{}", path.display());
                trial(&std::fs::read(path).unwrap());
            }
        }
    }
}
