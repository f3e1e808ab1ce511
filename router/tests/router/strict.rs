//! Requests that two servers could understand differently, byte by byte, and what becomes of them.
//!
//! From RFC 9112 and RFC 9110, and from published work on request smuggling: conflicting lengths (CL.TE, TE.CL, CL.CL),
//! disguised codings (TE.TE), bare line feeds, odd chunks, and whatever else shifts the end of a request.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{App, Client, raw_app, router};

/// An app that records all it gets, and answers each request once it has ended.
async fn recorder() -> (App, Arc<Mutex<Vec<u8>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let app = raw_app(move |mut stream, _| {
        let seen = record.clone();
        async move {
            let (mut buffer, mut own) = ([0; 4096], Vec::new());
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                seen.lock().unwrap().extend_from_slice(&buffer[..length]);
                own.extend_from_slice(&buffer[..length]);
                let chunked = String::from_utf8_lossy(&own).contains("chunked");
                if own.ends_with(if chunked { b"\r\n0\r\n\r\n" } else { b"\r\n\r\n" }) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                    own.clear();
                }
            }
        }
    })
    .await;
    (app, seen)
}

/// What follows each request, and must never be taken for one.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n";

#[expect(clippy::too_many_lines, reason = "it is one table")]
/// Each is answered with this status, once, and is the last of its connection.
fn refused() -> Vec<(&'static str, String, u16)> {
    let get = |what, head: &str| (what, format!("GET / HTTP/1.1\r\n{head}\r\n\r\n"), 400);
    let post = |what, rest: &str| (what, format!("POST / HTTP/1.1\r\nHost: app\r\n{rest}"), 400);
    let chunks = |what, body: &str| {
        (what, format!("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n{body}"), 400)
    };
    let line = |what, line: &str| (what, format!("{line}\r\nHost: app\r\n\r\n"), 400);
    let mut cases = vec![
        // Whom it is for.
        get("no host", "A: b"),
        get("an empty host", "Host:"),
        get("two hosts", "Host: app\r\nHost: other"),
        get("the same host twice", "Host: app\r\nHost: app"),
        get("hosts in a list", "Host: app, app"),
        get("a user in the host", "Host: me@app"),
        get("a path in the host", "Host: app/x"),
        get("a query in the host", "Host: app?x"),
        get("a space in the host", "Host: app x"),
        get("a tab in the host", "Host: app\tx"),
        get("a bad port", "Host: app:8a"),
        get("a long port", "Host: app:808080"),
        get("two ports", "Host: app:80:80"),
        get("bytes in the host", "Host: \u{e4}pp"),
        get("an empty label", "Host: app..x"),
        get("a percent in the host", "Host: app%2ex"),
        get("a backslash in the host", "Host: app\\x"),
        line("another host in the target", "GET http://other/ HTTP/1.1"),
        line("another port in the target", "GET http://app:81/ HTTP/1.1"),
        line("a user in the target", "GET http://me@app/ HTTP/1.1"),
        ("a target without its host", "GET http://app/ HTTP/1.1\r\n\r\n".to_owned(), 400),
        // The request line.
        line("another scheme", "GET ftp://app/ HTTP/1.1"),
        line("a scheme without authority", "GET http:/// HTTP/1.1"),
        line("an authority", "GET app:80 HTTP/1.1"),
        line("a connect", "CONNECT app:80 HTTP/1.1"),
        line("a connect to a path", "CONNECT / HTTP/1.1"),
        line("a star", "GET * HTTP/1.1"),
        line("a relative target", "GET x HTTP/1.1"),
        line("no target", "GET HTTP/1.1"),
        line("an empty target", "GET  HTTP/1.1"),
        line("two spaces before the version", "GET /  HTTP/1.1"),
        line("a tab for a space", "GET\t/ HTTP/1.1"),
        line("a space in the target", "GET /a b HTTP/1.1"),
        line("a space after the version", "GET / HTTP/1.1 "),
        line("a space before the method", " GET / HTTP/1.1"),
        line("no version", "GET /"),
        line("an old version", "GET / HTTP/0.9"),
        line("another version", "GET / HTTP/1.2"),
        line("a version of the future", "GET / HTTP/3.1"),
        line("a version in lower case", "GET / http/1.1"),
        line("another protocol", "GET / HTTPS/1.1"),
        line("a NUL in the target", "GET /\0 HTTP/1.1"),
        line("a NUL in the method", "G\0T / HTTP/1.1"),
        line("a method with a colon", "GE:T / HTTP/1.1"),
        line("half of HTTP/2", "PRI * HTTP/2.0"),
        // The lines of the head.
        ("a bare LF after the request line", "GET / HTTP/1.1\nHost: app\r\n\r\n".to_owned(), 400),
        ("a bare LF after a header", "GET / HTTP/1.1\r\nHost: app\nA: b\r\n\r\n".to_owned(), 400),
        ("a bare LF at the end of the head", "GET / HTTP/1.1\r\nHost: app\r\n\n".to_owned(), 400),
        ("LF alone everywhere", "GET / HTTP/1.1\nHost: app\n\n".to_owned(), 400),
        ("a bare LF before the request", "\nGET / HTTP/1.1\r\nHost: app\r\n\r\n".to_owned(), 400),
        get("a bare CR in a value", "Host: app\r\nA: b\rC: d"),
        get("a CR before CRLF", "Host: app\r\nA: b\r"),
        get("a bare CR in a name", "Host: app\r\nA\rB: c"),
        get("a NUL in a value", "Host: app\r\nA: \0"),
        get("a NUL in a name", "Host: app\r\nA\0: b"),
        get("another control byte in a value", "Host: app\r\nA: \u{1}"),
        get("a space before the colon", "Host: app\r\nA : b"),
        get("a tab before the colon", "Host: app\r\nA\t: b"),
        get("a space before the colon of Host", "Host : app"),
        get("a folded header", "Host: app\r\nA: 1\r\n 2"),
        get("a folded header with a tab", "Host: app\r\nA: 1\r\n\t2"),
        get("a fold as first header", " A: b\r\nHost: app"),
        get("a line without a colon", "Host: app\r\nA"),
        get("a name that is empty", "Host: app\r\n: b"),
        get("a space in a name", "Host: app\r\nA B: c"),
        get("a bracket in a name", "Host: app\r\nA[: c"),
        get("bytes in a name", "Host: app\r\n\u{e4}: b"),
        // How long it is.
        post("two lengths", "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        post("the same length twice", "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab"),
        post("a list of lengths", "Content-Length: 2, 2\r\n\r\nab"),
        post("a length with plus", "Content-Length: +2\r\n\r\nab"),
        post("a length with minus", "Content-Length: -2\r\n\r\nab"),
        post("a length in hexadecimal", "Content-Length: 0x2\r\n\r\nab"),
        post("a length with a point", "Content-Length: 2.0\r\n\r\nab"),
        post("a length with a space", "Content-Length: 1 2\r\n\r\nab"),
        post("a length in quotes", "Content-Length: \"2\"\r\n\r\nab"),
        post("a length with an underscore", "Content-Length: 1_0\r\n\r\nab"),
        post("a length in other digits", "Content-Length: \u{663}\r\n\r\nabc"),
        post("an empty length", "Content-Length:\r\n\r\n"),
        post("a length that overflows", "Content-Length: 18446744073709551618\r\n\r\nab"),
        post("a length that nobody can hold", "Content-Length: 99999999999999999999999\r\n\r\nab"),
        post("a space before the colon of the length", "Content-Length : 2\r\n\r\nab"),
        post("a length before chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("a length after chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        post("no length beside chunked", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        // How it is coded.
        post("another coding", "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
        post("another coding before chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        post("chunked not last", "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        post("identity", "Transfer-Encoding: identity\r\n\r\n"),
        post("identity after chunked", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        post("chunked twice in a list", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        post("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("a second coding", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
        post("an odd coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        post("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
        post("chunked with a parameter", "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
        post("chunked with a comma", "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
        post("an empty coding", "Transfer-Encoding:\r\n\r\n"),
        post("a vertical tab before chunked", "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
        post("a space before the colon of the coding", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        post("a folded coding", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        (
            "chunked in 1.0",
            "POST / HTTP/1.0\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            400,
        ),
        // Its chunks.
        chunks("a chunk of no size", "\r\nabc\r\n0\r\n\r\n"),
        chunks("a size that is no number", "g\r\n"),
        chunks("a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        chunks("a size with plus", "+3\r\nabc\r\n0\r\n\r\n"),
        chunks("a size with minus", "-3\r\nabc\r\n0\r\n\r\n"),
        chunks("a size that overflows", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        chunks("a size with many digits", &format!("{}3\r\nabc\r\n0\r\n\r\n", "0".repeat(20))),
        chunks("a space before the size", " 3\r\nabc\r\n0\r\n\r\n"),
        chunks("a space after the size", "3 \r\nabc\r\n0\r\n\r\n"),
        chunks("a bare LF after the size", "3\nabc\r\n0\r\n\r\n"),
        chunks("a bare CR after the size", "3\rabc\r\n0\r\n\r\n"),
        chunks("a bare LF after the chunk", "3\r\nabc\n0\r\n\r\n"),
        chunks("more than the size says", "3\r\nabcd\r\n0\r\n\r\n"),
        chunks("nothing after the chunk", "3\r\nabc0\r\n\r\n"),
        chunks("a bare LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        chunks("a bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
        chunks("a NUL in an extension", "3;a\0\r\nabc\r\n0\r\n\r\n"),
        chunks("a long extension", &format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(300))),
        chunks("a bare LF after the last chunk", "0\n\r\n"),
        chunks("a bare LF at the end", "0\r\n\n"),
        chunks("a length in a trailer", "0\r\nContent-Length: 5\r\n\r\n"),
        chunks("a coding in a trailer", "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        chunks("a host in a trailer", "0\r\nHost: other\r\n\r\n"),
        chunks("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n"),
        chunks("a trailer without a colon", "0\r\nA\r\n\r\n"),
        chunks("a bare LF in the trailers", "0\r\nA: b\nC: d\r\n\r\n"),
    ];
    let (many, long) = ("A: 1\r\n".repeat(200), "a".repeat(100_000));
    cases.push(("many headers", format!("GET / HTTP/1.1\r\nHost: app\r\n{many}\r\n"), 431));
    cases.push(("a long header", format!("GET / HTTP/1.1\r\nHost: app\r\nA: {long}\r\n\r\n"), 431));
    cases.push(("a long target", format!("GET /{long} HTTP/1.1\r\nHost: app\r\n\r\n"), 431));
    cases
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let (app, seen) = recorder().await;
    let router = router(vec![app.target()]);
    let asked = refused().into_iter().map(async |(what, request, status)| {
        let mut client = Client::new(&router).await;
        // The router may close before all is sent.
        let _ = client.0.write_all(format!("{request}{SMUGGLED}").as_bytes()).await;
        let answered = client.try_answer().await.map(|answer| answer.status());
        let rest = client.rest().await;
        (answered != Some(status) || !rest.is_empty()).then(|| format!("{what}: {answered:?}, then {rest:?}"))
    });
    let wrong: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(!seen.contains("smuggled"), "{seen}");
}

/// What is unusual and clear is passed on, and the next request is the next one.
#[tokio::test]
async fn unusual_requests_are_passed_on() {
    let app = crate::support::http_app(|request| async move {
        let path = request.uri().path().to_owned();
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        hyper::Response::new(crate::support::text(format!("{path} {}", String::from_utf8_lossy(&body))))
    })
    .await;
    let router = router(vec![app.target()]);
    for (request, answer) in [
        ("\r\nGET /a HTTP/1.1\r\nHost: app\r\n\r\n", "/a "),
        ("GET http://app/a HTTP/1.1\r\nHost: app\r\n\r\n", "/a "),
        ("GET /a HTTP/1.1\r\nhOST:app\r\nA:\r\nB: \u{e4}\r\n\r\n", "/a "),
        ("GET /a HTTP/1.1\r\nHost: \t app \t \r\n\r\n", "/a "),
        ("POST /a HTTP/1.1\r\nHost: app\r\nContent-Length: 0003\r\n\r\nabc", "/a abc"),
        ("GET /a HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\n\n\0x", "/a \n\0x"),
        ("POST /a HTTP/1.1\r\nHost: app\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "/a abc"),
        (
            "POST /a HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n003;x=\"y\"\r\nabc\r\n0;z\r\nA: b\r\n\r\n",
            "/a abc",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
            "/a 0123456789",
        ),
        ("GET /a HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "/a "),
    ] {
        let mut client = Client::new(&router).await;
        client.send(request.to_owned() + "GET /next HTTP/1.1\r\nHost: app\r\n\r\n").await;
        assert_eq!(client.answer().await.body, answer, "{request:?}");
        assert_eq!(client.answer().await.body, "/next ", "{request:?}");
    }
}

/// After a request that may turn into another protocol nothing is checked any more; so nothing more is taken, either.
#[tokio::test]
async fn nothing_is_smuggled_behind_an_upgrade_that_was_declined() {
    let (app, seen) = recorder().await;
    let router = router(vec![app.target()]);
    for head in ["Connection: upgrade\r\nUpgrade: websocket", "Upgrade: websocket", "Connection: x\r\nUpgrade: y"] {
        let mut client = Client::new(&router).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: app\r\n{head}\r\n\r\n{SMUGGLED}")).await;
        assert_eq!(client.rest().await.matches("HTTP/1.1 ").count(), 1, "{head}");
    }
    assert!(!String::from_utf8_lossy(&seen.lock().unwrap()).contains("smuggled"));
}
