use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn sample() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("bin")).unwrap();
    fs::create_dir_all(root.path().join("empty")).unwrap();
    fs::write(root.path().join("bin/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.path().join("bin/run"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(root.path().join("notes"), "text").unwrap();
    symlink("/etc/shadow", root.path().join("out")).unwrap();
    root
}

type Change<'a> = &'a dyn Fn(&Path);

fn hash(root: &Path) -> String {
    inventory(root, &Cancel::default()).unwrap().digest().to_string()
}

/// The format is stored with releases: a change of it must be a decision.
#[test]
fn the_hash_stays_what_it_is() {
    insta::assert_snapshot!(hash(sample().path()), @"sha256-1c05f05133f85e6cbcb7ea10e1f225c6c84d3986854823f4dc7f820cfd374f29");
    insta::assert_snapshot!(hash(tempfile::tempdir().unwrap().path()), @"sha256-83b58e771a12b132a16b4ea56b20948a91f0a80e1adf677cf1a6ba4f3e7be4da");
}

#[test]
fn everything_is_listed() {
    insta::assert_snapshot!(inventory(sample().path(), &Cancel::default()).unwrap().to_text(), @r"
    airstrip tree 2
    d bin
    x a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf 10 bin/run
    d empty
    f 982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1 4 notes
    l /etc/shadow out
    ");
}

#[test]
fn the_hash_is_of_the_content() {
    let one = sample();
    let base = hash(one.path());
    assert_eq!(base, hash(sample().path()));
    let changes: &[(&str, Change)] = &[
        ("content", &|root| fs::write(root.join("notes"), "texT").unwrap()),
        ("name", &|root| fs::rename(root.join("notes"), root.join("note")).unwrap()),
        ("execute bit", &|root| fs::set_permissions(root.join("notes"), fs::Permissions::from_mode(0o755)).unwrap()),
        ("link", &|root| {
            fs::remove_file(root.join("out")).unwrap();
            symlink("/etc/passwd", root.join("out")).unwrap();
        }),
        ("kind", &|root| {
            fs::remove_file(root.join("out")).unwrap();
            fs::write(root.join("out"), "/etc/shadow").unwrap();
        }),
        ("empty directory", &|root| fs::remove_dir(root.join("empty")).unwrap()),
        ("depth", &|root| fs::rename(root.join("notes"), root.join("empty/notes")).unwrap()),
    ];
    for (what, change) in changes {
        let other = sample();
        change(other.path());
        assert_ne!(base, hash(other.path()), "{what}");
    }
}

#[test]
fn sealing_does_not_change_the_hash_and_follows_no_link() {
    let root = sample();
    let outside = tempfile::NamedTempFile::new().unwrap();
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    let before = mode(outside.path());
    symlink(outside.path(), root.path().join("leads-out")).unwrap();
    let hashed = hash(root.path());
    seal(root.path(), nix::unistd::geteuid().is_root(), &Cancel::default()).unwrap();
    assert_eq!(hashed, hash(root.path()));
    assert_eq!(mode(&root.path().join("bin/run")), 0o555);
    assert_eq!(mode(&root.path().join("notes")), 0o444);
    assert_eq!(mode(&root.path().join("bin")), 0o755);
    assert_eq!(mode(outside.path()), before);
}

#[test]
fn sealing_parts_hard_links() {
    let (cache, layer) = (tempfile::tempdir().unwrap(), sample());
    let shared = cache.path().join("wheel");
    fs::write(&shared, "wheel").unwrap();
    fs::hard_link(&shared, layer.path().join("wheel")).unwrap();
    seal(layer.path(), false, &Cancel::default()).unwrap();
    fs::write(&shared, "changed").unwrap();
    assert_eq!(fs::read_to_string(layer.path().join("wheel")).unwrap(), "wheel");
}

#[test]
fn copies_are_equal_and_writable() {
    let (from, to) = (sample(), tempfile::tempdir().unwrap());
    seal(from.path(), false, &Cancel::default()).unwrap();
    let target = to.path().join("copy");
    copy(from.path(), &target, None, &Cancel::default()).unwrap();
    assert_eq!(hash(from.path()), hash(&target));
    fs::write(target.join("notes"), "changed").unwrap();
    assert_eq!(fs::read_to_string(from.path().join("notes")).unwrap(), "text");
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(time(&from.path().join("bin/run")), time(&target.join("bin/run")));
}

#[test]
fn odd_trees_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let pipe = root.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    insta::assert_snapshot!(inventory(root.path(), &Cancel::default()).unwrap_err(), @"pipe: is neither a file, a directory nor a symbolic link");
    fs::remove_file(pipe).unwrap();

    let mut deep = root.path().to_path_buf();
    (0..=DEEPEST).for_each(|_| deep.push("d"));
    fs::create_dir_all(deep).unwrap();
    let error = inventory(root.path(), &Cancel::default()).unwrap_err().to_string();
    assert!(error.ends_with("is more than 200 directories deep"), "{error}");
}
