//! Clients that mean harm.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{App, Client, ask, raw_app, router, says};

#[tokio::test]
async fn malformed_requests_are_refused() {
    let app = says("must not be asked").await;
    let router = router(vec![app.target()]);
    let many = "X-A: 1\r\n".repeat(200);
    let long = format!("X-A: {}\r\n", "a".repeat(100_000));
    let cases = [
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
        ("an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("two hosts", "GET / HTTP/1.1\r\nHost: app\r\nHost: app\r\n\r\n", 400),
        ("hosts in a list", "GET / HTTP/1.1\r\nHost: app, app\r\n\r\n", 400),
        ("a user in the host", "GET / HTTP/1.1\r\nHost: me@app\r\n\r\n", 400),
        ("a path in the host", "GET / HTTP/1.1\r\nHost: app/x\r\n\r\n", 400),
        ("a bad port", "GET / HTTP/1.1\r\nHost: app:8a\r\n\r\n", 400),
        ("a long port", "GET / HTTP/1.1\r\nHost: app:808080\r\n\r\n", 400),
        ("bytes in the host", "GET / HTTP/1.1\r\nHost: \u{e4}pp\r\n\r\n", 400),
        ("another host in the target", "GET http://other/ HTTP/1.1\r\nHost: app\r\n\r\n", 400),
        ("another port in the target", "GET http://app:81/ HTTP/1.1\r\nHost: app\r\n\r\n", 400),
        ("a target without its host", "GET http://app/ HTTP/1.1\r\n\r\n", 400),
        ("another scheme", "GET ftp://app/ HTTP/1.1\r\nHost: app\r\n\r\n", 400),
        ("an authority", "GET app:80 HTTP/1.1\r\nHost: app:80\r\n\r\n", 400),
        ("a connect", "CONNECT app:80 HTTP/1.1\r\nHost: app:80\r\n\r\n", 400),
        ("a star", "GET * HTTP/1.1\r\nHost: app\r\n\r\n", 400),
        ("a relative target", "GET x HTTP/1.1\r\nHost: app\r\n\r\n", 400),
        ("two lengths", "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        ("a signed length", "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: +1\r\n\r\na", 400),
        ("a list of lengths", "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1, 2\r\n\r\na", 400),
        ("another coding", "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (
            "two codings",
            "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "chunked not last",
            "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("an odd coding", "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("chunked in 1.0", "POST / HTTP/1.0\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("a space before the colon", "GET / HTTP/1.1\r\nHost : app\r\n\r\n", 400),
        ("a folded header", "GET / HTTP/1.1\r\nHost: app\r\nX-A: 1\r\n 2\r\n\r\n", 400),
        ("a lone CR", "GET / HTTP/1.1\r\nHost: app\r\nX-A: 1\rX-B: 2\r\n\r\n", 400),
        ("a NUL", "GET / HTTP/1.1\r\nHost: app\r\nX-A: \0\r\n\r\n", 400),
        ("another version", "GET / HTTP/3.1\r\nHost: app\r\n\r\n", 400),
        ("many headers", &format!("GET / HTTP/1.1\r\nHost: app\r\n{many}\r\n"), 431),
        ("a long header", &format!("GET / HTTP/1.1\r\nHost: app\r\n{long}\r\n"), 431),
        ("a long target", &format!("GET /{} HTTP/1.1\r\nHost: app\r\n\r\n", "a".repeat(70_000)), 431),
    ];
    for (what, request, status) in cases {
        let mut client = Client::new(&router).await;
        // The router may close before all is sent.
        let _ = client.0.write_all(request.as_bytes()).await;
        let answer = client.try_answer().await;
        assert_eq!(answer.map(|answer| answer.status()), Some(status), "{what}");
        assert_eq!(client.rest().await, "", "the connection stays open: {what}");
    }
    assert_eq!(app.requests(), 0);
}

/// An app that records all it gets and answers each empty line.
async fn recorder() -> (App, Arc<Mutex<Vec<u8>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let app = raw_app(move |mut stream, _| {
        let seen = record.clone();
        async move {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                seen.lock().unwrap().extend_from_slice(&buffer[..length]);
                if seen.lock().unwrap().ends_with(b"\r\n\r\n") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            }
        }
    })
    .await;
    (app, seen)
}

#[tokio::test]
async fn a_length_beside_chunked_smuggles_nothing() {
    let (app, seen) = recorder().await;
    let router = router(vec![app.target()]);
    for headers in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"]
    {
        seen.lock().unwrap().clear();
        let mut client = Client::new(&router).await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: app\r\n{headers}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n"
            ))
            .await;
        let all = client.rest().await;
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "one answer, then the end: {all}");
        let seen = String::from_utf8(seen.lock().unwrap().clone()).unwrap().to_lowercase();
        assert!(!seen.contains("smuggled") && !seen.contains("content-length"), "{seen}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_turn() {
    let app = says("hello").await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\nPOST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    for _ in 0..3 {
        assert_eq!(client.answer().await.body, "hello");
    }
}

/// Requests that are nearly right, and noise.
fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("GET / HTTP/1.1"),
        Just("POST http://app/ HTTP/1.1"),
        Just("OPTIONS * HTTP/1.0"),
        Just("PRI * HTTP/2.0"),
        Just("\u{1}")
    ];
    let header = prop_oneof![
        Just("Host: app".to_owned()),
        Just("Content-Length: 3".to_owned()),
        Just("Transfer-Encoding: chunked".to_owned()),
        Just("Connection: upgrade, close".to_owned()),
        Just("Upgrade: websocket".to_owned()),
        Just("Expect: 100-continue".to_owned()),
        "[A-Za-z_-]{1,12}: ?\\PC{0,20}",
        "\\PC{0,20}",
    ];
    let near = (line, proptest::collection::vec(header, 0..8), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(line, headers, body)| {
            let mut bytes = format!("{line}\r\n{}\r\n\r\n", headers.join("\r\n")).into_bytes();
            bytes.extend(body);
            bytes
        },
    );
    prop_oneof![3 => near, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

/// Whatever comes, each connection is answered or closed, and the router goes on.
#[test]
fn any_bytes_are_answered_or_end_the_connection() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (app, router) = runtime.block_on(async {
        let app = says("hello").await;
        let router = router(vec![app.target()]);
        (app, router)
    });
    proptest!(ProptestConfig::with_cases(300), |(bytes in request_bytes())| {
        runtime.block_on(async {
            let mut client = Client::new(&router).await;
            let _ = client.0.write_all(&bytes).await;
            let _ = client.0.shutdown().await;
            client.rest().await;
            assert_eq!(ask(&router, "GET / HTTP/1.1\r\nHost: app\r\n\r\n").await.body, "hello");
        });
    });
    drop(app);
}
