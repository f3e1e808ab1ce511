//! From a request to its answer.

use std::io;
use std::time::SystemTime;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::content_type;
use super::file::{Content, Found, Opened, Root};
use super::path::RequestPath;
use super::range::{Range, range};
use super::rules::Redirect;
use super::site::Site;

/// Answers requests for one site.
#[derive(Debug)]
pub(super) struct Answerer {
    site: Site,
    root: Root,
}

/// Ready-made compressed siblings of files, the best first.
const ENCODINGS: [(&str, &str); 3] = [("br", ".br"), ("zstd", ".zst"), ("gzip", ".gz")];

impl Answerer {
    pub(super) fn new(site: Site) -> io::Result<Self> {
        let root = Root::open(&site.root)?;
        Ok(Self { site, root })
    }

    /// Never fails: what goes wrong is an answer, too.
    pub(super) fn answer<B>(&mut self, request: &Request<B>) -> Response<Content> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED);
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        let Some(path) = RequestPath::parse(request.uri().path()) else { return text(StatusCode::BAD_REQUEST) };
        let mut answer = self.at(&path, request).unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR));
        self.add_headers(&path, answer.headers_mut());
        answer
    }

    fn at<B>(&mut self, path: &RequestPath, request: &Request<B>) -> io::Result<Response<Content>> {
        let rule = |rules: &[Redirect], force: bool| {
            rules.iter().filter(|rule| rule.force || !force).find_map(|rule| Some((rule.status, rule.target(path)?)))
        };
        if let Some((status, target)) = rule(&self.site.redirects, true) {
            return self.follow(status, &target, request);
        }
        if let Some(answer) = self.file(path, StatusCode::OK, request)? {
            return Ok(answer);
        }
        match rule(&self.site.redirects, false) {
            Some((status, target)) => self.follow(status, &target, request),
            None => self.nothing(StatusCode::NOT_FOUND, request),
        }
    }

    /// Does what a rule says.
    fn follow<B>(&mut self, status: u16, target: &str, request: &Request<B>) -> io::Result<Response<Content>> {
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND);
        if code.is_redirection() {
            return Ok(elsewhere(code, target, request.uri().query()));
        }
        let path = RequestPath::parse(target);
        let shown = path.map(|path| self.file(&path, code, request)).transpose()?.flatten();
        shown.map_or_else(|| self.nothing(StatusCode::NOT_FOUND, request), Ok)
    }

    /// The site's own page for what is not there, if it has one.
    fn nothing<B>(&mut self, status: StatusCode, request: &Request<B>) -> io::Result<Response<Content>> {
        match self.root.find(&self.site.error_page)? {
            Found::File(file) => {
                let name = self.site.error_page.clone();
                Ok(self.whole(&name, file, status, request))
            }
            _ => Ok(text(status)),
        }
    }

    /// The file that a path means: itself, its `index.html`, or with `.html`.
    fn file<B>(
        &mut self,
        path: &RequestPath,
        status: StatusCode,
        request: &Request<B>,
    ) -> io::Result<Option<Response<Content>>> {
        if path.is_hidden() {
            return Ok(None);
        }
        let name = path.file();
        let index = if name.is_empty() { "index.html".to_owned() } else { format!("{name}/index.html") };
        match self.root.find(&name)? {
            Found::File(file) if !path.is_directory => return Ok(Some(self.whole(&name, file, status, request))),
            Found::Directory => {
                if let Found::File(file) = self.root.find(&index)? {
                    let there = path.is_directory || name.is_empty() || status != StatusCode::OK;
                    let query = request.uri().query();
                    return Ok(Some(if there {
                        self.whole(&index, file, status, request)
                    } else {
                        elsewhere(StatusCode::MOVED_PERMANENTLY, &path.with_slash(), query)
                    }));
                }
            }
            _ => {}
        }
        let page = format!("{name}.html");
        match self.root.find(&page)? {
            Found::File(file) if !name.is_empty() => Ok(Some(self.whole(&page, file, status, request))),
            _ => Ok(None),
        }
    }

    /// A file, compressed if that is there and wanted, as far as the client does not have it.
    fn whole<B>(&mut self, name: &str, file: Opened, status: StatusCode, request: &Request<B>) -> Response<Content> {
        let (file, encoding, varies) = self.encoded(name, file, request.headers());
        let mut answer = if status == StatusCode::OK { conditional(file, request) } else { full(file, status) };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type::of(name)));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=0, must-revalidate"));
        if varies {
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        answer
    }

    fn encoded(&mut self, name: &str, file: Opened, headers: &HeaderMap) -> (Opened, Option<&'static str>, bool) {
        let mut varies = false;
        for (encoding, end) in ENCODINGS {
            if let Ok(Found::File(compressed)) = self.root.find(&format!("{name}{end}")) {
                varies = true;
                if accepts(headers, encoding) {
                    return (compressed, Some(encoding), true);
                }
            }
        }
        (file, None, varies)
    }

    fn add_headers(&self, path: &RequestPath, headers: &mut HeaderMap) {
        let mut set: Vec<&HeaderName> = Vec::new();
        for (name, value) in self.site.headers.iter().flat_map(|rule| rule.of(path)) {
            if set.contains(&name) {
                headers.append(name, value.clone());
            } else {
                headers.insert(name, value.clone());
                set.push(name);
            }
        }
    }
}

