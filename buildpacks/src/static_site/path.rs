//! A request's path, taken apart once and safely.

/// Segments of a path, without empty ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestPath {
    /// As they came, percent-encoded: fit for a `Location`.
    pub(super) raw: Vec<String>,
    /// What they mean: names of files.
    pub(super) names: Vec<String>,
    /// Whether it ends with a slash.
    pub(super) is_directory: bool,
}

impl RequestPath {
    /// None for what cannot be the path of a file: `..`, a NUL byte, an encoded slash, broken encoding.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or(path);
        let raw: Vec<String> =
            path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
        let names: Option<Vec<String>> = raw.iter().map(|part| name(part)).collect();
        Some(Self { raw, names: names?, is_directory: path.ends_with('/') })
    }

    /// Whether something on the way begins with a dot (`.git`, `.env`), or is there for the server alone.
    pub(super) fn is_hidden(&self) -> bool {
        let dot = |(at, name): (usize, &String)| name.starts_with('.') && !(at == 0 && name == ".well-known");
        let own = ["_redirects", "_headers", "static.json", "Procfile", "app.json", "project.toml"];
        let is_own = self.names.len() == 1 && own.contains(&self.names[0].as_str());
        self.names.iter().enumerate().any(dot) || is_own
    }

    /// Below the site's root; empty for the root itself.
    pub(super) fn file(&self) -> String {
        self.names.join("/")
    }

    /// The same path as a directory's.
    pub(super) fn with_slash(&self) -> String {
        format!("/{}/", self.raw.join("/"))
    }
}

fn name(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    let name = String::from_utf8(bytes).ok()?;
    let is_name = name != ".." && name != "." && !name.is_empty() && !name.contains(['/', '\0']);
    is_name.then_some(name)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths() {
        let file = |path: &str| RequestPath::parse(path).map(|path| path.file());
        assert_eq!(file("/"), Some(String::new()));
        assert_eq!(file("/a//b/./c.html?x=/../y"), Some("a/b/c.html".to_owned()));
        assert_eq!(file("/caf%C3%A9%20x"), Some("café x".to_owned()));
        for bad in ["/../x", "/a/..", "/%2e%2e/x", "/%2E./x", "/a%2fb", "/a%00", "/%", "/%4", "/%zz", "/%ff", "/%2e"] {
            assert_eq!(file(bad), None, "{bad}");
        }
        assert_eq!(RequestPath::parse("//host/x").unwrap().with_slash(), "/host/x/");
    }

    #[test]
    fn hidden() {
        let hidden = |path: &str| RequestPath::parse(path).unwrap().is_hidden();
        for path in ["/.git/config", "/a/.env", "/%2egit/HEAD", "/_redirects", "/Procfile", "/a/.well-known"] {
            assert!(hidden(path), "{path}");
        }
        for path in ["/", "/.well-known/security.txt", "/docs/Procfile", "/a.b"] {
            assert!(!hidden(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn nothing_leads_out(path in "(/|\\.|%2e|%2f|%5c|\\\\|a|%00|%c0%ae){0,12}") {
            if let Some(parsed) = RequestPath::parse(&path) {
                prop_assert!(parsed.names.iter().all(|name| name != ".." && !name.contains('/') && !name.contains('\0')));
            }
        }

        #[test]
        fn nothing_makes_it_panic(path in "\\PC*") {
            RequestPath::parse(&path).map(|path| path.is_hidden());
        }
    }
}
