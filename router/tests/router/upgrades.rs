//! WebSocket and whatever else begins with `Upgrade`.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::support::{App, Client, header, raw_app, read_head, router, soon, until};

/// An app that switches to a protocol that echoes.
async fn echo() -> App {
    raw_app(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert_eq!(header(&head, "connection"), Some("upgrade"));
        assert_eq!(header(&head, "sec-websocket-key"), Some("x"));
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {}\r\nSec-WebSocket-Accept: y\r\n\r\nhi",
            header(&head, "upgrade").unwrap()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn upgraded(router: &router::Router, protocol: &str) -> Client {
    let mut client = Client::new(router).await;
    client
        .send(format!("GET /ws HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Key: x\r\n\r\n"))
        .await;
    let head = soon(read_head(&mut client.0)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!((header(&head, "upgrade"), header(&head, "connection")), (Some(protocol), Some("upgrade")));
    assert_eq!(header(&head, "sec-websocket-accept"), Some("y"));
    client
}

async fn echoes(client: &mut Client, words: &[u8]) {
    client.0.write_all(words).await.unwrap();
    let mut back = vec![0; words.len()];
    soon(client.0.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, words);
}

#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways_and_counts() {
    let app = echo().await;
    let target = app.target();
    let router = router(vec![target.clone()]);
    for protocol in ["websocket", "something/1"] {
        let mut client = upgraded(&router, protocol).await;
        let mut greeting = [0; 2];
        soon(client.0.read_exact(&mut greeting)).await.unwrap();
        assert_eq!(&greeting, b"hi");
        echoes(&mut client, b"hello").await;
        echoes(&mut client, &vec![0; 100_000]).await;
        assert_eq!(target.in_flight(), 1);
        client.0.shutdown().await.unwrap();
        assert_eq!(client.rest().await, "");
        until("the tunnel is gone", || target.in_flight() == 0).await;
    }
    assert_eq!(app.connections(), 2, "an upgraded connection is not used again");
}

#[tokio::test]
async fn what_is_sent_before_the_app_agrees_is_for_the_other_protocol() {
    for whole in [true, false] {
        let may = Arc::new(Semaphore::new(0));
        let asked = Arc::clone(&may);
        let app = raw_app(move |mut stream, _| {
            let may = Arc::clone(&asked);
            async move {
                read_head(&mut stream).await.unwrap();
                may.acquire().await.unwrap().forget();
                let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            }
        })
        .await;
        let router = router(vec![app.target()]);
        let mut client = Client::new(&router).await;
        let head = "GET / HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        client.send(if whole { format!("{head}early") } else { head.to_owned() }).await;
        until("the app is asked", || app.connections() == 1).await;
        if !whole {
            client.send("early").await;
        }
        client.0.shutdown().await.unwrap();
        may.add_permits(1);
        let said = client.rest().await;
        assert!(said.starts_with("HTTP/1.1 101") && said.ends_with("\r\n\r\nearly"), "{whole} {said}");
    }
}

#[tokio::test]
async fn a_drain_waits_for_an_upgraded_connection_and_then_cuts_it() {
    let app = echo().await;
    let target = app.target();
    let router = router(vec![target.clone()]);
    let mut client = upgraded(&router, "websocket").await;
    router.swap(router::Table::default());
    let draining = tokio::spawn({
        let target = target.clone();
        async move { target.drain(Duration::from_millis(500)).await }
    });
    echoes(&mut client, b"").await;
    assert!(!draining.is_finished());
    soon(draining).await.unwrap();
    assert_eq!(client.rest().await, "hi");
    until("the tunnel is gone", || target.in_flight() == 0).await;
}

#[tokio::test]
async fn a_shutdown_cuts_an_upgraded_connection_after_the_grace() {
    let app = echo().await;
    let router = router(vec![app.target()]);
    let mut client = upgraded(&router, "websocket").await;
    soon(router.shutdown(Duration::from_millis(100))).await;
    assert_eq!(client.rest().await, "hi");
}

#[tokio::test]
async fn an_app_may_decline() {
    let app = crate::support::bytes_app("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno").await;
    let router = router(vec![app.target()]);
    for _ in 0..2 {
        let mut client = Client::new(&router).await;
        let answer =
            client.ask("GET / HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        assert_eq!((answer.status(), answer.body.as_str()), (400, "no"));
        assert_eq!(client.rest().await, "", "what a client sends after it could be anything");
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn an_app_cannot_switch_unasked() {
    let app = crate::support::bytes_app(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nsecret",
    )
    .await;
    let router = router(vec![app.target()]);
    for request in [
        "GET / HTTP/1.1\r\nHost: app\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    ] {
        assert_eq!(crate::support::ask(&router, request).await.status(), 502);
    }
}
