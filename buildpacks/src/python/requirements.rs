//! What `requirements.txt` asks for, as far as it must be known before an installer reads it: names, pins, hashes and local paths.
//!
//! This is no resolver and no validator: what it does not understand is left to the installer, which explains it better.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::project::Local;
use super::repository::Repository;

/// Requirements, with all files that they include.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Requirements {
    /// Every file that was read, as named from the app's directory, with its bytes.
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    /// What is asked for, in order.
    pub(super) entries: Vec<Entry>,
    /// Directories and files of the app that are to be installed.
    pub(super) local: Vec<Local>,
    /// Repositories that packages come from.
    pub(super) repositories: Vec<Repository>,
    /// The files by their real paths: they may include each other.
    pub(super) seen: BTreeSet<PathBuf>,
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// As it is written.
    pub(super) text: String,
    /// Normalised name; empty if the line does not tell (a bare URL or a path).
    pub(super) name: String,
    /// Extras in brackets, as written.
    pub(super) extras: Vec<String>,
    /// Whether only one version or file satisfies it.
    pub(super) pinned: bool,
    /// Whether it names the hashes of its files.
    pub(super) hashed: bool,
}

impl Requirements {
    /// Reads `file` below `app` and what it includes.
    pub(super) fn read(app: &Path, file: &Path) -> io::Result<Self> {
        let mut requirements = Self::default();
        let bytes = fs::read(app.join(file))?;
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            let reason = "It is UTF-16, as PowerShell writes it; installers read UTF-8.";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        requirements.seen.extend(app.join(file).canonicalize());
        requirements.add(app, file, bytes, true);
        Ok(requirements)
    }

    /// Whether there is nothing but white space and comments.
    pub(super) fn is_blank(&self) -> bool {
        self.files.iter().all(|(_, bytes)| logical_lines(&String::from_utf8_lossy(bytes)).is_empty())
    }

    /// Whether this package is asked for by name.
    pub(super) fn names(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// How many of the packages named leave a choice (what these need in turn may do so too).
    pub(super) fn open(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.pinned).count()
    }

    /// Whether the installer must check every file's hash, as pip does as soon as one is given.
    pub(super) fn is_hashed(&self) -> bool {
        self.entries.iter().any(|entry| entry.hashed)
    }

    /// Whether every line pins a package of the index by name, or includes a file that has been read. Then the files' text says
    /// all (but for what the packages need in turn).
    pub(super) fn leaves_no_choice(&self, app: &Path) -> bool {
        let is_read = |file: &Path, path: &str| {
            let path = app.join(beside(file, path)).canonicalize();
            path.is_ok_and(|real| self.seen.contains(&real))
        };
        let is_settled = |file: &Path, line: &str| {
            let included = option(line, "-r", "--requirement").or_else(|| option(line, "-c", "--constraint"));
            let entry = || Entry::parse(line);
            let pins = |entry: Entry| entry.pinned && !entry.name.is_empty() && !line.contains(['@', '/']);
            !line.contains("${")
                && included.map_or_else(|| !line.starts_with('-') && pins(entry()), |path| is_read(file, path))
        };
        let lines = |(file, bytes): &(PathBuf, Vec<u8>)| {
            let lines = logical_lines(&String::from_utf8_lossy(bytes));
            lines.iter().all(|line| is_settled(file, line))
        };
        !self.entries.is_empty() && self.files.iter().all(lines)
    }

    /// Names that allow one version only.
    pub(super) fn pinned_names(&self) -> BTreeSet<&str> {
        self.entries.iter().filter(|entry| entry.pinned).map(|entry| entry.name.as_str()).collect()
    }

    /// Takes one file's text. Constraint files (`-c`) count for the content, but ask for nothing.
    pub(super) fn add(&mut self, app: &Path, file: &Path, bytes: Vec<u8>, asks: bool) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.files.push((file.to_owned(), bytes));
        for line in logical_lines(&text) {
            self.add_line(app, file, &line, asks);
        }
    }

    fn add_line(&mut self, app: &Path, file: &Path, line: &str, asks: bool) {
        if let Some(path) = option(line, "-r", "--requirement") {
            self.include(app, &beside(file, path), asks);
        } else if let Some(path) = option(line, "-c", "--constraint") {
            self.include(app, &beside(file, path), false);
        } else if let Some(path) = option(line, "-e", "--editable") {
            self.entry_from(app, path, asks, true);
        } else if !line.starts_with('-') {
            self.entry_from(app, line, asks, false);
        }
    }

    fn entry_from(&mut self, app: &Path, text: &str, asks: bool, editable: bool) {
        if !asks {
            return;
        }
        if let Some(path) = local_path(app, text) {
            self.local.push(Local { path, editable });
        }
        self.repositories.extend(Repository::find(text));
        self.entries.push(Entry::parse(text));
    }

    /// A file that cannot be read is the installer's to complain about. So are too many.
    fn include(&mut self, app: &Path, file: &Path, asks: bool) {
        const MOST: usize = 100;
        let path = app.join(file);
        let is_new = |seen: &mut BTreeSet<_>| path.canonicalize().is_ok_and(|real| seen.insert(real));
        if self.seen.len() < MOST
            && path.is_file()
            && is_new(&mut self.seen)
            && let Ok(bytes) = fs::read(&path)
        {
            self.add(app, file, bytes, asks);
        }
    }
}

