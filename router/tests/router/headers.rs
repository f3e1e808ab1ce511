//! What each side gets to see of the other's headers.

use std::time::Duration;

use crate::support::{App, Client, ask, bytes_app, header, raw_app, read_head, router};
use tokio::io::AsyncWriteExt;

/// An app that answers with the head it got.
async fn mirror() -> App {
    raw_app(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn the_forwarded_headers_are_ours() {
    let router = router(vec![mirror().await.target()]);
    // The app is gone when its guard is: keep it.
    let app = mirror().await;
    router.swap(crate::support::table(&[("app", vec![app.target()])]));
    let spoofed = "GET /a?b HTTP/1.1\r\nHost: APP:81\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nx_forwarded_for: 6.6.6.6\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 6\r\nX-Forwarded-Server: evil\r\nForwarded: for=6.6.6.6\r\n\
        X-Real-IP: 6.6.6.6\r\nProxy: evil\r\nContent_Length: 6\r\nX_Kept: yes\r\nConnection: X-Forwarded-For, x-forwarded-proto\r\n\r\n";
    let seen = ask(&router, spoofed).await.body;
    assert!(seen.starts_with("GET /a?b HTTP/1.1\r\n"), "{seen}");
    assert_eq!(header(&seen, "host"), Some("APP:81"));
    assert_eq!(header(&seen, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(&seen, "x-forwarded-proto"), Some("http"));
    assert_eq!(header(&seen, "x-forwarded-host"), Some("APP:81"));
    assert_eq!(header(&seen, "x-forwarded-port"), Some(router.address().port().to_string().as_str()));
    assert_eq!(header(&seen, "x_kept"), Some("yes"));
    let lower = seen.to_lowercase();
    assert!(!lower.contains('6') || lower.matches("6.6.6.6").count() == 0, "{seen}");
    for gone in ["evil", "7.7.7.7", "forwarded: for", "x-real-ip", "content_length", "x_forwarded", "connection"] {
        assert!(!lower.contains(gone), "{gone} in {seen}");
    }
    assert_eq!(lower.matches("x-forwarded-for").count(), 1);
}

#[tokio::test]
async fn hop_by_hop_headers_do_not_pass_to_the_app() {
    let app = mirror().await;
    let router = router(vec![app.target()]);
    let request = "GET / HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, X-Mine\r\nConnection: x-more, host\r\nX-Mine: 1\r\nX-More: 1\r\n\
        Keep-Alive: timeout=5\r\nProxy-Authorization: secret\r\nProxy-Connection: close\r\nTE: trailers, gzip\r\nUpgrade: h2c\r\nExpect: 100-continue\r\nX-End: 1\r\n\r\n";
    let seen = ask(&router, request).await.body.to_lowercase();
    for gone in ["connection", "x-mine", "x-more", "keep-alive", "proxy-", "gzip", "upgrade", "expect"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    assert_eq!(
        (header(&seen, "te"), header(&seen, "x-end"), header(&seen, "host")),
        (Some("trailers"), Some("1"), Some("app"))
    );
}

#[tokio::test]
async fn hop_by_hop_headers_do_not_pass_to_the_client() {
    let app = bytes_app(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Internal\r\nX-Internal: 1\r\nKeep-Alive: timeout=2\r\n\
         Proxy-Authenticate: no\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: mine\r\nTrailer: none\r\n\r\nok",
    )
    .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    let answer = client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    let head = answer.head.to_lowercase();
    for gone in ["connection", "x-internal", "keep-alive", "proxy-"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    assert_eq!((answer.header("server"), head.matches("set-cookie").count()), (Some("mine"), 2));
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await.body, "ok");
    router.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn an_absolute_target_becomes_a_path() {
    let app = mirror().await;
    let router = router(vec![app.target()]);
    for (target, path) in [("http://app/x?y", "/x?y"), ("http://app", "/"), ("HTTP://App/", "/")] {
        let seen = ask(&router, format!("GET {target} HTTP/1.1\r\nHost: app\r\n\r\n")).await.body;
        assert!(seen.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{seen}");
    }
    let seen = ask(&router, "OPTIONS * HTTP/1.1\r\nHost: app\r\n\r\n").await.body;
    assert!(seen.starts_with("OPTIONS * HTTP/1.1\r\n"), "{seen}");
}

#[tokio::test]
async fn old_clients_are_understood() {
    let app = mirror().await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.0\r\nHost: app\r\n\r\n").await;
    let all = client.rest().await;
    assert!(all.starts_with("HTTP/1.0 200") && all.contains("GET / HTTP/1.1\r\n"), "{all}");
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
        ("GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let app = bytes_app(answer).await;
        let router = router(vec![app.target()]);
        let mut client = Client::new(&router).await;
        for _ in 0..3 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: app\r\n\r\n")).await;
            let head = read_head(&mut client.0).await.unwrap();
            assert_eq!(
                header(&head, "content-length").is_some_and(|length| length == "1000"),
                method == "HEAD",
                "{head}"
            );
        }
        assert_eq!(app.connections(), 1, "{answer}");
    }
}
