use std::os::unix::fs::{MetadataExt, symlink};

use proptest::prelude::*;
use tar::{Builder, Header};

use super::*;
use crate::data::pack;

/// A tar of one entry with this name, put into the header as it is.
fn tar_of(name: &str, kind: EntryType, link: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o4777);
    header.set_size(0);
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, io::empty()).unwrap();
    builder.into_inner().unwrap()
}

fn unpacked(archive: &[u8]) -> Result<tempfile::TempDir, String> {
    let root = tempfile::tempdir().unwrap();
    run(archive, root.path()).map(|()| root).map_err(|error| error.to_string())
}

#[test]
fn what_was_packed_is_unpacked() {
    let from = tempfile::tempdir().unwrap();
    let at = |name: &str| from.path().join(name);
    fs::create_dir_all(at("a/closed")).unwrap();
    let long = "x".repeat(150);
    for name in ["a/one", "a/closed/two", &format!("a/{long}")] {
        fs::write(at(name), name).unwrap();
    }
    fs::hard_link(at("a/one"), at("b")).unwrap();
    symlink("/nowhere", at("c")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::set_permissions(at("a/closed"), PermissionsExt::from_mode(0o555)).unwrap();
    let mut archive = Vec::new();
    pack::run(from.path(), &mut archive).unwrap();
    let to = unpacked(&archive).unwrap();
    let there = |name: &str| to.path().join(name);
    for name in ["a/one", "a/closed/two", &format!("a/{long}")] {
        assert_eq!(fs::read_to_string(there(name)).unwrap(), name);
    }
    let number = |name: &str| fs::metadata(there(name)).unwrap().ino();
    assert_eq!(number("a/one"), number("b"));
    assert_eq!(fs::read_link(there("c")).unwrap(), Path::new("/nowhere"));
    assert!(!there("fifo").exists());
    assert_eq!(fs::metadata(there("a/closed")).unwrap().mode() & 0o777, 0o555);
    for closed in [at("a/closed"), there("a/closed")] {
        fs::set_permissions(closed, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn the_operating_systems_reason_is_told() {
    let (mut builder, mut header) = (Builder::new(Vec::new()), Header::new_gnu());
    header.set_size(0);
    builder.append_data(&mut header, "x".repeat(300), io::empty()).unwrap();
    let refused = unpacked(&builder.into_inner().unwrap()).unwrap_err();
    assert!(refused.ends_with("xxx: File name too long (os error 36)"), "{refused}");
}

#[test]
fn what_leads_out_is_refused() {
    let cases = [
        ("../out", EntryType::Regular, "", "leads out"),
        ("a/../../out", EntryType::Regular, "", "leads out"),
        ("/etc/out", EntryType::Regular, "", "leads out"),
        ("device", EntryType::Char, "", "only files"),
        ("disk", EntryType::Block, "", "only files"),
        ("fifo", EntryType::Fifo, "", "only files"),
        ("link", EntryType::Link, "../../etc/passwd", "hard link"),
        ("link", EntryType::Link, "/etc/passwd", "hard link"),
    ];
    for (name, kind, link, expected) in cases {
        let error = unpacked(&tar_of(name, kind, link)).unwrap_err();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn a_link_is_not_written_through() {
    let outside = tempfile::tempdir().unwrap();
    let mut archive = tar_of("link", EntryType::Symlink, &outside.path().to_string_lossy());
    archive.truncate(512);
    archive.extend(tar_of("link/file", EntryType::Regular, ""));
    assert!(unpacked(&archive).is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn the_bits_that_change_users_are_dropped() {
    let root = unpacked(&tar_of("file", EntryType::Regular, "")).unwrap();
    assert_eq!(fs::metadata(root.path().join("file")).unwrap().mode() & 0o7000, 0);
}

#[test]
fn an_archive_that_is_cut_short_is_refused_wherever_it_is_cut() {
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    // Its content could be taken for the end.
    header.set_size(2000);
    header.set_mode(0o644);
    builder.append_data(&mut header, "file", &[0_u8; 2000][..]).unwrap();
    let whole = builder.into_inner().unwrap();
    assert!(unpacked(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(unpacked(&whole[..length]).is_err(), "{length} of {}", whole.len());
    }
    assert!(unpacked(&[&whole[..], &whole].concat()).is_err(), "two in one");
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(&whole[..], flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
    assert!(unpacked(&packed).is_ok());
    for length in 0..packed.len() {
        assert!(unpacked(&packed[..length]).is_err(), "{length} of {}, with gzip", packed.len());
    }
}

proptest! {
    #[test]
    fn nonsense_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        prop_assume!(bytes.iter().any(|byte| *byte != 0));
        prop_assert!(unpacked(&bytes).is_err());
    }

    /// Wherever one byte of a header is changed, nothing is written outside.
    #[test]
    fn a_changed_header_does_no_harm(at in 0_usize..512, byte in any::<u8>()) {
        let mut archive = tar_of("directory/file", EntryType::Regular, "");
        archive[at] = byte;
        let _ = unpacked(&archive);
    }
}