/// Whether the client takes this encoding.
fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let given = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|entry| {
        let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
        let refused = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q <= 0.0);
        name.trim().eq_ignore_ascii_case(encoding) && !refused
    })
}

/// All of a file, the part of it that is asked for, or nothing if the client has it.
fn conditional<B>(file: Opened, request: &Request<B>) -> Response<Content> {
    let headers = request.headers();
    let modified = file.modified.map(httpdate::fmt_http_date);
    let given = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let has_it = match given(header::IF_NONE_MATCH) {
        Some(tags) => tags.split(',').any(|tag| tag.trim() == "*" || tag.trim().trim_start_matches("W/") == file.tag),
        // Only the very time: after a rollback a file is older than what the client has.
        None => modified.is_some() && given(header::IF_MODIFIED_SINCE) == modified.as_deref(),
    };
    if has_it {
        return described(StatusCode::NOT_MODIFIED, Content::Text(Bytes::new()), &file.tag, file.modified);
    }
    let is_same = given(header::IF_RANGE).is_none_or(|known| known == file.tag || Some(known) == modified.as_deref());
    let asked = given(header::RANGE).filter(|_| is_same);
    match asked.map(|asked| range(asked, file.length)) {
        Some(Range::Part { first, last }) => {
            let content = Content::Part { file: file.file, at: first, left: last - first + 1 };
            let mut part = described(StatusCode::PARTIAL_CONTENT, content, &file.tag, file.modified);
            set(&mut part, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{}", file.length));
            part
        }
        Some(Range::Beyond) => {
            let mut beyond = text(StatusCode::RANGE_NOT_SATISFIABLE);
            set(&mut beyond, header::CONTENT_RANGE, &format!("bytes */{}", file.length));
            beyond
        }
        Some(Range::All) | None => full(file, StatusCode::OK),
    }
}

fn full(file: Opened, status: StatusCode) -> Response<Content> {
    let content = Content::Part { file: file.file, at: 0, left: file.length };
    described(status, content, &file.tag, file.modified)
}

fn described(status: StatusCode, content: Content, tag: &str, modified: Option<SystemTime>) -> Response<Content> {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) {
        set(&mut answer, header::ETAG, tag);
        set(&mut answer, header::ACCEPT_RANGES, "bytes");
        if let Some(modified) = modified {
            set(&mut answer, header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
        }
    }
    answer
}

/// With the request's query, unless the target has one.
fn elsewhere(status: StatusCode, target: &str, query: Option<&str>) -> Response<Content> {
    let location = match query {
        Some(query) if !target.contains('?') => format!("{target}?{query}"),
        _ => target.to_owned(),
    };
    let mut answer = text(status);
    set(&mut answer, header::LOCATION, &location);
    answer
}

/// A value that cannot be one is left out; none of ours is.
fn set(answer: &mut Response<Content>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// Just the status, in words.
fn text(status: StatusCode) -> Response<Content> {
    let mut answer = Response::new(Content::Text(format!("{status}\n").into()));
    *answer.status_mut() = status;
    set(&mut answer, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    answer
}
