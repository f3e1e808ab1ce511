//! The wait for a new target.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::{Response, Version};
use router::Protocol;
use router::health::{Check, wait};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::http2::h2c_app;
use crate::support::{Direct, bytes_app, header, http_app, raw_app, read_head, silent_app, soon, text};

fn check(path: Option<&str>) -> Check {
    Check {
        path: path.map(str::to_owned),
        host: "blog.localhost".to_owned(),
        protocol: Protocol::Http1,
        attempt: Duration::from_millis(100),
    }
}

/// It listens after ten tries, and one more may have been under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_moment_it_accepts_is_noticed() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut failures, tenth) = (Vec::new(), Arc::new(Notify::new()));
    let awaited = tenth.clone();
    let starting = tokio::spawn(async move {
        awaited.notified().await;
        (TcpListener::bind(address).await.unwrap(), Instant::now())
    });
    let tried = &mut |failure| {
        failures.push((failure, Instant::now()));
        if failures.len() == 10 {
            tenth.notify_one();
        }
    };
    soon(wait(&Direct(address), &check(None), tried)).await;
    let (_listener, up) = starting.await.unwrap();
    assert!(failures.iter().filter(|(_, at)| *at > up).count() <= 1, "{failures:?}, up {up:?}");
    assert!(failures[0].0.starts_with("it does not accept connections: Connection refused"), "{failures:?}");
}

#[tokio::test]
async fn without_a_path_any_answer_to_a_ping_will_do() {
    let app = http_app(|request| async move {
        assert_eq!((request.method().as_str(), request.uri().path()), ("OPTIONS", "*"));
        Response::builder().status(500).body(text("")).unwrap()
    })
    .await;
    let mut failures = Vec::new();
    let patient = Check { attempt: Duration::from_secs(3600), ..check(None) };
    soon(wait(&Direct(app.address), &patient, &mut |failure| failures.push(failure))).await;
    assert!(failures.is_empty(), "{failures:?}");
}

#[tokio::test]
async fn closing_without_an_answer_is_forgiven_late() {
    let closing = raw_app(|mut stream, _| async move { drop(read_head(&mut stream).await) }).await;
    let mut failures = Vec::new();
    let began = Instant::now();
    soon(wait(&Direct(closing.address), &check(None), &mut |failure| failures.push(failure))).await;
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(failures[0], "it accepts connections and closes them without an answer");
}

#[tokio::test]
async fn a_path_must_be_answered_well() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let app = http_app(|request| async move {
        assert_eq!((request.uri().path(), request.headers()["host"].to_str().unwrap()), ("/up", "blog.localhost"));
        assert_eq!(request.headers()["user-agent"], "airstrip-health");
        let statuses = [503, 404, 302];
        let status = statuses[ASKED.fetch_add(1, Ordering::SeqCst).min(2)];
        Response::builder().status(status).body(text("")).unwrap()
    })
    .await;
    let mut failures = Vec::new();
    soon(wait(&Direct(app.address), &check(Some("/up")), &mut |failure| failures.push(failure))).await;
    assert_eq!(
        failures,
        ["GET /up was answered with 503 Service Unavailable", "GET /up was answered with 404 Not Found"]
    );
}

#[tokio::test]
async fn each_way_to_fail_has_a_reason_of_its_own() {
    let silent = silent_app().await;
    let closing = raw_app(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert_eq!(header(&head, "host"), Some("blog.localhost"));
    })
    .await;
    for (app, path, reason) in [
        (&silent, "/", "no answer within 100ms"),
        (&closing, "/", "GET / was not answered: connection closed"),
        (&closing, "no path", "GET no path cannot be asked: "),
    ] {
        let (told, mut reasons) = tokio::sync::mpsc::unbounded_channel();
        let mut seen = |reason| drop(told.send(reason));
        let (dial, check) = (Direct(app.address), check(Some(path)));
        tokio::select! {
            () = wait(&dial, &check, &mut seen) => panic!("healthy"),
            seen = soon(reasons.recv()) => assert!(seen.as_ref().unwrap().starts_with(reason), "{seen:?}"),
        }
    }
}

fn h2c(path: Option<&str>) -> Check {
    Check { protocol: Protocol::H2c, ..check(path) }
}

#[tokio::test]
async fn an_app_in_http2_is_asked_in_http2() {
    let (app, _target) = h2c_app(|request| async move {
        assert_eq!(request.uri().to_string(), "http://blog.localhost/up");
        assert_eq!(request.headers()["user-agent"], "airstrip-health");
        Response::builder().status(if request.version() == Version::HTTP_2 { 204 } else { 500 }).body(text("")).unwrap()
    })
    .await;
    for path in [None, Some("/up")] {
        let mut failures = Vec::new();
        soon(wait(&Direct(app.address), &h2c(path), &mut |failure| failures.push(failure))).await;
        assert!(failures.is_empty(), "{failures:?}");
    }
}

/// Even where anything else would do: not a request could be sent.
#[tokio::test]
async fn what_speaks_the_other_version_is_not_healthy() {
    let (only_http2, _target) = h2c_app(|_| async move { Response::new(text("")) }).await;
    let only_http1 = bytes_app("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let silent = silent_app().await;
    for (app, check, reason) in [
        (&only_http2, check(None), "it speaks HTTP/2 without TLS (h2c), not HTTP/1.1"),
        (&only_http1, h2c(None), "it does not speak HTTP/2 without TLS (h2c)"),
        (&silent, h2c(None), "no answer within 100ms"),
    ] {
        let (told, mut reasons) = tokio::sync::mpsc::unbounded_channel();
        let mut seen = |reason| drop(told.send(reason));
        let dial = Direct(app.address);
        let three = async { [reasons.recv().await, reasons.recv().await, reasons.recv().await] };
        tokio::select! {
            () = wait(&dial, &check, &mut seen) => panic!("healthy"),
            seen = soon(three) => assert_eq!(seen, [(); 3].map(|()| Some(reason.to_owned()))),
        }
    }
}
