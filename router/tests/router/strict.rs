//! Requests that two servers could understand differently, byte by byte, and what becomes of them.

mod table;

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::table::refused;
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

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let (app, seen) = recorder().await;
    let router = router(vec![app.target()]);
    let cases = refused().into_iter().flat_map(|group| group.cases.into_iter().map(move |case| (case, group.status)));
    let asked = cases.map(async |((what, request), status)| {
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
