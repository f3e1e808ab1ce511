//! `_redirects` and `_headers`, as at Netlify, without conditions and without proxying.

use hyper::header::{HeaderName, HeaderValue};

use super::path::RequestPath;
use super::pattern::{Pattern, fill};

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redirect {
    from: Pattern,
    to: String,
    /// 200 and 404 show another file, the others send elsewhere.
    pub(super) status: u16,
    /// Whether it holds even where there is a file.
    pub(super) force: bool,
}

/// Headers of the answers to some paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Headers {
    of: Pattern,
    values: Vec<(HeaderName, HeaderValue)>,
}

/// A line that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {reason}")]
pub(crate) struct RuleError {
    pub(super) file: &'static str,
    pub(super) line: usize,
    pub(super) reason: String,
}

const STATUSES: [u16; 8] = [200, 301, 302, 303, 307, 308, 404, 410];
/// They describe how the answer is sent, which is the server's business.
const SERVERS_OWN: [&str; 5] =
    ["content-length", "content-encoding", "transfer-encoding", "connection", "content-range"];

impl Redirect {
    /// One rule; the error says what is wrong.
    pub(super) fn new(from: &str, to: &str, status: &str) -> Result<Self, String> {
        let (number, force) = status.strip_suffix('!').map_or((status, false), |number| (number, true));
        let status = number.parse().ok().filter(|status| STATUSES.contains(status));
        let status = status.ok_or_else(|| format!("{number:?} is no status that is supported: {STATUSES:?}"))?;
        let elsewhere = to.starts_with("http://") || to.starts_with("https://");
        if !elsewhere && !to.starts_with('/') {
            return Err(format!("{to:?} is neither a path that begins with a slash nor an address"));
        }
        if elsewhere && matches!(status, 200 | 404 | 410) {
            return Err(format!("{to} cannot be shown with status {status}: other servers' pages are not passed on"));
        }
        Ok(Self { from: Pattern::parse(from)?, to: to.to_owned(), status, force })
    }

    /// Where this path leads; None if it is none of the rule's.
    pub(super) fn target(&self, path: &RequestPath) -> Option<String> {
        self.from.captures(path).map(|captures| fill(&self.to, &captures))
    }
}

/// Reads `_redirects`.
pub(super) fn redirects(text: &str) -> Result<Vec<Redirect>, RuleError> {
    let mut rules = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split_once(" #").map_or(line, |(line, _)| line).trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let rule = match line.split_whitespace().collect::<Vec<_>>()[..] {
            [from, to] => Redirect::new(from, to, "301"),
            [from, to, status] => Redirect::new(from, to, status),
            _ => Err("expected FROM TO [STATUS]; conditions are not supported".to_owned()),
        };
        rules.push(rule.map_err(|reason| RuleError { file: "_redirects", line: at + 1, reason })?);
    }
    Ok(rules)
}

/// Reads `_headers`: a path, and below it, indented, its headers.
pub(super) fn headers(text: &str) -> Result<Vec<Headers>, RuleError> {
    let mut rules: Vec<Headers> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let failed = |reason: String| RuleError { file: "_headers", line: at + 1, reason };
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let rule = rules.last_mut().ok_or_else(|| failed("a header before any path".to_owned()))?;
            rule.values.push(header(trimmed).map_err(failed)?);
        } else {
            let of = Pattern::parse(trimmed).map_err(failed)?;
            rules.push(Headers { of, values: Vec::new() });
        }
    }
    Ok(rules)
}

/// `Name: value`
pub(super) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("{text:?} is no header, such as Name: value"))?;
    let name: HeaderName = name.trim().parse().map_err(|_| format!("{name:?} cannot name a header"))?;
    if SERVERS_OWN.contains(&name.as_str()) {
        return Err(format!("{name} is up to the server"));
    }
    let value = value.trim().parse().map_err(|_| format!("{value:?} cannot be the value of a header"))?;
    Ok((name, value))
}

impl Headers {
    /// Those of this path.
    pub(super) fn of(&self, path: &RequestPath) -> &[(HeaderName, HeaderValue)] {
        if self.of.captures(path).is_some() { &self.values } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn redirects_of_a_file() {
        let rules = redirects("# old\n/a /b\n\n/c/* /d/:splat 302!  # note\r\n/* /index.html 200\n").unwrap();
        let shown: Vec<_> = rules.iter().map(|rule| (&*rule.to, rule.status, rule.force)).collect();
        assert_eq!(shown, [("/b", 301, false), ("/d/:splat", 302, true), ("/index.html", 200, false)]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let cases = [
            ("/a", "_redirects, line 1: expected FROM TO [STATUS]; conditions are not supported"),
            ("\n/a /b 301 Country=at", "_redirects, line 2: expected FROM TO [STATUS]; conditions are not supported"),
            ("a /b", "_redirects, line 1: \"a\" does not begin with a slash"),
            ("/a b", "_redirects, line 1: \"b\" is neither a path that begins with a slash nor an address"),
            (
                "/a /b 299",
                "_redirects, line 1: \"299\" is no status that is supported: [200, 301, 302, 303, 307, 308, 404, 410]",
            ),
            (
                "/a https://b.example/ 200",
                "_redirects, line 1: https://b.example/ cannot be shown with status 200: other servers' pages are not passed on",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(redirects(text).unwrap_err().to_string(), expected);
        }
        assert_eq!(headers("  A: b").unwrap_err().to_string(), "_headers, line 1: a header before any path");
        assert_eq!(headers("/a\n  Content-Length: 3").unwrap_err().reason, "content-length is up to the server");
    }

    #[test]
    fn headers_of_a_file() {
        let rules = headers("/*\n  X-A: 1\n# x\n/assets/*\n\tCache-Control: public, max-age=31536000\n").unwrap();
        let path = RequestPath::parse("/assets/x.js").unwrap();
        let all: Vec<_> = rules.iter().flat_map(|rule| rule.of(&path)).map(|(name, _)| name.as_str()).collect();
        assert_eq!(all, ["x-a", "cache-control"]);
        assert_eq!(rules[1].of(&RequestPath::parse("/").unwrap()), []);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", lines in "([/:*a-z ]|\n|[0-9]|!|https://){0,40}") {
            for text in [&text, &lines] {
                let _ = redirects(text);
                let _ = headers(text);
            }
        }
    }
}
