//! What apps answer, however odd: passed on as one clear answer, or refused.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::support::{Client, get, raw_app, read_head, router, soon};

/// What a client gets for an answer that the app sends in these parts before it closes: status and body, or the status
/// alone for a page of ours.
async fn passed(parts: &'static [&'static str]) -> (u16, String) {
    let app = raw_app(move |mut stream, _| async move {
        if read_head(&mut stream).await.is_none() {
            return;
        }
        for part in parts {
            stream.write_all(part.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n").await;
    let all = client.rest().await;
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{parts:?}: {all:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(head.starts_with("HTTP/1.1 "), "{head}");
    assert!(!head.contains("transfer-encoding") || !head.contains("content-length"), "{head}");
    (status, if status == 502 { String::new() } else { body.to_owned() })
}

#[tokio::test]
async fn odd_answers_are_passed_on_or_refused() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let table: &[(&'static [&'static str], u16, &str)] = &[
        (&[OK, "Content-Length: 2\r\n\r\nok"], 200, "ok"),
        (&["H", "TTP/1.", "1 200 OK", "\r", "\n", "Content-Length: 2\r", "\n\r", "\n", "o", "k"], 200, "ok"),
        (&[OK, "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"], 200, "ok"),
        (&[OK, "Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nevil"], 200, "ok"),
        (&[OK, "\r\nok"], 200, "2\r\nok\r\n0\r\n\r\n"),
        (&["HTTP/1.0 200 OK\r\n\r\nok"], 200, "2\r\nok\r\n0\r\n\r\n"),
        (&["HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], 200, "ok"),
        (&["HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"], 200, "ok"),
        (&["HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok"], 299, "ok"),
        (&["HTTP/1.1 200 OK\nContent-Length: 2\n\nok"], 200, "ok"),
        (&["HTTP/1.1 100 Continue\r\n\r\n", OK, "Content-Length: 2\r\n\r\nok"], 200, "ok"),
        (
            &[OK, "Transfer-Encoding: chunked\r\n\r\n", "2", "\r", "\nok\r", "\n0\r\n", "\r\n"],
            200,
            "2\r\nok\r\n0\r\n\r\n",
        ),
        (&["HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"], 204, ""),
        (&["HTTP/1.1 304 Not Modified\r\n\r\nok"], 304, ""),
        // Begun and not ended: what was passed on must not look complete.
        (&[OK, "Content-Length: 9\r\n\r\nok"], 200, "ok"),
        (&[OK, "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nx\r\n"], 200, "2\r\nok\r\n"),
        (&[OK, "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"], 200, "2\r\nok\r\n"),
        (&[OK, "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"], 502, ""),
        (&[OK, "Content-Length: 2, 2\r\n\r\nok"], 502, ""),
        (&[OK, "Content-Length: +2\r\n\r\nok"], 502, ""),
        (&[OK, "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], 502, ""),
        (&[OK, "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"], 502, ""),
        (&[OK, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], 502, ""),
        (&["HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], 502, ""),
        (&[OK, "X: a\r\n b\r\nContent-Length: 2\r\n\r\nok"], 502, ""),
        (&[OK, "X : a\r\nContent-Length: 2\r\n\r\nok"], 502, ""),
        (&[OK, "X: a\rb\r\nContent-Length: 2\r\n\r\nok"], 502, ""),
        (&[OK, "no header\r\n\r\nok"], 502, ""),
        (&["HTTP/2.0 200 OK\r\n\r\n"], 502, ""),
        (&["HTTP/1.1 2000 OK\r\n\r\n"], 502, ""),
        (&["HTTP/1.1 101 Switching Protocols\r\n\r\n"], 502, ""),
        (&["\r\n\r\n", OK, "Content-Length: 2\r\n\r\nok"], 502, ""),
        (&["220 mail.example ESMTP\r\n\r\n"], 502, ""),
        (&["\0\0\0\0\n\n"], 502, ""),
        (&[OK], 502, ""),
        (&[OK, "X: a"], 502, ""),
        (&[""], 502, ""),
    ];
    for (parts, status, body) in table {
        assert_eq!(passed(parts).await, (*status, (*body).to_owned()), "{parts:?}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    for line in ["a", "X: a\r\n"] {
        let app = raw_app(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(line.repeat(1000).as_bytes()).await.is_ok() {}
        })
        .await;
        let router = router(vec![app.target()]);
        assert_eq!(get(&router, "app").await.status(), 502, "{line:?}");
    }
}

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nContent-Length: 3\r\n\r\n";
const HINTED: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";

/// The answer does not come before the client has the promise.
#[tokio::test]
async fn promises_are_passed_on_at_once() {
    let seen = Arc::new(Notify::new());
    let told = seen.clone();
    let app = raw_app(move |mut stream, _| {
        let told = told.clone();
        async move {
            while read_head(&mut stream).await.is_some() {
                stream.write_all(HINT.as_bytes()).await.unwrap();
                told.notified().await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
        }
    })
    .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
        let mut hint = vec![0; HINTED.len()];
        soon(client.0.read_exact(&mut hint)).await.unwrap();
        assert_eq!(String::from_utf8(hint).unwrap(), HINTED);
        seen.notify_one();
        assert_eq!(client.answer().await.body, "ok");
    }
}

#[tokio::test]
async fn promises_come_before_their_own_answers() {
    let app = raw_app(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            let both = format!("{HINT}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            stream.write_all(both.as_bytes()).await.unwrap();
        }
    })
    .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n".repeat(20)).await;
    client.send("GET / HTTP/1.0\r\nHost: app\r\n\r\n").await;
    let all = client.rest().await;
    let statuses: Vec<_> = all.split("HTTP/1.").skip(1).collect();
    let (old, rest) = statuses.split_last().unwrap();
    assert!(old.contains("200 OK"), "{all}");
    assert_eq!(rest.iter().filter(|line| line.contains("200 OK")).count(), 20, "{all}");
    // What comes too late is left out; never is there one that belongs to no answer.
    assert!(rest.windows(2).all(|two| two.iter().any(|line| line.contains("200 OK"))), "{all}");
    assert!(all.starts_with(HINTED), "{all}");
}

#[tokio::test]
async fn promises_without_end_are_refused() {
    let app = raw_app(|mut stream, _| async move {
        read_head(&mut stream).await;
        while stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {}
    })
    .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n").await;
    let all = client.rest().await;
    let statuses: Vec<_> = all.split("HTTP/1.1 ").skip(1).collect();
    let (last, promises) = statuses.split_last().unwrap();
    assert!(last.starts_with("502 ") && promises.iter().all(|promise| promise.starts_with("102 ")), "{all}");
}

#[tokio::test]
async fn the_connection_is_used_again_only_after_a_clear_end() {
    for (answer, reused) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
    ] {
        let app = crate::support::bytes_app(answer).await;
        let router = router(vec![app.target()]);
        for _ in 0..3 {
            let mut client = Client::new(&router).await;
            client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n").await;
            assert!(client.rest().await.contains("ok"), "{answer:?}");
        }
        assert_eq!(app.connections(), if reused { 1 } else { 3 }, "{answer:?}");
    }
}
