use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use proptest::prelude::*;

use super::request::Request;
use super::wire::{Reader, Writer};
use super::{LONGEST, serve};

/// A packet with a head and strings.
fn packet(kind: u8, id: u32, rest: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut packet = Writer::default();
    packet.byte(kind);
    packet.u32(id);
    rest(&mut packet);
    packet.framed()
}

fn hello() -> Vec<u8> {
    packet(1, 3, |_| {})
}

fn path(path: &Path) -> impl FnOnce(&mut Writer) {
    move |packet| packet.string(path.as_os_str().as_bytes())
}

/// What is answered: kind, number, and the rest of each packet after the version's.
fn answers(requests: &[Vec<u8>]) -> Vec<(u8, u32, Vec<u8>)> {
    let (input, mut output) = ([hello(), requests.concat()].concat(), Vec::new());
    serve(BufReader::new(&input[..]), &mut output).unwrap();
    let (mut reader, mut answers) = (Reader(&output), Vec::new());
    while let Ok(packet) = reader.string() {
        let mut packet = Reader(packet);
        answers.push((packet.byte().unwrap(), packet.u32().unwrap(), packet.0.to_vec()));
    }
    assert_eq!((answers[0].0, answers[0].1), (2, 3));
    answers.split_off(1)
}

/// The number in a status.
fn code(answer: &(u8, u32, Vec<u8>)) -> Option<u32> {
    (answer.0 == 101).then(|| Reader(&answer.2).u32().unwrap())
}

#[test]
fn a_file_is_written_read_and_renamed() {
    let directory = tempfile::tempdir().unwrap();
    // Names are bytes.
    let (file, moved) = (directory.path().join(std::ffi::OsStr::from_bytes(b"a\xff")), directory.path().join("moved"));
    let open = |id, flags| {
        packet(3, id, |packet| {
            path(&file)(packet);
            packet.u32(flags);
            packet.u32(0);
        })
    };
    let handle = |packet: &mut Writer, number: u32| packet.string(&number.to_be_bytes());
    let answers = answers(&[
        open(1, 2 | 8 | 0x10),
        packet(6, 2, |packet| {
            handle(packet, 0);
            packet.u64(2);
            packet.string(b"text");
        }),
        packet(4, 3, |packet| handle(packet, 0)),
        packet(4, 4, |packet| handle(packet, 0)),
        open(5, 1),
        packet(5, 6, |packet| {
            handle(packet, 1);
            packet.u64(1);
            packet.u32(u32::MAX);
        }),
        packet(5, 7, |packet| {
            handle(packet, 1);
            packet.u64(6);
            packet.u32(10);
        }),
        packet(18, 8, |packet| {
            path(&file)(packet);
            path(&moved)(packet);
        }),
        packet(13, 9, path(&file)),
        packet(17, 10, path(&moved)),
    ]);
    let kinds: Vec<u8> = answers.iter().map(|answer| answer.0).collect();
    assert_eq!(kinds, [102, 101, 101, 101, 102, 103, 101, 101, 101, 105]);
    let codes: Vec<_> = answers.iter().filter_map(code).collect();
    assert_eq!(codes, [0, 0, 4, 1, 0, 2], "written, closed, closed twice, end of file, renamed, gone");
    assert_eq!(Reader(&answers[5].2).string().unwrap(), b"\0text");
    assert_eq!(std::fs::read(&moved).unwrap(), b"\0\0text");
}

#[test]
fn files_are_opened_as_open_does() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let codes = |flags| {
        let open = packet(3, 1, |packet| {
            path(&file)(packet);
            packet.u32(flags);
            packet.u32(0);
        });
        answers(&[open]).first().map(|answer| (answer.0, code(answer))).unwrap()
    };
    let (opened, missing, failed) = ((102, None), (101, Some(2)), (101, Some(4)));
    assert_eq!(codes(1 | 0x10), missing);
    assert_eq!(codes(2 | 4), missing);
    assert_eq!(codes(8 | 0x20), opened, "made without being written");
    assert_eq!((codes(8 | 0x20), codes(2 | 8 | 0x20)), (failed, failed), "made before");
    assert_eq!((codes(0x20), codes(8)), (opened, opened));
    std::fs::write(&file, "text").unwrap();
    assert_eq!((codes(1 | 0x10), codes(1 | 4)), (opened, opened));
    assert_eq!(std::fs::read(&file).unwrap(), b"text", "only what is written can be cut");
    assert_eq!(codes(2 | 8 | 0x10), opened);
    assert_eq!(std::fs::read(&file).unwrap(), b"");
}

#[test]
fn directories_are_listed_to_their_end() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..150 {
        std::fs::write(directory.path().join(number.to_string()), "").unwrap();
    }
    let read = |id| packet(12, id, |packet| packet.string(&0_u32.to_be_bytes()));
    let answers = answers(&[packet(11, 1, path(directory.path())), read(2), read(3), read(4)]);
    let count = |answer: &(u8, u32, Vec<u8>)| (answer.0 == 104).then(|| Reader(&answer.2).u32().unwrap());
    assert_eq!((count(&answers[1]), count(&answers[2]), code(&answers[3])), (Some(100), Some(50), Some(1)));
}

#[test]
fn what_is_not_known_or_cut_short_is_said() {
    let answers = answers(&[
        packet(99, 1, |_| {}),
        packet(200, 2, |packet| packet.string(b"nothing@example.org")),
        packet(6, 3, |packet| packet.u32(1000)),
        packet(4, 4, |packet| packet.string(b"not a handle")),
    ]);
    let codes: Vec<_> = answers.iter().map(|answer| (answer.1, code(answer).unwrap())).collect();
    assert_eq!(codes, [(1, 8), (2, 8), (3, 5), (4, 4)]);
}

#[test]
fn what_is_not_sftp_ends_it() {
    let too_long = u32::try_from(LONGEST + 1).unwrap().to_be_bytes();
    for input in [&b"\0\0\0\0"[..], &too_long, b"GET / HTTP/1.1", b"\0\0\0\x05\x03\0\0\0\x01", b"\0\0\0\x09\x01"] {
        assert!(serve(BufReader::new(input), Vec::new()).is_err(), "{input:?}");
    }
    assert!(serve(BufReader::new(&b""[..]), Vec::new()).is_ok());
}

#[test]
fn handles_run_out() {
    let directory = tempfile::tempdir().unwrap();
    let open = |id| packet(11, id, path(directory.path()));
    let requests: Vec<_> = (0..300).map(open).collect();
    let answers = answers(&requests);
    assert_eq!(answers.iter().filter(|answer| answer.0 == 102).count(), 256);
    assert!(answers[256..].iter().all(|answer| code(answer) == Some(4)));
}

proptest! {
    #[test]
    fn no_packet_makes_it_panic(kind in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let packet = [&[kind][..], &bytes].concat();
        let _ = Request::parse(&packet);
    }

    /// Whatever stands in the strings and numbers of a request, it is read back.
    #[test]
    fn requests_are_read_as_they_were_written(name in proptest::collection::vec(any::<u8>(), 1..100), offset in any::<u64>()) {
        let bytes = packet(6, 7, |packet| {
            packet.string(&name);
            packet.u64(offset);
            packet.string(b"data");
        });
        let mut body = Vec::new();
        (&bytes[4..]).read_to_end(&mut body).unwrap();
        prop_assert_eq!(Request::parse(&body), Ok((7, Request::Write { handle: &name, offset, data: b"data" })));
    }
}
