//! Trees from outside, laid out.
#![expect(clippy::unwrap_used, reason = "functions of tests beside the test itself")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use builder::source::{Entry, Kind, Layout, SourceError};
use proptest::prelude::*;

fn entry<'a>(kind: Kind, path: &'a str, content: &'a str) -> Entry<'a> {
    Entry { path: path.as_bytes(), kind, content: content.as_bytes() }
}

fn lay_out(root: &Path, entries: &[Entry<'_>]) -> Result<(), SourceError> {
    let mut layout = Layout::new(root, None)?;
    entries.iter().try_for_each(|entry| layout.add(*entry))
}

/// Everything below a directory: kind, permissions and content by path.
fn listing(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let shown = if metadata.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if metadata.is_dir() {
                pending.push(path.clone());
                format!("{:o} directory", metadata.permissions().mode() & 0o7777)
            } else {
                let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                format!("{:o} {content}", metadata.permissions().mode() & 0o7777)
            };
            found.insert(path.strip_prefix(root).unwrap().to_owned().into_os_string().into_vec(), shown);
        }
    }
    found
}

fn shown(root: &Path) -> String {
    let lines = listing(root).into_iter().map(|(path, what)| format!("{}: {what}", path.escape_ascii()));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_tree() {
    let root = tempfile::tempdir().unwrap();
    let entries = [
        entry(Kind::File, ".gitignore", "*.pyc"),
        entry(Kind::File, ".gitmodules", ""),
        entry(Kind::Directory, "bin", ""),
        entry(Kind::Executable, "bin/run", "#!/bin/sh"),
        entry(Kind::File, "lib/deep/er.py", "x"),
        entry(Kind::Directory, "lib", ""),
        entry(Kind::File, "lib/a.py", "a"),
        entry(Kind::Symlink, "out", "../../etc/passwd"),
        entry(Kind::Symlink, "lib/abs", "/home/app/data"),
        entry(Kind::File, "README", "1"),
        entry(Kind::File, "Readme", "2"),
        entry(Kind::File, "caf\u{e9}", "composed"),
        entry(Kind::File, "cafe\u{301}", "decomposed"),
        entry(Kind::File, "a\\b", "backslash"),
    ];
    lay_out(root.path(), &entries).unwrap();
    insta::assert_snapshot!(shown(root.path()), @r#"
    .gitignore: 644 *.pyc
    .gitmodules: 644 
    README: 644 1
    Readme: 644 2
    a\\b: 644 backslash
    bin: 755 directory
    bin/run: 755 #!/bin/sh
    cafe\xcc\x81: 644 decomposed
    caf\xc3\xa9: 644 composed
    lib: 755 directory
    lib/a.py: 644 a
    lib/abs: -> /home/app/data
    lib/deep: 755 directory
    lib/deep/er.py: 644 x
    out: -> ../../etc/passwd
    "#);
}

#[test]
fn refusals() {
    use Kind::{Directory, Executable, File, Submodule, Symlink};
    let long = "x".repeat(256);
    let deep = "d/".repeat(2000) + "f";
    let cases: &[&[Entry<'_>]] = &[
        &[entry(File, "", "")],
        &[entry(File, "/etc/passwd", "")],
        &[entry(File, "a//b", "")],
        &[entry(File, "a/", "")],
        &[entry(File, "a/../../b", "")],
        &[entry(File, "..", "")],
        &[entry(File, "./a", "")],
        &[entry(File, "a\0b", "")],
        &[entry(File, &long, "")],
        &[entry(File, &deep, "")],
        &[entry(Executable, ".git/hooks/post-checkout", "")],
        &[entry(Directory, "sub/.GIT", "")],
        &[entry(File, "git~1", "")],
        &[entry(File, ".g\u{200c}it/config", "")],
        &[entry(Symlink, ".gitmodules", "x")],
        &[entry(Symlink, "a", "")],
        &[entry(Symlink, "a", "b\0c")],
        &[entry(Submodule, "vendor/lib", "")],
        &[entry(File, "a", "1"), entry(File, "a", "2")],
        &[entry(File, "a", "1"), entry(Symlink, "a", "b")],
        &[entry(Directory, "a", ""), entry(Directory, "a", "")],
        &[entry(Symlink, "a", "/etc"), entry(File, "a/passwd", "")],
        &[entry(Symlink, "a", "b"), entry(Directory, "b", ""), entry(File, "a/c/d", "")],
        &[entry(Symlink, "a", "/tmp/x"), entry(File, "a", "")],
        &[entry(File, "a", ""), entry(File, "a/b", "")],
        &[entry(File, "\u{202e}evil\u{1b}[31m/..", "")],
    ];
    let mut said = String::new();
    for entries in cases {
        let root = tempfile::tempdir().unwrap();
        let error = lay_out(root.path(), entries).unwrap_err().to_string();
        let error: String = error.replace(&long, "LONG").chars().take(150).collect();
        said.push_str(&error);
        said.push('\n');
    }
    insta::assert_snapshot!(said, @r#"
    : an empty path
    /etc/passwd: the path is absolute or has an empty part
    a//b: the path is absolute or has an empty part
    a/: the path is absolute or has an empty part
    a/../../b: the path has a part . or ..
    ..: the path has a part . or ..
    ./a: the path has a part . or ..
    a\u{0}b: the path has a NUL byte
    LONG: a name in the path is longer than 255 bytes
    d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/
    .git/hooks/post-checkout: a name that some systems take for .git
    sub/.GIT: a name that some systems take for .git
    git~1: a name that some systems take for .git
    .g\u{200c}it/config: a name that some systems take for .git
    .gitmodules: git reads .gitmodules, which must not be a symbolic link
    a: the target of the symbolic link is empty, too long or has a NUL byte
    a: the target of the symbolic link is empty, too long or has a NUL byte
    vendor/lib is a git submodule, which a push does not carry: add its files to the repository, or its package to requirements.txt
    a: it appears twice
    a: it appears twice
    a: it appears twice
    a: something is to be in it, but it is a file or a symbolic link
    a: something is to be in it, but it is a file or a symbolic link
    a: it appears twice
    a: something is to be in it, but it is a file or a symbolic link
    \u{202e}evil\u{1b}[31m/..: the path has a part . or ..
    "#);
}

#[test]
fn the_root_must_be_empty() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("x"), "").unwrap();
    assert!(matches!(Layout::new(root.path(), None), Err(SourceError::Io { .. })));
}

#[test]
fn everything_is_given_to_the_owner() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: giving files away needs root");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(root.path(), Some(65534)).unwrap();
    layout.add(entry(Kind::File, "a/b/file", "x")).unwrap();
    layout.add(entry(Kind::Symlink, "a/link", "/etc/passwd")).unwrap();
    for path in ["", "a", "a/b", "a/b/file", "a/link"] {
        let metadata = fs::symlink_metadata(root.path().join(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (65534, 65534), "{path}");
    }
    assert_eq!(fs::metadata("/etc/passwd").unwrap().uid(), 0);
}

fn hostile_part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "A", "c"]).prop_map(|part| part.as_bytes().to_vec()),
        1 => prop::sample::select(vec!["..", ".", "", ".git", "GIT~1", "e\u{301}", "\u{e9}"]).prop_map(|part| part.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

fn hostile_entry() -> impl Strategy<Value = (Vec<u8>, Kind, Vec<u8>)> {
    let kinds = vec![Kind::File, Kind::Executable, Kind::Symlink, Kind::Symlink, Kind::Directory, Kind::Submodule];
    let targets = prop_oneof![
        prop::sample::select(vec!["..", "../outside", "/", "a", "b/..", "../../../../../tmp"])
            .prop_map(|target| target.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    let paths = proptest::collection::vec(hostile_part(), 1..5).prop_map(|parts| parts.join(&b"/"[..]));
    (paths, prop::sample::select(kinds), targets)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing is made outside; what was accepted is there, as it was given.
    #[test]
    fn hostile_trees(entries in proptest::collection::vec(hostile_entry(), 0..25)) {
        let above = tempfile::tempdir().unwrap();
        let root = above.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::create_dir(above.path().join("outside")).unwrap();
        let mut layout = Layout::new(&root, None).unwrap();
        let mut accepted = Vec::new();
        for (path, kind, content) in &entries {
            if layout.add(Entry { path, kind: *kind, content }).is_ok() {
                accepted.push((path, kind, content));
            }
        }
        drop(layout);
        prop_assert_eq!(fs::read_dir(above.path().join("outside")).unwrap().count(), 0);
        prop_assert_eq!(fs::read_dir(above.path()).unwrap().count(), 2);
        let found = listing(&root);
        for (path, kind, content) in accepted {
            prop_assert!(found.contains_key(path));
            let full = root.join(std::ffi::OsStr::from_bytes(path));
            match kind {
                Kind::File | Kind::Executable => prop_assert_eq!(&fs::read(full).unwrap(), content),
                Kind::Symlink => {
                    let target = fs::read_link(full).unwrap();
                    prop_assert_eq!(target.as_os_str().as_bytes(), &content[..]);
                }
                _ => prop_assert!(full.is_dir()),
            }
        }
    }
}
