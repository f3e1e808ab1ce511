//! A request on its way to an app: the client's head, of which some is left out and some is said by us.
//!
//! The head itself is not altered: what the app gets is made of it where it is sent.

use std::io::Write;

use hyper::Version;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, Scheme, Uri};
use hyper::{Method, Request, StatusCode};
use memchr::memchr;

use crate::body::RequestBody;
use crate::head::{self, Asked, Client};
use crate::request_id::X_REQUEST_ID;
use crate::switch::Wanted;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// A request, with what is said about it.
pub(crate) struct Onward<'a> {
    asked: &'a Asked,
    client: &'a Client,
    /// Empty, once it has been sent.
    pub(crate) body: RequestBody,
    host: &'a HeaderValue,
    switch: Option<&'a Wanted>,
    /// The tag of the target that it should go to.
    pub(crate) wanted: Option<u64>,
    /// What `Connection` lists.
    listed: Vec<HeaderName>,
    /// It may be sent twice.
    repeatable: bool,
    /// How many connections were closed after it had been sent, and instead of an answer.
    unanswered: usize,
}

/// A request that may be sent twice is sent at most so often. It could be what kills those who get it.
const SENT: usize = 3;

impl<'a> Onward<'a> {
    pub(crate) fn new(
        asked: &'a Asked,
        client: &'a Client,
        body: RequestBody,
        host: &'a HeaderValue,
        switch: Option<&'a Wanted>,
    ) -> Self {
        let listed = if asked.has.connection { head::listed(&asked.parts.headers) } else { Vec::new() };
        let repeatable = switch.is_none() && is_repeatable(&asked.parts.method, &body);
        Self { asked, client, body, host, switch, wanted: None, listed, repeatable, unanswered: 0 }
    }

    /// The head as the client sent it.
    pub(crate) fn parts(&self) -> &Parts {
        &self.asked.parts
    }

    pub(crate) fn host(&self) -> &HeaderValue {
        self.host
    }

    /// Passes on an answer that only promises another one.
    pub(crate) fn promise(&self, status: StatusCode, headers: &HeaderMap) {
        self.client.promises.add(self.asked.parts.version, status, headers);
    }

    /// Whether it may be sent twice: it has no body, and doing it twice is doing it once (RFC 9110, 9.2.2).
    pub(crate) fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// The connection was closed instead of an answer. Whether it may be sent once more.
    pub(crate) fn may_be_repeated(&mut self) -> bool {
        self.unanswered += 1;
        self.repeatable && self.unanswered < SENT
    }

    /// Lays out the head in HTTP/1.1, for a body of this length; None: in chunks.
    pub(crate) fn lay_out(&self, out: &mut Vec<u8>, length: Option<u64>) {
        let method = self.method();
        out.extend_from_slice(method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target().as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let mut said = false;
        self.each(|name, value| {
            if *name == header::CONTENT_LENGTH {
                said = true;
            } else {
                field(out, name, value.as_bytes());
            }
        });
        let wants_length = said || matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        // Writing to a vector does not fail.
        let _ = match length {
            None => write!(out, "transfer-encoding: chunked\r\n\r\n"),
            Some(0) if !wants_length => write!(out, "\r\n"),
            Some(length) => write!(out, "content-length: {length}\r\n\r\n"),
        };
    }

    /// The same in HTTP/2: the authority in the target, in place of `Host`. It takes the body.
    pub(crate) fn take_as_http2(&mut self) -> Request<RequestBody> {
        let mut request = Request::new(std::mem::take(&mut self.body));
        *request.version_mut() = Version::HTTP_2;
        request.method_mut().clone_from(self.method());
        let headers = request.headers_mut();
        self.each(|name, value| {
            if *name != header::HOST {
                headers.append(name.clone(), value.clone());
            }
        });
        let uri = Uri::builder().scheme(Scheme::HTTP).path_and_query(self.target());
        let authority = Authority::try_from(self.host.as_bytes()).ok();
        if let Some(uri) = authority.and_then(|authority| uri.authority(authority).build().ok()) {
            *request.uri_mut() = uri;
        }
        request
    }

    fn method(&self) -> &Method {
        let asked = &self.asked.parts.method;
        self.switch.map_or(asked, |wanted| wanted.method(asked))
    }

    fn target(&self) -> &str {
        self.asked.parts.uri.path_and_query().map_or("/", |target| target.as_str())
    }

    /// The headers that the app gets: hop-by-hop ones left out, those that say where the request comes from ours.
    fn each(&self, mut take: impl FnMut(&HeaderName, &HeaderValue)) {
        take(&header::HOST, self.host);
        for (name, value) in &self.asked.parts.headers {
            if self.passes(name) {
                take(name, value);
            }
        }
        if self.asked.has.te && wants_trailers(&self.asked.parts.headers) {
            take(&header::TE, &HeaderValue::from_static("trailers"));
        }
        take(&FORWARDED_FOR, &self.client.address);
        take(&FORWARDED_PROTO, &self.client.scheme);
        take(&FORWARDED_PORT, &self.client.port);
        take(&FORWARDED_HOST, self.host);
        take(&X_REQUEST_ID, &self.asked.id);
        if let Some(wanted) = self.switch {
            wanted.each(take);
        }
    }

    fn passes(&self, name: &HeaderName) -> bool {
        *name != header::HOST && !head::is_hop_by_hop(name) && !is_ours(name) && !self.listed.contains(name)
    }
}

fn is_repeatable(method: &Method, body: &RequestBody) -> bool {
    let idempotent =
        matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE);
    idempotent && body.is_empty()
}

