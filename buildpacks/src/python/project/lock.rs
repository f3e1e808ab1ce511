//! What a lock file of another tool comes to for this Python: requirements that leave no choice.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Local;

/// A translated lock.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Locked {
    /// Lines that name an index besides the server's.
    pub(super) indexes: Vec<String>,
    /// Requirements with hashes, which are checked.
    pub(in super::super) hashed: Vec<String>,
    /// Those that have none: from repositories and directories.
    pub(in super::super) plain: Vec<String>,
    /// Directories and files of the app among them.
    pub(super) local: Vec<Local>,
    /// What its author should know.
    pub(super) notes: Vec<String>,
}

impl Locked {
    /// Takes a requirement with the hashes that its files may have.
    pub(super) fn add<'a>(&mut self, requirement: &str, hashes: impl IntoIterator<Item = &'a str>) {
        let mut line = requirement.to_owned();
        for hash in hashes {
            // Writing into a string does not fail.
            let _ = write!(line, " --hash={hash}");
        }
        let list = if line.len() > requirement.len() { &mut self.hashed } else { &mut self.plain };
        list.push(line);
    }

    /// Takes a directory or file of the app.
    pub(super) fn add_local(&mut self, path: &str, editable: bool) {
        let path = path.trim_start_matches("./");
        self.plain.push(format!("{}./{path}", if editable { "-e " } else { "" }));
        self.local.push(Local { path: PathBuf::from(path), editable });
    }

    pub(super) fn add_index(&mut self, url: &str) {
        let line = format!("--extra-index-url {url}");
        if !self.indexes.contains(&line) {
            self.indexes.push(line);
        }
    }

    /// Whether everything comes from the server's own index and is checked by its hash.
    pub(in super::super) fn leaves_no_choice(&self) -> bool {
        let is_url = |line: &String| line.contains('@');
        self.indexes.is_empty() && self.plain.is_empty() && !self.hashed.is_empty() && !self.hashed.iter().any(is_url)
    }

    /// The requirements with hashes, as a file.
    pub(in super::super) fn hashed_file(&self) -> String {
        lines(self.indexes.iter().chain(&self.hashed))
    }

    /// The others.
    pub(in super::super) fn plain_file(&self) -> String {
        lines(self.indexes.iter().chain(&self.plain))
    }
}

fn lines<'a>(lines: impl Iterator<Item = &'a String>) -> String {
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// `name @ git+URL@REVISION#subdirectory=…`
pub(super) fn git(name: &str, url: &str, revision: &str, subdirectory: Option<&str>) -> String {
    let scheme = if url.starts_with("git+") { "" } else { "git+" };
    // `git@host:path` has no scheme, which a requirement must have.
    let url = match url.split_once(':') {
        Some((user, path)) if user.contains('@') && !path.starts_with("//") => format!("ssh://{user}/{path}"),
        _ => url.to_owned(),
    };
    let subdirectory = subdirectory.map_or(String::new(), |path| format!("#subdirectory={path}"));
    format!("{name} @ {scheme}{url}@{revision}{subdirectory}")
}

/// The SHA-256 of a value as Python's `json.dumps(value, sort_keys=True)` writes it.
pub(super) fn digest(value: &Value, comma: &str, colon: &str) -> String {
    let mut text = String::new();
    dump(value, (comma, colon), &mut text);
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn dump(value: &Value, separators: (&str, &str), text: &mut String) {
    match value {
        Value::Object(map) => {
            text.push('{');
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (at, (key, value)) in entries.into_iter().enumerate() {
                text.push_str(if at > 0 { separators.0 } else { "" });
                dump_string(key, text);
                text.push_str(separators.1);
                dump(value, separators, text);
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for (at, value) in list.iter().enumerate() {
                text.push_str(if at > 0 { separators.0 } else { "" });
                dump(value, separators, text);
            }
            text.push(']');
        }
        Value::String(string) => dump_string(string, text),
        other => text.push_str(&other.to_string()),
    }
}

/// Everything outside ASCII as UTF-16 escapes.
fn dump_string(string: &str, text: &mut String) {
    let quoted = Value::from(string).to_string();
    for c in quoted.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_pythons() {
        let value = serde_json::json!({"b": [1, "é\n\u{1f600}"], "a": {"y": null, "x": true}});
        let mut text = String::new();
        dump(&value, (", ", ": "), &mut text);
        assert_eq!(text, r#"{"a": {"x": true, "y": null}, "b": [1, "\u00e9\n\ud83d\ude00"]}"#);
    }

    #[test]
    fn repositories() {
        let cases = [
            (git("a", "https://h/a.git", "c0", None), "a @ git+https://h/a.git@c0"),
            (git("a", "git@h:o/a.git", "c0", Some("x")), "a @ git+ssh://git@h/o/a.git@c0#subdirectory=x"),
        ];
        for (requirement, expected) in cases {
            assert_eq!(requirement, expected);
        }
    }
}
