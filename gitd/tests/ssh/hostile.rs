//! Packs made to take as much memory as they can within the bounds: what they do take. A small one of each kind in every run; of the
//! sizes that the bounds allow with `AIRSTRIP_TEST_BULK=1` (`--release` then, or it takes an hour).

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use gix::ObjectId;
use gix::objs::{Kind, compute_hash};

use crate::bulk::{LONG, size};
use crate::crash::Other;
use crate::harness::World;
use crate::raw_push::{NONE, push_to};

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;
const MB: usize = 1 << 20;

/// A pack on its way.
struct Pack {
    bytes: Vec<u8>,
    objects: u32,
}

enum Stored {
    Blob,
    Tree,
    /// A delta to what begins there.
    At(usize),
    /// A delta to that object.
    Named(ObjectId),
}

impl Pack {
    fn new() -> Self {
        Self { bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(), objects: 0 }
    }

    /// Where it begins.
    fn add(&mut self, stored: &Stored, size: usize, compressed: &[u8]) -> usize {
        let offset = self.bytes.len();
        let kind = match stored {
            Stored::Tree => 2,
            Stored::Blob => 3,
            Stored::At(_) => 6,
            Stored::Named(_) => 7,
        };
        let more = if size >> 4 > 0 { 0x80 } else { 0 };
        self.bytes.push(more | kind << 4 | low(size & 0xf));
        if more > 0 {
            number(&mut self.bytes, size >> 4);
        }
        match stored {
            Stored::Blob | Stored::Tree => {}
            Stored::At(base) => distance(&mut self.bytes, offset - base),
            Stored::Named(base) => self.bytes.extend_from_slice(base.as_slice()),
        }
        self.bytes.extend_from_slice(compressed);
        self.objects += 1;
        offset
    }

    fn add_deflated(&mut self, stored: &Stored, content: &[u8]) -> usize {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        self.add(stored, content.len(), &encoder.finish().unwrap())
    }

    fn add_plain(&mut self, stored: &Stored, content: &[u8]) -> usize {
        self.add(stored, content.len(), &plain(content, 0))
    }

    fn seal(mut self) -> Vec<u8> {
        self.bytes[8..12].copy_from_slice(&self.objects.to_be_bytes());
        let mut hash = gix::hash::hasher(SHA1);
        hash.update(&self.bytes);
        self.bytes.extend_from_slice(hash.try_finalize().unwrap().as_slice());
        self.bytes
    }
}

fn low(number: usize) -> u8 {
    u8::try_from(number & 0xff).unwrap()
}

fn number(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        out.push(low(number & 0x7f) | 0x80);
        number >>= 7;
    }
    out.push(low(number));
}

fn distance(out: &mut Vec<u8>, mut distance: usize) {
    let mut bytes = vec![low(distance & 0x7f)];
    while distance > 0x7f {
        distance = (distance >> 7) - 1;
        bytes.push(0x80 | low(distance & 0x7f));
    }
    out.extend(bytes.iter().rev());
}

/// At most 65535 bytes as zlib has them uncompressed, after so many blocks of nothing.
fn plain(content: &[u8], nothing: usize) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let (one, other) = content.iter().fold((1, 0), |(one, other), byte| {
        ((one + u32::from(*byte)) % 65521, (other + one + u32::from(*byte)) % 65521)
    });
    let mut out = vec![0x78, 0x01];
    out.extend([0, 0, 0, 0xff, 0xff].repeat(nothing));
    out.push(1);
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend_from_slice(content);
    out.extend((other << 16 | one).to_be_bytes());
    out
}

/// A delta to a base of that size: all of the content is its own.
fn inserting(base: usize, content: &[u8]) -> Vec<u8> {
    let mut delta = Vec::with_capacity(content.len() / 126 * 128);
    number(&mut delta, base);
    number(&mut delta, content.len());
    for part in content.chunks(127) {
        delta.push(low(part.len()));
        delta.extend_from_slice(part);
    }
    delta
}

/// A delta of a few bytes: 64 KB of the base, as often as told, and the number.
fn repeating(base: usize, times: usize, number_of_it: u8) -> Vec<u8> {
    let mut delta = Vec::new();
    number(&mut delta, base);
    number(&mut delta, times * 0x10000 + 1);
    delta.extend(vec![0x80; times]);
    delta.extend([1, number_of_it]);
    delta
}

