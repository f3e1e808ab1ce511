//! Faults of clients that speak HTTP/2, frame by frame (RFC 9113), and what becomes of them.

use std::time::Duration;

use router::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{router, says, soon};

/// A fault, its bytes, and the kind of frame that answers them.
type Case = (&'static str, Vec<u8>, u8);

/// 400: the request is only ours to judge.
const HEADERS: u8 = 1;
/// The stream ends.
const RESET: u8 = 3;
/// The connection ends.
const GO_AWAY: u8 = 7;

const GOOD: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "app")];

/// A frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// HEADERS that are complete, as literals without compression.
fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    frame(1, 4 | u8::from(end), stream, &block)
}

/// What a raw client that opened properly gets for these bytes, until the connection is silent: the kinds of frames.
async fn ask(router: &Router, bytes: &[u8]) -> Vec<u8> {
    const PING_ANSWER: u8 = 6;
    let mut stream = TcpStream::connect(router.address()).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let _ = stream.write_all(bytes).await;
    // What comes before the answer to it belongs to the bytes.
    let _ = stream.write_all(&frame(6, 0, 0, &[7; 8])).await;
    let mut kinds = Vec::new();
    let mut quiet = false;
    loop {
        let mut head = [0; 9];
        let read =
            tokio::time::timeout(Duration::from_millis(if quiet { 200 } else { 5000 }), stream.read_exact(&mut head));
        let Ok(Ok(_)) = read.await else { return kinds };
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        if stream.read_exact(&mut payload).await.is_err() {
            return kinds;
        }
        quiet |= head[3] == PING_ANSWER;
        kinds.push(head[3]);
    }
}

fn with(more: &[(&'static str, &'static str)]) -> Vec<u8> {
    headers(1, &[&GOOD[..], more].concat(), true)
}

fn without(name: &str) -> Vec<u8> {
    let left: Vec<_> = GOOD.into_iter().filter(|(field, _)| *field != name).collect();
    headers(1, &left, true)
}

fn changed(name: &str, value: &'static str) -> Vec<u8> {
    headers(1, &GOOD.map(|(field, old)| (field, if field == name { value } else { old })), true)
}

fn length(length: &'static str, data: &[u8]) -> Vec<u8> {
    let head = headers(1, &[&GOOD[..], &[("content-length", length)]].concat(), false);
    [head, frame(0, 1, 1, data)].concat()
}

/// Heads that are no request.
fn heads() -> Vec<Case> {
    vec![
        ("no method", without(":method"), RESET),
        ("no scheme", without(":scheme"), RESET),
        ("no path", without(":path"), RESET),
        ("no authority", without(":authority"), HEADERS),
        ("an empty path", changed(":path", ""), RESET),
        ("a relative path", changed(":path", "x"), RESET),
        ("a star", changed(":path", "*"), HEADERS),
        ("a method with a space", changed(":method", "GET /x"), GO_AWAY),
        ("an authority with a user", changed(":authority", "me@app"), HEADERS),
        ("an authority with a path", changed(":authority", "app/x"), RESET),
        ("an authority with a line end", changed(":authority", "app\r\nx: y"), RESET),
        ("another scheme", changed(":scheme", "ftp"), HEADERS),
        ("a path with a line end", changed(":path", "/\r\nx: y"), RESET),
        ("a path with a space", changed(":path", "/ HTTP/1.1"), RESET),
        ("connect", headers(1, &[(":method", "CONNECT"), (":authority", "app:80")], true), HEADERS),
        ("two methods", with(&[(":method", "POST")]), RESET),
        ("two paths", with(&[(":path", "/x")]), RESET),
        ("two authorities", with(&[(":authority", "app")]), RESET),
        ("a pseudo header after others", headers(1, &[("a", "b"), GOOD[0], GOOD[1], GOOD[2], GOOD[3]], true), RESET),
        ("an unknown pseudo header", with(&[(":x", "y")]), GO_AWAY),
        ("a pseudo header of answers", with(&[(":status", "200")]), RESET),
        ("an upper case name", with(&[("Accept", "x")]), GO_AWAY),
        ("a name with a space", with(&[("a b", "x")]), GO_AWAY),
        ("a value with a line end", with(&[("a", "x\r\nb: c")]), GO_AWAY),
        ("a value with a NUL", with(&[("a", "x\0")]), GO_AWAY),
        ("connection", with(&[("connection", "close")]), RESET),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")]), RESET),
        ("keep-alive", with(&[("keep-alive", "1")]), RESET),
        ("upgrade", with(&[("upgrade", "websocket")]), RESET),
        ("proxy-connection", with(&[("proxy-connection", "close")]), RESET),
        ("te with more than trailers", with(&[("te", "gzip")]), RESET),
        ("another host", with(&[("host", "other")]), HEADERS),
        ("two hosts", with(&[("host", "app"), ("host", "app")]), HEADERS),
        ("a length that is none", length("x", b"abc"), RESET),
        ("a signed length", length("+3", b"abc"), RESET),
        ("too long a length", length("99999999999999999999", b"abc"), RESET),
    ]
}

