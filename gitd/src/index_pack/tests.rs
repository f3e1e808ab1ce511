//! Packs made by hand, hostile ones above all.
#![expect(clippy::cast_possible_truncation, reason = "the bits of numbers")]

use std::io::Write;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;

const BOUNDS: Bounds = Bounds { bytes: 1 << 30, objects: 10_000, object: 64 << 20, unpacked: 1 << 30, kept: 200_000 };

enum Stored<'a> {
    Whole(&'a [u8]),
    /// So many entries before, and the delta.
    Delta(usize, Vec<u8>),
    Named(ObjectId, Vec<u8>),
}

/// A pack of blobs.
fn pack(objects: &[Stored<'_>]) -> Vec<u8> {
    let mut out = [b"PACK\0\0\0\x02".as_slice(), &u32::try_from(objects.len()).unwrap().to_be_bytes()].concat();
    let mut offsets = Vec::new();
    for stored in objects {
        let offset = out.len();
        let (kind, content) = match stored {
            Stored::Whole(content) => (3, *content),
            Stored::Delta(_, delta) => (6, delta.as_slice()),
            Stored::Named(_, delta) => (7, delta.as_slice()),
        };
        header(&mut out, kind, content.len());
        match stored {
            Stored::Whole(_) => {}
            Stored::Delta(before, _) => distance(&mut out, offset - offsets[offsets.len() - before]),
            Stored::Named(base, _) => out.extend_from_slice(base.as_slice()),
        }
        let mut encoder = ZlibEncoder::new(&mut out, Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap();
        offsets.push(offset);
    }
    seal(out)
}

fn seal(mut pack: Vec<u8>) -> Vec<u8> {
    let mut hash = gix::hash::hasher(SHA1);
    hash.update(&pack);
    pack.extend_from_slice(hash.try_finalize().unwrap().as_slice());
    pack
}

fn header(out: &mut Vec<u8>, kind: u8, size: usize) {
    let (mut byte, mut rest) = (kind << 4 | (size & 0xf) as u8, size >> 4);
    while rest > 0 {
        out.push(byte | 0x80);
        (byte, rest) = ((rest & 0x7f) as u8, rest >> 7);
    }
    out.push(byte);
}

fn distance(out: &mut Vec<u8>, mut distance: usize) {
    let mut bytes = vec![(distance & 0x7f) as u8];
    while distance >> 7 > 0 {
        distance = (distance >> 7) - 1;
        bytes.insert(0, (distance & 0x7f) as u8 | 0x80);
    }
    out.extend(bytes);
}

/// From a base of that size: its beginning, and a byte.
fn grow(base: usize, last: u8) -> Vec<u8> {
    let mut delta = Vec::new();
    for mut size in [base, base + 1] {
        while size > 0x7f {
            delta.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        delta.push(size as u8);
    }
    let mut done = 0;
    while done < base {
        let size = (base - done).min(0xff_ffff);
        let [o0, o1, o2, o3] = u32::try_from(done).unwrap().to_le_bytes();
        let [s0, s1, s2, _] = u32::try_from(size).unwrap().to_le_bytes();
        delta.extend_from_slice(&[0xff, o0, o1, o2, o3, s0, s1, s2]);
        done += size;
    }
    delta.extend_from_slice(&[1, last]);
    delta
}

/// What is made of a pack: the directory and the number of objects.
fn index(pack: &[u8], bounds: Bounds) -> Result<(tempfile::TempDir, usize), String> {
    let directory = tempfile::tempdir().unwrap();
    // Whatever comes after the pack is left where it is.
    let mut input = io::Cursor::new([pack, b"rest"].concat());
    let indexed = index_pack(&mut input, directory.path(), None, bounds, &mut (), &AtomicBool::new(false));
    let indexed = indexed.map_err(|error| error.to_string());
    let left = if indexed.is_err() { directory.path().read_dir().unwrap().count() } else { 0 };
    indexed
        .map(|count| (directory, count))
        .map_err(|error| if left == 0 { error } else { format!("{error}, and files") })
}

/// As git makes it.
fn assert_as_git(pack: &[u8]) {
    let (directory, _) = index(pack, BOUNDS).unwrap();
    let mut files: Vec<_> = directory.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let [own, written] = files.try_into().unwrap();
    assert!(std::fs::read(&written).unwrap() == pack);
    let git = directory.path().join("git.idx");
    let made = Command::new("git").args(["index-pack", "--index-version=2", "-o"]).arg(&git).arg(&written).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(std::fs::read(own).unwrap() == std::fs::read(git).unwrap());
}

fn id(content: &[u8]) -> ObjectId {
    resolve::name::<()>(Kind::Blob, content).unwrap()
}

#[test]
fn indexes_are_as_git_makes_them() {
    assert_as_git(&pack(&[Stored::Whole(b"")]));
    let large = vec![7; 300_000];
    let near = |last| Stored::Delta(1, grow(300_000, last));
    assert_as_git(&pack(&[Stored::Whole(&large), near(1), Stored::Delta(2, grow(300_000, 2)), Stored::Whole(b"x")]));
    // By name: one that comes later, of one that is a delta by itself, and of one that is there twice.
    let (one, two) = (b"one".as_slice(), b"one!".as_slice());
    let grown = [large.as_slice(), &[1]].concat();
    assert_as_git(&pack(&[
        Stored::Named(id(two), grow(4, b'?')),
        Stored::Named(id(one), grow(3, b'!')),
        Stored::Whole(one),
        Stored::Whole(&large),
        near(1),
        Stored::Named(id(&grown), grow(300_001, 9)),
    ]));
}

#[test]
fn a_thread_for_each_makes_no_difference() {
    let contents: Vec<Vec<u8>> = (0..50_u8).map(|number| vec![number; 1000]).collect();
    let mut objects: Vec<Stored<'_>> = contents.iter().map(|content| Stored::Whole(content)).collect();
    for round in 0..5 {
        objects.extend((0..50).map(|_| Stored::Delta(50, grow(1000 + round, 1))));
    }
    assert_as_git(&pack(&objects));
}

#[test]
fn an_empty_pack_leaves_nothing() {
    let (directory, count) = index(&pack(&[]), BOUNDS).unwrap();
    assert_eq!((count, directory.path().read_dir().unwrap().count()), (0, 0));
}

#[test]
fn every_bound_is_named() {
    let megabyte = vec![0; 1 << 20];
    let large =
        pack(&[Stored::Whole(&megabyte), Stored::Delta(1, grow(1 << 20, 1)), Stored::Delta(1, grow(1 + (1 << 20), 1))]);
    let size = large.len() as u64;
    for (bounds, reason) in [
        (Bounds { bytes: size - 21, ..BOUNDS }, format!("pack exceeds maximum allowed size ({} bytes)", size - 21)),
        (Bounds { objects: 2, ..BOUNDS }, "a pack of 3 objects exceeds the maximum allowed number (2)".to_owned()),
        (Bounds { object: 1000, ..BOUNDS }, "an object exceeds the maximum allowed size (1000 bytes)".to_owned()),
        (
            Bounds { object: 1 + (1 << 20), ..BOUNDS },
            "an object exceeds the maximum allowed size (1048577 bytes)".to_owned(),
        ),
        (
            Bounds { unpacked: 3 << 20, ..BOUNDS },
            "pack exceeds maximum allowed size when unpacked (3145728 bytes)".to_owned(),
        ),
    ] {
        assert_eq!(index(&large, bounds).unwrap_err(), reason);
    }
    assert_as_git(&large);
}

/// Each has a sibling that waits for it, so that all that lie above would have to be kept.
#[test]
fn what_there_is_no_room_for_is_rebuilt_and_counted() {
    let size = 100_000;
    let content = vec![0; size];
    // Of each two the second is the base of the next two.
    let mut objects = vec![Stored::Whole(&content)];
    for depth in 0..8 {
        objects.push(Stored::Delta(1, grow(size + depth, 1)));
        objects.push(Stored::Delta(2, grow(size + depth, 2)));
    }
    let pack = pack(&objects);
    assert_as_git(&pack);
    let whole = objects.len() as u64 * (size as u64 + 20);
    let error = index(&pack, Bounds { unpacked: whole, ..BOUNDS }).unwrap_err();
    assert_eq!(error, format!("pack exceeds maximum allowed size when unpacked ({whole} bytes)"));
}

#[test]
fn nonsense_is_refused() {
    let good = pack(&[Stored::Whole(b"some content"), Stored::Delta(1, grow(12, 1))]);
    for length in 0..good.len() {
        let error = index_pack(
            &good[..length],
            tempfile::tempdir().unwrap().path(),
            None,
            BOUNDS,
            &mut (),
            &AtomicBool::new(false),
        );
        assert_eq!(error.unwrap_err().to_string(), "early EOF", "{length}");
    }
    let nowhere = id(b"nowhere");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"nonsense, and more of it".to_vec(), "pack signature mismatch"),
        (pack(&[Stored::Named(nowhere, grow(3, 1))]), "pack has 1 unresolved deltas"),
        (pack(&[Stored::Whole(b"abc"), Stored::Delta(1, grow(4, 1))]), "failed to apply delta"),
        (pack(&[Stored::Whole(b"abc"), Stored::Delta(1, vec![])]), "failed to apply delta"),
        ([&good[..good.len() - 1], b"x"].concat(), "pack is corrupted (SHA1 mismatch)"),
        (seal([&good[..12], &[0x60, 5]].concat()), "delta base offset is out of bound"),
        (seal([&good[..12], &[0x50]].concat()), "unknown object type"),
        (
            seal([&good[..12], &[0xb0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]].concat()),
            "an object's size is out of range",
        ),
        (seal([&good[..12], &[0x33, 1, 2, 3]].concat()), "inflate returned an error"),
    ];
    for (pack, reason) in cases {
        assert_eq!(index(&pack, BOUNDS).unwrap_err(), reason);
    }
    // Longer or shorter than it says.
    for size in [11, 13] {
        let mut pack = good.clone();
        pack[12] = 0x30 | size;
        assert_eq!(index(&pack, BOUNDS).unwrap_err(), "inflate returned an error");
    }
}

#[test]
fn chains_end() {
    let mut objects = vec![Stored::Whole(b"")];
    objects.extend((0..4097).map(|length| Stored::Delta(1, grow(length, 1))));
    assert_eq!(index(&pack(&objects), BOUNDS).unwrap_err(), "a chain of deltas is too long");
    objects.truncate(4000);
    assert_as_git(&pack(&objects));
}

#[test]
fn git_agrees_on_what_it_packs() {
    let home = tempfile::tempdir().unwrap();
    let repository = home.path();
    let run = |arguments: &[&str], input: &[u8]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(repository).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut git = command.spawn().unwrap();
        git.stdin.take().unwrap().write_all(input).unwrap();
        git.wait_with_output().unwrap().stdout
    };
    run(&["init", "-q", "--bare"], b"");
    let mut ids = Vec::new();
    for number in 0..200_u32 {
        let number_of = |line| if line % 50 == number % 50 { number } else { line };
        let lines: Vec<String> = (0..300).map(|line| number_of(line).to_string()).collect();
        ids.extend(run(&["hash-object", "-w", "--stdin"], lines.join("\n").as_bytes()));
    }
    for options in [["--delta-base-offset", "-q"], ["--no-reuse-delta", "-q"]] {
        assert_as_git(&run(&["pack-objects", "--stdout", options[0], options[1]], &ids));
    }
}