/// Pushes the pack, and a tag on a blob in it; what is said, and MB of memory above idle.
#[expect(clippy::print_stdout, reason = "the figures are for whoever reads them")]
async fn pushed(mut pack: Pack) -> (String, u64) {
    let id = compute_hash(SHA1, Kind::Blob, b"a tag may be on anything").unwrap();
    pack.add_plain(&Stored::Blob, b"a tag may be on anything");
    let bytes = pack.seal();
    let world = World::new().await;
    let other = Other::start(&world, "", 50).await;
    let before = other.peak_memory();
    let command = (NONE, &*id.to_string(), "refs/tags/hostile");
    let said = push_to(&world, (other.port, LONG), &[command], &bytes).await;
    let more = other.peak_memory() - before;
    println!("a pack of {} MB: {more} MB of memory above idle", bytes.len() / MB);
    world.stop().await;
    (said, more)
}

/// Several families: a large base, a large delta to it, and another to what that makes.
#[tokio::test(flavor = "multi_thread")]
async fn large_deltas_to_large_bases() {
    let megabytes = size(17, 250);
    let zeros = vec![0; megabytes * MB];
    let mut pack = Pack::new();
    for family in 0..low(size(2, 4)) {
        let mut own = zeros.clone();
        own[0] = family;
        let base = pack.add_deflated(&Stored::Blob, &own);
        own.truncate(megabytes * MB / 128 * 127 - 64);
        own[1] = 1;
        let delta = pack.add_deflated(&Stored::At(base), &inserting(zeros.len(), &own));
        own[1] = 2;
        pack.add_deflated(&Stored::At(delta), &inserting(own.len(), &own));
    }
    drop(zeros);
    let (said, more) = pushed(pack).await;
    assert!(said.contains("unpack ok\n"), "{said}");
    assert!(more < 3 * megabytes as u64 + 150, "{more} MB");
}

/// Deltas of some bytes that are a thousand times as large, and more.
#[tokio::test(flavor = "multi_thread")]
async fn small_deltas_to_large_objects() {
    let megabytes = size(17, 250);
    let mut pack = Pack::new();
    let base = pack.add_deflated(&Stored::Blob, &vec![7; 0x10000]);
    for delta in 0..low(size(4, 16)) {
        pack.add_deflated(&Stored::At(base), &repeating(0x10000, megabytes * 16 - 1, delta));
    }
    let (said, more) = pushed(pack).await;
    assert!(said.contains("unpack ok\n"), "{said}");
    assert!(more < 2 * megabytes as u64 + 150, "{more} MB");
}

/// As many objects as there may be, each a delta to the last by its name.
#[tokio::test(flavor = "multi_thread")]
async fn many_small_objects() {
    let objects = size(100_000, 4_999_000);
    let mut pack = Pack::new();
    let mut base = ObjectId::null(SHA1);
    for object in 0..objects {
        let content = object.to_be_bytes();
        let stored = if object % 4000 == 0 { Stored::Blob } else { Stored::Named(base) };
        let delta = inserting(content.len(), &content);
        pack.add_plain(&stored, if object % 4000 == 0 { &content } else { &delta });
        base = compute_hash(SHA1, Kind::Blob, &content).unwrap();
    }
    let (said, more) = pushed(pack).await;
    assert!(said.contains("unpack ok\n"), "{said}");
    assert!(more < objects as u64 / 5000 + 150, "{more} MB");
}

/// Trees, rebuilt by several threads, that name what is nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn many_names() {
    let names = size(50_000, 3_000_000);
    let mut pack = Pack::new();
    for family in 0..4_u64 {
        let base = pack.add_plain(&Stored::Tree, &tree(family << 56, 1));
        let content = tree(family << 48, names);
        let delta = inserting(tree(0, 1).len(), &content);
        pack.add_deflated(&Stored::At(base), &delta);
    }
    let (said, more) = pushed(pack).await;
    assert!(said.contains("unpack ok\n") && said.contains("missing necessary objects\n"), "{said}");
    assert!(more < names as u64 * 5 * 32 / MB as u64 + 250, "{more} MB");
}

/// So many entries, with names that no other seed gives.
fn tree(seed: u64, entries: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(entries * 36);
    for entry in 0..entries as u64 {
        let id = (seed + entry + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        content.extend_from_slice(format!("100644 {entry:08x}\0").as_bytes());
        content.extend([id, id.rotate_left(17)].iter().flat_map(|half| half.to_be_bytes()));
        content.extend([1; 4]);
    }
    content
}

/// A base of a few bytes, compressed to many millions.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_said_over_and_over() {
    let megabytes = size(40, 1500);
    let mut pack = Pack::new();
    let base = pack.add(&Stored::Blob, 4, &plain(b"base", megabytes * MB / 5));
    pack.add_plain(&Stored::At(base), &inserting(4, b"delta"));
    let (said, more) = pushed(pack).await;
    assert!(said.contains("unpack ok\n"), "{said}");
    assert!(more < 35, "{more} MB");
}
