//! Python versions: what an app asks for and what is there.

use std::fmt;
use std::path::Path;
use std::{fs, io};

/// A wish: `3`, `3.11` or `3.11.7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Major, and perhaps minor and patch.
    parts: Vec<u32>,
    /// The file that says so.
    pub(crate) file: &'static str,
}

/// A file that asks for something that is no version.
#[derive(Debug, thiserror::Error)]
#[error("{file} says {text:?}, which is no Python version")]
pub(crate) struct NoVersion {
    /// The file.
    pub(crate) file: &'static str,
    /// What it says.
    pub(crate) text: String,
}

impl Wish {
    /// Looks into `.python-version`, then `runtime.txt`.
    pub(super) fn read(app: &Path) -> Result<Option<Self>, NoVersion> {
        for file in [".python-version", "runtime.txt"] {
            match fs::read(app.join(file)) {
                Ok(bytes) => return Self::parse(&String::from_utf8_lossy(&bytes), file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(NoVersion { file, text: error.to_string() }),
            }
        }
        Ok(None)
    }

    /// The first line that is neither empty nor a comment counts; a file without one asks for nothing.
    pub(super) fn parse(text: &str, file: &'static str) -> Result<Option<Self>, NoVersion> {
        let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let Some(line) = lines.find(|line| !line.is_empty() && !line.starts_with('#')) else { return Ok(None) };
        let version = line.strip_prefix("python-").or(line.strip_prefix("cpython-")).unwrap_or(line);
        let parts: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
        match parts {
            Ok(parts) if parts.len() <= 3 => Ok(Some(Self { parts, file })),
            _ => Err(NoVersion { file, text: line.to_owned() }),
        }
    }

    /// Whether this version will do. The patch does not count: it changes with the server's updates, and is compatible.
    pub(super) fn accepts(&self, version: &str) -> bool {
        let there: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
        let wanted = &self.parts[..self.parts.len().min(2)];
        there.starts_with(wanted)
    }

    /// Whether it is this version to the last digit that was asked for.
    pub(super) fn is_exactly(&self, version: &str) -> bool {
        let text = self.to_string();
        version == text || version.starts_with(&format!("{text}."))
    }

    /// `python3.12`, if it says as much.
    pub(super) fn program(&self) -> Option<String> {
        let [major, minor, ..] = self.parts[..] else { return None };
        Some(format!("python{major}.{minor}"))
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.parts.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wishes() {
        let cases = [
            ("3.11\n", "3.11.7", true, true),
            ("3.11.7", "3.11.7", true, true),
            ("# why\n\npython-3.11.2\n", "3.11.7", true, false),
            ("3", "3.13.0", true, true),
            ("3.1", "3.11.7", false, false),
            ("\u{feff}3.12\r\n", "3.11.7", false, false),
        ];
        for (text, there, accepts, exactly) in cases {
            let wish = Wish::parse(text, "runtime.txt").unwrap().unwrap();
            assert_eq!((wish.accepts(there), wish.is_exactly(there)), (accepts, exactly), "{text:?}");
        }
        assert_eq!(Wish::parse("# nothing\n", "runtime.txt").unwrap(), None);
        for text in ["pypy3.10", "3.11.x", "3.1.2.3", ">=3.11", "-1"] {
            assert_eq!(Wish::parse(text, "runtime.txt").unwrap_err().text, text);
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", version in "\\PC*") {
            if let Ok(Some(wish)) = Wish::parse(&text, "runtime.txt") {
                wish.accepts(&version);
                wish.is_exactly(&version);
                wish.program();
            }
        }
    }
}