/// Frames that are not in order.
fn frames() -> Vec<Case> {
    vec![
        ("data on stream 0", frame(0, 0, 0, b"x"), GO_AWAY),
        ("headers on stream 0", headers(0, &GOOD, true), GO_AWAY),
        ("headers on an even stream", headers(2, &GOOD, true), GO_AWAY),
        ("data on an idle stream", frame(0, 0, 1, b"x"), GO_AWAY),
        ("a reset of an idle stream", frame(3, 0, 1, &[0; 4]), GO_AWAY),
        ("a continuation of nothing", frame(9, 4, 1, &[]), GO_AWAY),
        ("another frame amid headers", [frame(1, 0, 1, &[0]), frame(6, 0, 0, &[0; 8])].concat(), GO_AWAY),
        ("a short ping", frame(6, 0, 0, &[0; 7]), GO_AWAY),
        ("settings of a wrong size", frame(4, 0, 0, &[0; 5]), GO_AWAY),
        ("settings on a stream", frame(4, 0, 1, &[]), GO_AWAY),
        ("too large a window", frame(4, 0, 0, &[0, 4, 255, 255, 255, 255]), GO_AWAY),
        ("a window of zero more", frame(8, 0, 0, &[0; 4]), GO_AWAY),
        ("a window that overflows", frame(8, 0, 0, &[127, 255, 255, 255]), GO_AWAY),
        ("a promise", frame(5, 4, 1, &[0, 0, 0, 2]), GO_AWAY),
        ("padding beyond the frame", frame(0, 8, 1, &[9, 1]), GO_AWAY),
        ("compression that is broken", frame(1, 5, 1, &[255, 255, 255, 255]), GO_AWAY),
    ]
}

#[tokio::test]
async fn malformed_requests_do_not_reach_the_app() {
    let app = says("must not be asked").await;
    let router = router(vec![app.target()]);
    let asked = heads().into_iter().chain(frames()).map(async |(what, bytes, expected)| {
        let kinds = soon(ask(&router, &bytes)).await;
        (!kinds.contains(&expected)).then(|| format!("{what}: expected {expected}, came {kinds:?}"))
    });
    let wrong: Vec<_> = futures_util::future::join_all(asked).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(app.requests(), 0);
}

#[test]
fn the_documents_show_the_table() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/SECURITY.md")).unwrap();
    for (kind, cases) in [("The head of a request", heads()), ("Frames", frames())] {
        for (answer, said) in [(HEADERS, "400"), (RESET, "the stream ends"), (GO_AWAY, "the connection ends")] {
            let of_it = cases.iter().filter(|(.., expected)| *expected == answer).map(|(what, ..)| *what);
            let cases = of_it.collect::<Vec<_>>().join("; ");
            let row = format!("| {kind} | {said} | {cases} |\n");
            assert!(cases.is_empty() || document.contains(&row), "docs/SECURITY.md has no row like this one:\n{row}");
        }
    }
}