/// Writes one header.
pub(crate) fn field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let name = name.as_str().as_bytes();
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// HTTP/2 clients may send one header for each cookie (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers
        .get(header::TE)
        .and_then(|te| te.to_str().ok())
        .is_some_and(|te| te.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
}

/// Headers that an app may take for our word (`Proxy` becomes `HTTP_PROXY` in CGI's environment). With `_` for `-` they
/// look the same to an app behind WSGI or CGI.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    if memchr(b'_', name.as_bytes()).is_some() {
        let name = name.replace('_', "-");
        return says_who(&name) || matches!(name.as_str(), "content-length" | "transfer-encoding");
    }
    says_who(name)
}

fn says_who(name: &str) -> bool {
    name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip" | "x-request-id" | "proxy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Has;

    fn laid_out(request: hyper::http::request::Builder) -> String {
        let client = Client::new(
            "192.0.2.1:5".parse().unwrap(),
            HeaderValue::from_static("80"),
            HeaderValue::from_static("http"),
        );
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        join_cookies(&mut parts.headers);
        let asked = Asked { has: Has::of(&parts.headers), parts, id: HeaderValue::from_static("7"), behind: None };
        let host = HeaderValue::from_static("app:80");
        let onward = Onward::new(&asked, &client, RequestBody::default(), &host, None);
        let mut out = Vec::new();
        onward.lay_out(&mut out, Some(0));
        String::from_utf8(out).unwrap().replace(
            "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: http\r\nx-forwarded-port: 80\r\nx-forwarded-host: app:80\r\n\
             x-request-id: 7\r\n",
            "<ours>",
        )
    }

    #[test]
    fn a_head_is_laid_out() {
        let request = |method: &str, uri: &str| Request::builder().method(method).uri(uri);
        for (request, expected) in [
            (request("GET", "/x?y").header("X-A", "b"), "GET /x?y HTTP/1.1\r\nhost: app:80\r\nx-a: b\r\n<ours>\r\n"),
            (request("GET", "http://app:80/x"), "GET /x HTTP/1.1\r\nhost: app:80\r\n<ours>\r\n"),
            (request("OPTIONS", "*"), "OPTIONS * HTTP/1.1\r\nhost: app:80\r\n<ours>\r\n"),
            (request("POST", "/"), "POST / HTTP/1.1\r\nhost: app:80\r\n<ours>content-length: 0\r\n\r\n"),
            (
                request("GET", "/").header("content-length", "0"),
                "GET / HTTP/1.1\r\nhost: app:80\r\n<ours>content-length: 0\r\n\r\n",
            ),
            (
                request("GET", "/").header("host", "other").header("connection", "close, X-A").header("x-a", "b"),
                "GET / HTTP/1.1\r\nhost: app:80\r\n<ours>\r\n",
            ),
            (
                request("GET", "/")
                    .header("te", "gzip, trailers")
                    .header("keep-alive", "5")
                    .header("x-request-id", "1"),
                "GET / HTTP/1.1\r\nhost: app:80\r\nte: trailers\r\n<ours>\r\n",
            ),
            (
                request("GET", "/").version(Version::HTTP_2).header("cookie", "a=b").header("cookie", "c=d"),
                "GET / HTTP/1.1\r\nhost: app:80\r\ncookie: a=b; c=d\r\n<ours>\r\n",
            ),
        ] {
            assert_eq!(laid_out(request), expected);
        }
    }

    #[test]
    fn headers_that_look_like_ours_are_ours() {
        for name in [
            "x-forwarded-for",
            "x-forwarded-anything",
            "x_forwarded_for",
            "x-forwarded_for",
            "forwarded",
            "x-real-ip",
            "x_real_ip",
            "proxy",
            "content_length",
            "x-request-id",
            "x_request_id",
        ] {
            assert!(is_ours(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["x-forward", "content-length", "x_custom", "host", "via"] {
            assert!(!is_ours(&HeaderName::from_static(name)), "{name}");
        }
    }
}
