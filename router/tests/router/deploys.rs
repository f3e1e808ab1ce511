//! Swap and drain, as a deploy does them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use router::{Router, Table};
use tokio::net::TcpStream;

use crate::support::{App, Client, http_app, router, says, silent_app, soon, table, text, until};

/// An app that closes its listener and its connections at once when it is dropped, and takes a moment for each request.
async fn version(number: usize) -> App {
    http_app(move |_| async move {
        tokio::task::yield_now().await;
        hyper::Response::new(text(format!("version {number}")))
    })
    .await
}

/// Asks again and again, on one connection or on a new one each time, until told to stop.
async fn visit(address: std::net::SocketAddr, keep_alive: bool, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    let mut client = Client(TcpStream::connect(address).await.unwrap());
    while !stop.load(Ordering::Relaxed) {
        let method = ["GET", "POST"][count.fetch_add(1, Ordering::Relaxed) % 2];
        let answer = client.ask(format!("{method} / HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\nx")).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert!(answer.body.starts_with("version"));
        if !keep_alive {
            client = Client(TcpStream::connect(address).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_deploys_under_load_lose_no_request() {
    let mut apps = vec![version(0).await, version(0).await];
    let mut targets: Vec<_> = apps.iter().map(App::target).collect();
    let router = router(targets.clone());
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let visitors: Vec<_> =
        (0..16).map(|n| tokio::spawn(visit(router.address(), n % 4 != 0, stop.clone(), count.clone()))).collect();
    for number in 1..=50 {
        let enough = count.load(Ordering::Relaxed) + 50;
        until("visitors are served", || count.load(Ordering::Relaxed) >= enough).await;
        let new = vec![version(number).await, version(number).await];
        let replaced = std::mem::replace(&mut targets, new.iter().map(App::target).collect());
        router.swap(table(&[("app", targets.clone())]));
        for target in replaced {
            target.drain(Duration::from_secs(10)).await;
            assert_eq!(target.in_flight(), 0);
        }
        // The old instances end the moment they are drained.
        apps = new;
    }
    stop.store(true, Ordering::Relaxed);
    for visitor in visitors {
        soon(visitor).await.unwrap();
    }
    drop(apps);
    router.shutdown(Duration::from_secs(1)).await;
}

async fn waiting(router: &Router) -> Client {
    let mut client = Client::new(router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    client
}

#[tokio::test]
async fn a_drain_waits_for_what_is_in_flight_and_no_longer() {
    let (release, released) = tokio::sync::watch::channel(false);
    let app = http_app(move |_| {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.unwrap();
            hyper::Response::new(text("done"))
        }
    })
    .await;
    let target = app.target();
    let router = router(vec![target.clone()]);
    let mut client = waiting(&router).await;
    until("the request is in flight", || target.in_flight() == 1).await;
    router.swap(Table::default());
    let draining = tokio::spawn({
        let target = target.clone();
        async move { target.drain(Duration::from_secs(60)).await }
    });
    assert!(
        tokio::time::timeout(Duration::from_millis(50), async { until("never", || draining.is_finished()).await })
            .await
            .is_err()
    );
    release.send(true).unwrap();
    soon(draining).await.unwrap();
    assert_eq!(client.answer().await.body, "done");
}

#[tokio::test]
async fn a_drain_cuts_at_its_limit() {
    let app = silent_app().await;
    let target = app.target();
    let router = router(vec![target.clone()]);
    let mut client = waiting(&router).await;
    until("the request is in flight", || target.in_flight() == 1).await;
    router.swap(Table::default());
    soon(target.drain(Duration::from_millis(50))).await;
    assert_eq!(client.answer().await.status(), 502);
    assert_eq!(target.in_flight(), 0);
}

#[tokio::test]
async fn a_drain_cuts_an_answer_that_has_begun() {
    let app = crate::support::bytes_app("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    let target = app.target();
    let router = router(vec![target.clone()]);
    let mut client = waiting(&router).await;
    let head = soon(crate::support::read_head(&mut client.0)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    router.swap(Table::default());
    soon(target.drain(Duration::from_millis(50))).await;
    assert_eq!(client.rest().await, "half");
    until("the request is over", || target.in_flight() == 0).await;
}

#[tokio::test]
async fn a_drain_closes_idle_connections() {
    let open = Arc::new(AtomicUsize::new(0));
    let counter = open.clone();
    let app = crate::support::raw_app(move |mut stream, _| {
        let open = counter.clone();
        async move {
            open.fetch_add(1, Ordering::SeqCst);
            while crate::support::read_head(&mut stream).await.is_some() {
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    let target = app.target();
    let router = router(vec![target.clone()]);
    for _ in 0..20 {
        waiting(&router).await.answer().await;
    }
    assert!(open.load(Ordering::SeqCst) > 0);
    target.drain(Duration::ZERO).await;
    until("idle connections are closed", || open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn idle_connections_are_closed_after_a_while() {
    let app = crate::support::raw_app(|mut stream, _| async move {
        while crate::support::read_head(&mut stream).await.is_some() {
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    let watched = crate::support::raw_app(move |mut stream, _| {
        let ended = flag.clone();
        async move {
            while crate::support::read_head(&mut stream).await.is_some() {
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
            ended.store(true, Ordering::SeqCst);
        }
    })
    .await;
    let router = router(vec![app.target(), watched.target()]);
    for _ in 0..4 {
        waiting(&router).await.answer().await;
    }
    until("the app sees the end", || ended.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_table_of_drained_targets_is_503() {
    let app = says("hello").await;
    let target = app.target();
    let router = router(vec![target.clone()]);
    target.drain(Duration::ZERO).await;
    let answer = waiting(&router).await.answer().await;
    assert_eq!(
        (answer.status(), answer.body.as_str()),
        (503, "503: the app `app` is not available: it is being replaced\n")
    );
}