impl Entry {
    /// Reads `name[extras] specifier ; marker --hash=…`.
    pub(super) fn parse(text: &str) -> Self {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let (extras, specifier) = split_extras(rest.trim_start());
        let hashed = specifier.contains("--hash");
        let specifier = specifier.split([';', ' ']).next().unwrap_or_default();
        let is_name = !name.is_empty() && !rest.starts_with([':', '/', '\\']);
        Self {
            text: text.to_owned(),
            name: if is_name { normalise(name) } else { String::new() },
            extras,
            pinned: !is_name || hashed || is_exact(rest),
            hashed: hashed && !specifier.is_empty(),
        }
    }
}

/// Whether a specifier allows one version: `==1.2`, `===1.2` or `@ URL`, and no wildcard.
fn is_exact(rest: &str) -> bool {
    let (_, specifier) = split_extras(rest.trim_start());
    let specifier = specifier.split(';').next().unwrap_or_default().trim();
    specifier.starts_with('@') || (specifier.starts_with("==") && !specifier.contains(['*', ',']))
}

fn split_extras(text: &str) -> (Vec<String>, &str) {
    let Some((extras, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) else {
        return (Vec::new(), text);
    };
    (extras.split(',').map(|extra| extra.trim().to_owned()).collect(), rest.trim_start())
}

/// The name as package indexes compare it: lower case, runs of `-`, `_` and `.` as one `-`.
pub(super) fn normalise(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

/// The path that a requirement names, if it names one inside the app.
fn local_path(app: &Path, text: &str) -> Option<PathBuf> {
    let target = text.split_once(" @ ").map_or(text, |(_, url)| url.trim());
    let target = target.strip_prefix("file:").unwrap_or(target);
    let target = target.split([';', '[', '#', ' ']).next().unwrap_or_default();
    let is_archive = Path::new(target).extension().is_some_and(|end| end == "whl" || end == "gz" || end == "zip");
    let looks_local = target.starts_with(['.', '/']) || is_archive;
    (looks_local && !target.contains("://") && app.join(target).exists()).then(|| PathBuf::from(target))
}

/// A path that is written in a file.
fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// The value of an option at the start of a line: `-r x`, `-rx`, `--requirement x`, `--requirement=x`.
fn option<'a>(line: &'a str, short: &str, long: &str) -> Option<&'a str> {
    let value = match line.strip_prefix(long) {
        Some(rest) if rest.starts_with(['=', ' ', '\t']) => rest.trim_start_matches(['=', ' ', '\t']),
        Some(_) => return None,
        None => line.strip_prefix(short)?,
    };
    Some(value.trim())
}

/// Lines without comments, joined where they end in a backslash; empty ones left out.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = without_comment(line);
        current.push_str(line.trim_end_matches('\\'));
        if line.ends_with('\\') {
            current.push(' ');
            continue;
        }
        lines.push(std::mem::take(&mut current));
    }
    lines.push(current);
    lines.iter().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// A `#` begins a comment at the start of a line and behind white space.
