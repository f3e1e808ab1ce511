//! What a client does while it waits for an answer.

use std::sync::Arc;

use hyper::Response;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use crate::support::{App, Client, http_app, router, silent_app, text, until};

/// An app that answers with the length of what it got, once it may.
async fn hesitating(may: &Arc<Semaphore>) -> App {
    let may = Arc::clone(may);
    http_app(move |request| {
        let may = Arc::clone(&may);
        async move {
            may.acquire().await.unwrap().forget();
            let length = request.headers().get("content-length").map_or("none", |length| length.to_str().unwrap());
            Response::new(text(length.to_owned()))
        }
    })
    .await
}

#[tokio::test]
async fn requests_that_come_meanwhile_are_answered_in_turn() {
    let may = Arc::new(Semaphore::new(0));
    let app = hesitating(&may).await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    let post = |length: usize| format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {length}\r\n\r\n");
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    until("the first is asked", || app.requests() == 1).await;
    // More than is read ahead.
    client.send(post(9_000)).await;
    client.send(vec![b'x'; 9_000]).await;
    client.send("GET / HTTP/1.1\r\nHo").await;
    may.add_permits(2);
    assert_eq!(client.answer().await.body, "none");
    assert_eq!(client.answer().await.body, "9000");
    client.send("st: app\r\n\r\n").await;
    until("the third is asked", || app.requests() == 3).await;
    client.send(post(3)).await;
    may.add_permits(2);
    assert_eq!(client.answer().await.body, "none");
    client.send("abc").await;
    assert_eq!(client.answer().await.body, "3");
}

#[tokio::test]
async fn a_client_that_closes_its_half_is_not_answered() {
    for (asked, connection) in [("", false), ("Connection: upgrade\r\nUpgrade: websocket\r\n", false), ("", true)] {
        let app = silent_app().await;
        let target = app.target();
        let router = router(vec![target.clone()]);
        let mut client = Client::new(&router).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: app\r\n{asked}\r\n")).await;
        until("the app is asked", || app.connections() == 1).await;
        if connection {
            drop(client);
        } else {
            client.0.shutdown().await.unwrap();
            assert_eq!(client.rest().await, "");
        }
        until("the request has ended", || target.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn what_came_before_the_end_is_answered() {
    let may = Arc::new(Semaphore::new(0));
    let app = hesitating(&may).await;
    let target = app.target();
    let router = router(vec![target.clone()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    until("the first is asked", || app.requests() == 1).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    client.0.shutdown().await.unwrap();
    may.add_permits(1);
    assert_eq!(client.answer().await.body, "none");
    until("the second has been given up", || app.requests() == 2 && target.in_flight() == 0).await;
    assert_eq!(client.rest().await, "");
}
