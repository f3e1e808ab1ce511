//! What reads bytes from outside, in a form that a fuzzer can call (`gitd/fuzz`): whatever comes, there is no panic, and what is
//! promised holds. The tests here run each over the corpus in the repository, and over what chance makes of it.

use std::future::Future;
use std::io::Read;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Waker};

use crate::git_command::GitCommand;
use crate::index_pack::{Bounds, index_pack};
use crate::limits::PACKET;
use crate::pktline::{self, Packet};
use crate::{Limits, receive, upload};

/// A name, and what takes its bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("packets", packets),
    ("push", push),
    ("exec", exec),
    ("fetch_v2", fetch_v2),
    ("fetch_v0", fetch_v0),
    ("pack", pack),
];

/// A pack: what is taken has an index with all of its objects, and of what is refused nothing is left. Its checksum is made right, or
/// chance would hardly get beyond it.
pub fn pack(bytes: &[u8]) {
    let Ok(directory) = tempfile::tempdir() else { return };
    let mut hash = gix::hash::hasher(gix::hash::Kind::Sha1);
    hash.update(bytes);
    let checksum = hash.try_finalize().map(|id| id.as_slice().to_vec()).unwrap_or_default();
    let bounds = Bounds { bytes: 1 << 20, objects: 1000, object: 1 << 20, unpacked: 8 << 20, kept: 1 << 10 };
    let never = AtomicBool::new(false);
    let indexed = index_pack(&mut bytes.chain(checksum.as_slice()), directory.path(), None, bounds, &mut (), &never);
    let files = directory.path().read_dir().map_or(0, Iterator::count);
    assert_eq!(files, if indexed.is_ok_and(|objects| objects > 0) { 2 } else { 0 });
}

/// Small enough for a fuzzer to come to them.
fn limits() -> Limits {
    Limits { commands: 8, refs: 8, packet_bytes: 1024, ..Limits::default() }
}

/// Packet lines: what was read is written as it was, but for the case of the length's digits.
pub fn packets(bytes: &[u8]) {
    let (mut input, mut out) = (bytes, Vec::new());
    while let Ok(Some(packet)) = now(pktline::read(&mut input, PACKET)) {
        match packet {
            Packet::Flush => pktline::flush(&mut out),
            Packet::Delimiter => pktline::delimiter(&mut out),
            Packet::Data(data) => pktline::data(&mut out, &data),
        }
    }
    assert!(bytes.get(..out.len()).is_some_and(|read| read.eq_ignore_ascii_case(&out)));
}

/// The commands of a push.
pub fn push(bytes: &[u8]) {
    let mut input = bytes;
    if let Ok(Some(request)) = now(receive::FuzzedRequest::read(&mut input, &limits())) {
        assert!((1..=limits().commands).contains(&request.commands.len()));
        assert!(request.commands.iter().all(|command| !command.name.is_empty()));
    }
}

/// The line of an `exec` request: a path that git's client would quote comes back as it was.
pub fn exec(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    if let Some(command) = GitCommand::parse(line) {
        let again = format!("git-upload-pack '{}'", command.path.replace('\'', "'\\''").replace('!', "'\\!'"));
        assert_eq!(GitCommand::parse(&again).map(|again| again.path), Some(command.path));
    }
}

/// The commands of version 2 of the protocol.
pub fn fetch_v2(bytes: &[u8]) {
    now(upload::read_requests(bytes, &limits()));
}

/// The wants of version 0.
pub fn fetch_v0(bytes: &[u8]) {
    now(upload::read_wants(bytes, &limits()));
}

/// The result of a future that has nothing to wait for.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("bytes in memory are there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let directory = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(directory).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        let files: Vec<_> = files.collect();
        assert!(files.len() > 3, "{name}");
        files
    }

    #[test]
    fn the_corpus_is_taken() {
        for (name, target) in TARGETS {
            for bytes in corpus(name) {
                target(&bytes);
            }
        }
    }

    /// A piece of one, a piece of another, and something between.
    fn mutated(name: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let (one, other) = (proptest::sample::select(corpus(name)), proptest::sample::select(corpus(name)));
        let between = proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(b"0000001 \n\0".to_vec())],
            0..12,
        );
        (one, other, between, 0..400_usize, 0..400_usize).prop_map(|(one, other, between, end, start)| {
            let (one, other) = (&one[..end.min(one.len())], &other[start.min(other.len())..]);
            [one, &between, other].concat()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_chance_makes_of_packets(bytes in mutated("packets")) {
            packets(&bytes);
        }

        #[test]
        fn what_chance_makes_of_pushes(bytes in mutated("push")) {
            push(&bytes);
        }

        #[test]
        fn what_chance_makes_of_commands(bytes in mutated("exec")) {
            exec(&bytes);
        }

        #[test]
        fn what_chance_makes_of_packs(bytes in mutated("pack")) {
            pack(&bytes);
        }

        #[test]
        fn what_chance_makes_of_fetches(bytes in mutated("fetch_v2"), old in mutated("fetch_v0")) {
            fetch_v2(&bytes);
            fetch_v0(&old);
        }
    }
}