fn without_comment(line: &str) -> &str {
    let start =
        line.char_indices().find(|&(at, c)| c == '#' && line[..at].chars().next_back().is_none_or(char::is_whitespace));
    line[..start.map_or(line.len(), |(at, _)| at)].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(files: &[(&str, &str)]) -> Requirements {
        read_in(tempfile::tempdir().unwrap().path(), files)
    }

    fn read_in(app: &Path, files: &[(&str, &str)]) -> Requirements {
        for (name, text) in files {
            let path = app.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Requirements::read(app, Path::new("requirements.txt")).unwrap()
    }

    #[test]
    fn entries() {
        let cases = [
            ("flask", "flask", false, false),
            ("Flask_SQLAlchemy>=2", "flask-sqlalchemy", false, false),
            ("zope.interface==5.0", "zope-interface", true, false),
            ("flask == 3.0 ; python_version > '3'", "flask", true, false),
            ("flask==3.*", "flask", false, false),
            ("flask==3.0,!=3.0.1", "flask", false, false),
            ("flask===3.0", "flask", true, false),
            ("flask~=3.0", "flask", false, false),
            ("fastapi[standard, all]==1", "fastapi", true, false),
            ("pkg @ git+https://example.org/pkg", "pkg", true, false),
            ("https://example.org/pkg-1.whl", "", true, false),
            ("./vendor/pkg", "", true, false),
            ("flask==3.0 --hash=sha256:00", "flask", true, true),
        ];
        for (text, name, pinned, hashed) in cases {
            let entry = Entry::parse(text);
            assert_eq!((entry.name.as_str(), entry.pinned, entry.hashed), (name, pinned, hashed), "{text}");
        }
        assert_eq!(Entry::parse("fastapi[standard, all]==1").extras, ["standard", "all"]);
    }

    #[test]
    fn comments_continuations_and_windows() {
        let lines = logical_lines("\u{feff}# top\r\nflask==1 \\\r\n  --hash=a # why\r\n\r\nx @ http://h/#egg=x\r\n");
        assert_eq!(lines, ["flask==1    --hash=a", "x @ http://h/#egg=x"]);
    }

    #[test]
    fn what_is_blank() {
        for (text, blank) in
            [("", true), ("\u{feff}\r\n", true), ("# flask\n\n  # more", true), ("-r missing.txt", false)]
        {
            assert_eq!(read(&[("requirements.txt", text)]).is_blank(), blank, "{text:?}");
        }
    }

    #[test]
    fn included_files_are_read_once_and_constraints_ask_for_nothing() {
        let requirements = read(&[
            ("requirements.txt", "-r deps/base.txt\n-c limits.txt\n--requirement=missing.txt\ngunicorn\n"),
            ("deps/base.txt", "-r ../requirements.txt\n-r more.txt\n"),
            ("deps/more.txt", "flask\n"),
            ("limits.txt", "click<9\n"),
        ]);
        let names: Vec<_> = requirements.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["flask", "gunicorn"]);
        assert!(requirements.files.iter().any(|(file, _)| file == Path::new("limits.txt")));
    }

    #[test]
    fn what_leaves_no_choice() {
        let cases: [(&[(&str, &str)], bool); 13] = [
            (&[("requirements.txt", "flask==3.0 # why\nclick==8 ; python_version > '3'\n")], true),
            (&[("requirements.txt", "flask==3.0 \\\n  --hash=sha256:00\n")], true),
            (
                &[
                    ("requirements.txt", "-r deps/base.txt\n-c limits.txt\n"),
                    ("deps/base.txt", "a==1"),
                    ("limits.txt", "b==2"),
                ],
                true,
            ),
            (&[("requirements.txt", "-r deps/base.txt\n"), ("deps/base.txt", "a>=1")], false),
            (&[("requirements.txt", "-r ${HERE}/base.txt\n"), ("base.txt", "a==1")], false),
            (&[("requirements.txt", "-r missing.txt\nflask==3.0\n")], false),
            (&[("requirements.txt", "flask==${VERSION}\n")], false),
            (&[("requirements.txt", "flask\n")], false),
            (&[("requirements.txt", "flask==3.*\n")], false),
            (&[("requirements.txt", "--index-url https://example.org/simple\nflask==3.0\n")], false),
            (&[("requirements.txt", "flask @ https://example.org/flask.whl --hash=sha256:00\n")], false),
            (&[("requirements.txt", "-e .\n")], false),
            (&[("requirements.txt", "# none\n")], false),
        ];
        for (files, expected) in cases {
            let app = tempfile::tempdir().unwrap();
            assert_eq!(read_in(app.path(), files).leaves_no_choice(app.path()), expected, "{files:?}");
        }
    }

    #[test]
    fn local_packages_are_seen() {
        let requirements =
            read(&[("requirements.txt", "-e .\n./lib\npkg @ file:./lib\nflask\n"), ("lib/setup.py", "")]);
        let local: Vec<_> =
            requirements.local.iter().map(|local| (local.path.to_str().unwrap(), local.editable)).collect();
        assert_eq!(local, [(".", true), ("./lib", false), ("./lib", false)]);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Entry::parse(&text);
            logical_lines(&text);
            Requirements::default().add(Path::new("/nonexistent"), Path::new("r.txt"), bytes, true);
        }

        #[test]
        fn names_are_normalised_once(name in "[A-Za-z0-9._-]{1,20}") {
            let once = normalise(&name);
            prop_assert_eq!(normalise(&once), once.clone());
        }
    }
}
