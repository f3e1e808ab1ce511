//! When a request is sent again, and when not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, App, Client, raw_app, read_head, router, soon, until};

/// An app whose first connection answers once, then takes a second request and closes with `last_words`; other
/// connections answer always. Counts the heads it gets.
async fn unreliable(last_words: &'static str) -> (App, Arc<AtomicUsize>) {
    let heads = Arc::new(AtomicUsize::new(0));
    let counter = heads.clone();
    let app = raw_app(move |mut stream, number| {
        let heads = counter.clone();
        async move {
            let mut served = 0;
            while read_head(&mut stream).await.is_some() {
                heads.fetch_add(1, Ordering::SeqCst);
                if number == 0 && served == 1 {
                    stream.write_all(last_words.as_bytes()).await.unwrap();
                    return;
                }
                served += 1;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
        }
    })
    .await;
    (app, heads)
}

/// The answer to `request` on a reused connection that the app closes, and how often the app saw it.
async fn on_a_closing_connection(request: &str, last_words: &'static str) -> (Answer, usize) {
    let (app, heads) = unreliable(last_words).await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await.body, "ok");
    let answer = client.ask(request).await;
    (answer, heads.load(Ordering::SeqCst) - 1)
}

#[tokio::test]
async fn an_idempotent_request_without_body_is_sent_again() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let (app, heads) = unreliable("").await;
        let router = router(vec![app.target()]);
        let mut client = Client::new(&router).await;
        client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
        client.send(format!("{method} / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")).await;
        assert!(client.rest().await.starts_with("HTTP/1.1 200"), "{method}");
        assert_eq!((heads.load(Ordering::SeqCst), app.connections()), (3, 2), "{method}");
    }
}

#[tokio::test]
async fn a_request_that_must_not_happen_twice_is_not() {
    for request in [
        "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: app\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let (answer, seen) = on_a_closing_connection(request, "").await;
        assert_eq!((answer.status(), seen), (502, 1), "{request}");
    }
}

/// What has come of a small answer is not passed on before the rest, if the app can be asked for all of it again.
#[tokio::test]
async fn a_request_whose_answer_breaks_off_is_sent_again_if_it_may_be() {
    const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    for begun in ["HTTP/1.1 20", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", HALF] {
        let (answer, seen) = on_a_closing_connection("GET / HTTP/1.1\r\nHost: app\r\n\r\n", begun).await;
        assert_eq!((answer.status(), answer.body.as_str(), seen), (200, "ok", 2), "{begun}");
    }
    let post = "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n";
    let (answer, seen) = on_a_closing_connection(post, "HTTP/1.1 20").await;
    assert_eq!((answer.status(), seen), (502, 1));
    let (app, heads) = unreliable(HALF).await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.ask(post).await;
    client.send(post).await;
    assert!(client.rest().await.ends_with("\r\n\r\nhalf"));
    assert_eq!(heads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_an_instance_left_unfinished_another_finishes() {
    let app = raw_app(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
    });
    let (dying, (well, _)) = (app.await, unreliable("").await);
    for targets in [vec![dying.target(), well.target()], vec![well.target(), dying.target()]] {
        let router = router(targets);
        for _ in 0..2 {
            assert_eq!(crate::support::get(&router, "app").await.body, "ok");
        }
    }
    assert!(dying.connections() >= 1, "the other one was asked, too");
    // It is all that there is.
    let router = router(vec![dying.target()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    assert!(client.rest().await.ends_with("\r\n\r\nhalf"));
}

/// An app that says how long its answer is and then takes its time.
#[tokio::test]
async fn a_slow_answer_is_passed_on_as_far_as_it_has_come() {
    let app = crate::support::bytes_app("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    let head = soon(read_head(&mut client.0)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut half = [0; 4];
    soon(client.0.read_exact(&mut half)).await.unwrap();
    assert_eq!(&half, b"half");
}

/// An app that reads a request and closes. Counts them.
async fn mute() -> (App, Arc<AtomicUsize>) {
    let heads = Arc::new(AtomicUsize::new(0));
    let counter = heads.clone();
    let app = raw_app(move |mut stream, _| {
        let heads = counter.clone();
        async move {
            read_head(&mut stream).await;
            heads.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    (app, heads)
}

#[tokio::test]
async fn an_instance_that_dies_with_a_request_is_not_the_only_one_asked() {
    let ((mute, heads), (well, _)) = (mute().await, unreliable("").await);
    for targets in [vec![mute.target(), well.target()], vec![well.target(), mute.target()]] {
        let router = router(targets);
        for _ in 0..2 {
            assert_eq!(crate::support::get(&router, "app").await.status(), 200);
        }
    }
    assert!(heads.load(Ordering::SeqCst) >= 1, "the other one was asked, too");
}

#[tokio::test]
async fn a_request_that_may_kill_is_sent_to_three_and_one_that_must_not_happen_twice_to_one() {
    for (request, tries) in
        [("GET / HTTP/1.1\r\nHost: app\r\n\r\n", 3), ("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n", 1)]
    {
        let (app, heads) = mute().await;
        let router = router(vec![app.target(), app.target(), app.target(), app.target()]);
        let answer = Client::new(&router).await.ask(request).await;
        assert_eq!((answer.status(), heads.load(Ordering::SeqCst)), (502, tries), "{request}");
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_nothing_whatever_the_request() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = closed.clone();
    let app = raw_app(move |mut stream, _| {
        let closed = counter.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            drop(stream);
            closed.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    for count in 1..=20 {
        // The empty POST must not be sent twice: it is only safe because the dead connection was noticed.
        assert_eq!(client.ask("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n").await.status(), 200);
        until("the app has closed", || closed.load(Ordering::SeqCst) == count).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_never_taken_for_the_next() {
    let app = raw_app(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            let _ = stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
                )
                .await;
        }
    })
    .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    for _ in 0..10 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await.body, "ok");
    }
}
