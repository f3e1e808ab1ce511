use std::fs;
use std::io::{Seek, Write};
use std::path::PathBuf;

use proptest::prelude::*;

use super::super::Tree;
use super::super::contents::tests::contents;
use super::*;

/// A release with code and one layer, and a server's directories.
struct World {
    root: tempfile::TempDir,
    archive: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |below: &str| root.path().join(below);
        for directory in ["from/code/bin", "from/sbom/launch", "from/layer"] {
            fs::create_dir_all(path(directory)).unwrap();
        }
        fs::write(path("from/code/bin/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(path("from/code/bin/run"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(path("from/code/page"), "hello").unwrap();
        std::os::unix::fs::symlink("page", path("from/code/link")).unwrap();
        fs::write(path("from/sbom/launch/sbom.cdx.json"), "{}").unwrap();
        fs::write(path("from/layer/module.py"), "x = 1\n").unwrap();
        let trees = ["from/code", "from/sbom", "from/layer"].map(|below| tree(path(below)));
        let contents = contents(trees[0].files.digest(), Some(trees[1].files.digest()), trees[2].files.digest());
        let mut archive = Vec::new();
        contents.write(&trees, |text| sign(&path("key"), text), &mut archive).unwrap();
        Self { root, archive }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// Opens and unpacks; the error is what users see.
    fn unpack(&self, archive: &[u8]) -> std::result::Result<Lists, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        let opened = ReleaseArchive::open(file).map_err(|failure| failure.message)?;
        let opened = opened.ok_or("not the archive of a release")?;
        for part in ["code", "scratch", "store"] {
            let _old = fs::remove_dir_all(self.path(part));
            fs::create_dir(self.path(part)).unwrap();
        }
        let _old = fs::remove_dir_all(self.path("sbom"));
        let (code, scratch, store) = (&self.path("code"), &self.path("scratch"), &self.path("store"));
        let places = Places { code, owner: None, sbom: &self.path("sbom"), scratch, store };
        opened.unpack(&places, &CancellationToken::new()).map_err(|failure| failure.message)
    }

    fn stored(&self) -> usize {
        fs::read_dir(self.path("store")).map_or(0, Iterator::count)
    }
}

fn tree(root: PathBuf) -> Tree {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let files = runtime.block_on(builder::inventory::of_tree(root.clone())).unwrap();
    Tree { root, files }
}

fn sign(key: &Path, text: &[u8]) -> io::Result<String> {
    gitd::signature::sign(key, NAMESPACE, text).map_err(io::Error::other)
}

#[test]
fn what_was_written_is_unpacked() {
    let world = World::new();
    let [code, sbom] = ["from/code", "from/sbom"].map(|below| tree(world.path(below)).files);
    let expected = Lists { code, sbom: Some(sbom) };
    assert_eq!(world.unpack(&world.archive).as_ref(), Ok(&expected));
    let [code, sbom] = ["code", "sbom"].map(|below| tree(world.path(below)).files);
    assert_eq!(Lists { code, sbom: Some(sbom) }, expected);
    let layer = tree(world.path("from/layer")).files;
    let placed = store::layer(&world.path("store"), &layer.digest());
    assert_eq!(tree(placed).files, layer);
    assert_eq!(store::inventory(&world.path("store"), &layer.digest()).unwrap(), Some(layer));
}

#[test]
fn a_packed_one_too() {
    let world = World::new();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&world.archive).unwrap();
    assert!(world.unpack(&packed.finish().unwrap()).is_ok());
}

#[test]
fn equal_releases_make_equal_archives() {
    let world = World::new();
    let trees = ["from/code", "from/sbom", "from/layer"].map(|below| tree(world.path(below)));
    let contents = contents(trees[0].files.digest(), Some(trees[1].files.digest()), trees[2].files.digest());
    let mut again = Vec::new();
    contents.write(&trees, |text| sign(&world.path("key"), text), &mut again).unwrap();
    assert_eq!(again, world.archive);
}

type Entries = Vec<(String, Vec<u8>)>;

/// The archive with its entries altered.
fn altered(archive: &[u8], alter: &dyn Fn(&str, Vec<u8>) -> Entries) -> Vec<u8> {
    let mut new = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        for (name, content) in alter(&name, content) {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            new.append_data(&mut header, name, &content[..]).unwrap();
        }
    }
    new.into_inner().unwrap()
}

#[test]
fn whatever_was_altered_is_noticed_before_a_layer_is_placed() {
    let world = World::new();
    let ends = |name: &str, end: &str| name.ends_with(end);
    let swap = |end: &'static str, content: &'static str| {
        altered(&world.archive, &move |name, old| {
            let new = if ends(name, end) { content.as_bytes().to_vec() } else { old };
            vec![(name.to_owned(), new)]
        })
    };
    let renamed = |end: &'static str, to: &'static str| {
        altered(&world.archive, &move |name, old| {
            vec![(if ends(name, end) { name.replace(end, to) } else { name.to_owned() }, old)]
        })
    };
    let without = |end: &'static str| {
        altered(&world.archive, &move |name, old| {
            if ends(name, end) { Vec::new() } else { vec![(name.to_owned(), old)] }
        })
    };
    let more = altered(&world.archive, &|name, old| {
        let more = ends(name, "module.py").then(|| ("more".to_owned(), old.clone()));
        std::iter::once((name.to_owned(), old)).chain(more).collect()
    });
    let another = altered(&world.archive, &|name, old| {
        let old =
            if ends(name, ".json") { String::from_utf8(old).unwrap().replace("blog", "blot").into() } else { old };
        vec![(name.to_owned(), old)]
    });
    let cases = [
        (another, "signature of the release is not valid"),
        (swap(".sig", "nonsense"), "signature of the release is not valid"),
        (swap("/page", "hallo"), "page is not what the list of files says"),
        (swap("/page", "hello!"), "page is longer than the list of files says"),
        (swap("/page", "hell"), "page is not what the list of files says"),
        (swap("module.py", "x = 2\n"), "module.py is not what the list of files says"),
        (swap(".files", "airstrip tree 2\n"), "has been changed"),
        (renamed("/page", "/pages"), "where"),
        (without("/page"), "where"),
        (without("module.py"), "ends too early"),
        (without(".sig"), "where airstrip-release.sig should be"),
        (more, "goes on after its end"),
        (world.archive[..world.archive.len() / 2].to_vec(), ""),
    ];
    for (archive, expected) in cases {
        let error = world.unpack(&archive).unwrap_err();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
        assert_eq!(world.stored(), 0, "{expected}");
    }
}

#[test]
fn the_archive_of_a_tree_is_none() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[b'x'; 2048]).unwrap();
    file.rewind().unwrap();
    assert!(ReleaseArchive::open(file).unwrap().is_none());
    assert!(ReleaseArchive::open(tempfile::tempfile().unwrap()).unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One byte changed anywhere either is noticed or stands where nothing stands.
    #[test]
    fn no_changed_byte_gets_in(at in 0..100_000_usize, flip in 1..=255_u8) {
        let world = World::new();
        let mut archive = world.archive.clone();
        let at = at % archive.len();
        archive[at] ^= flip;
        let unpacked = world.unpack(&archive).is_ok();
        prop_assert_eq!(world.stored(), if unpacked { 2 } else { 0 });
        if unpacked {
            prop_assert_eq!(tree(world.path("code")).files, tree(world.path("from/code")).files);
        }
    }
}
