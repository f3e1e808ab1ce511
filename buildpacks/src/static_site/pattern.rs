//! Patterns of paths, as in `_redirects` and `_headers`: `/blog/:year/*`.

use std::collections::BTreeMap;

use super::path::RequestPath;

/// What a path is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    /// Whether anything may follow.
    splat: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Is(String),
    Named(String),
}

/// What stood for the pattern's variables, percent-encoded as it came.
pub(super) type Captures = BTreeMap<String, String>;

impl Pattern {
    /// From a path with variables. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("{text:?} does not begin with a slash"));
        }
        let mut segments: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
        let splat = segments.last() == Some(&"*");
        segments.truncate(segments.len() - usize::from(splat));
        if segments.iter().any(|segment| segment.contains('*')) {
            return Err(format!("{text:?}: a * can only be the whole last part"));
        }
        let part = |segment: &&str| match segment.strip_prefix(':') {
            Some(name) => Part::Named(name.to_owned()),
            None => Part::Is((*segment).to_owned()),
        };
        Ok(Self { parts: segments.iter().map(part).collect(), splat })
    }

    /// None if the path is another.
    pub(super) fn captures(&self, path: &RequestPath) -> Option<Captures> {
        let (count, given) = (self.parts.len(), path.names.len());
        if given < count || given > count && !self.splat {
            return None;
        }
        let mut captures = Captures::new();
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Is(name) if *name == path.names[at] || *name == path.raw[at] => {}
                Part::Is(_) => return None,
                Part::Named(name) => drop(captures.insert(name.clone(), path.raw[at].clone())),
            }
        }
        if self.splat {
            captures.insert("splat".to_owned(), path.raw[count..].join("/"));
        }
        Some(captures)
    }
}

/// `text` with the captured values for `:name`.
pub(super) fn fill(text: &str, captures: &Captures) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(':') {
        filled.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        match captures.get(&after[..end]) {
            Some(value) => filled.push_str(value),
            None => filled.push_str(&rest[at..=at + end]),
        }
        rest = &after[end..];
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matches_and_fills() {
        let cases = [
            ("/*", "/a/b", "/x/:splat", Some("/x/a/b")),
            ("/*", "/", "/x/:splat", Some("/x/")),
            ("/a/*", "/a", "/b", Some("/b")),
            ("/a", "/a/", "/b", Some("/b")),
            ("/a", "/a/b", "/b", None),
            ("/:y/:m", "/2026/11", "/?year=:y&m=:m&:other", Some("/?year=2026&m=11&:other")),
            ("/a b", "/a%20b", "/c", Some("/c")),
            ("/*", "//evil.example/x", "/:splat", Some("/evil.example/x")),
            ("/a", "/a", "https://host:8443/x", Some("https://host:8443/x")),
        ];
        for (pattern, path, to, expected) in cases {
            let captures = Pattern::parse(pattern).unwrap().captures(&RequestPath::parse(path).unwrap());
            assert_eq!(captures.map(|captures| fill(to, &captures)).as_deref(), expected, "{pattern} {path}");
        }
        assert!(Pattern::parse("a").is_err() && Pattern::parse("/a*").is_err() && Pattern::parse("/*/a").is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(pattern in "\\PC*", parts in "/[:*a/]*", path in "/[a%0-9/]*") {
            for pattern in [&pattern, &parts] {
                if let (Ok(pattern), Some(path)) = (Pattern::parse(pattern), RequestPath::parse(&path)) {
                    pattern.captures(&path);
                }
                fill(pattern, &Captures::from([("a".to_owned(), "b".to_owned())]));
            }
        }
    }
}
