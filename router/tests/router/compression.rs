//! Answers that are compressed on their way, and those that are not.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use router::{HostName, Router, Service, Settings, State, Table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{App, AppBody, Client, ask, http_app, raw_app, read_head, router, soon, text};

fn compressing(app: &App) -> Router {
    let router = router(vec![]);
    let settings = Settings { compress: true, ..Settings::default() };
    let service = Service { settings, ..Service::new("app", State::Serving(vec![app.target()])) };
    router.swap(Table { hosts: [(HostName::new("app").unwrap(), Arc::new(service))].into() });
    router
}

fn unpack(coding: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain).unwrap(),
        "zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut plain).unwrap(),
        other => panic!("{other}"),
    };
    plain
}

fn long() -> String {
    (0..20_000).map(|number| number.to_string()).collect::<Vec<_>>().join("\n")
}

/// The whole answer to a request of HTTP/1.0, which has no chunks: its head, and its body.
async fn whole(router: &Router, headers: &str) -> (String, Vec<u8>) {
    let mut client = Client::new(router).await;
    client.send(format!("GET / HTTP/1.0\r\nHost: app\r\n{headers}\r\n")).await;
    let head = soon(read_head(&mut client.0)).await.unwrap();
    let mut body = Vec::new();
    soon(client.0.read_to_end(&mut body)).await.unwrap();
    (head.to_lowercase(), body)
}

#[tokio::test]
async fn each_coding_gives_back_what_the_app_said() {
    let app = http_app(|_| async {
        let answer = Response::builder().header("content-type", "text/plain").header("etag", "\"1\"");
        answer.header("accept-ranges", "bytes").body(text(long())).unwrap()
    })
    .await;
    let router = compressing(&app);
    for coding in ["gzip", "br", "zstd"] {
        let (head, body) = whole(&router, &format!("Accept-Encoding: {coding}\r\n")).await;
        for line in [&format!("content-encoding: {coding}"), "vary: accept-encoding", "etag: w/\"1\""] {
            assert!(head.contains(line), "{head}");
        }
        assert!(!head.contains("content-length") && !head.contains("accept-ranges"), "{head}");
        assert!(body.len() < long().len() / 2, "{}", body.len());
        assert!(unpack(coding, &body) == long().as_bytes(), "{coding}");
    }
    let (head, body) = whole(&router, "").await;
    assert!(head.contains("vary: accept-encoding") && !head.contains("content-encoding"), "{head}");
    assert!(head.contains("etag: \"1\"") && body == long().as_bytes(), "{head}");
}

#[tokio::test]
async fn a_head_request_is_told_of_the_coding() {
    let app =
        http_app(|_| async { Response::builder().header("content-type", "text/plain").body(text(long())).unwrap() })
            .await;
    let router = compressing(&app);
    let mut client = Client::new(&router).await;
    client.send("HEAD / HTTP/1.1\r\nHost: app\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n").await;
    let all = client.rest().await;
    assert!(all.contains("content-encoding: gzip\r\n") && all.ends_with("\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn what_must_not_be_compressed_is_not() {
    let plain = "text/plain";
    for (kind, status, header, length) in [
        ("image/png", 200, ("x", "y"), 5000),
        ("text/event-stream", 200, ("x", "y"), 5000),
        (plain, 200, ("x", "y"), 500),
        (plain, 206, ("content-range", "bytes 0-4999/9999"), 5000),
        (plain, 200, ("content-encoding", "gzip"), 5000),
        (plain, 200, ("cache-control", "public, no-transform"), 5000),
        (plain, 200, ("content-digest", "sha-256=:x:"), 5000),
    ] {
        let app = http_app(move |_| async move {
            let answer = Response::builder().status(status).header("content-type", kind).header(header.0, header.1);
            answer.body(text("x".repeat(length))).unwrap()
        })
        .await;
        let router = compressing(&app);
        let answer = ask(&router, "GET / HTTP/1.1\r\nHost: app\r\nAccept-Encoding: gzip, br, zstd\r\n\r\n").await;
        assert_eq!(answer.header("content-length"), Some(length.to_string().as_str()), "{kind} {header:?}");
        assert_eq!(answer.body, "x".repeat(length), "{kind} {header:?}");
        assert_eq!(answer.header("vary"), None, "{kind} {header:?}");
    }
}

#[tokio::test]
async fn nothing_is_held_back_while_the_app_pauses() {
    let (parts, queue) = mpsc::channel::<&'static str>(1);
    let queue = Arc::new(tokio::sync::Mutex::new(Some(queue)));
    let app = http_app(move |_| {
        let queue = queue.clone();
        async move {
            let queue = queue.lock().await.take().unwrap();
            let stream = futures_util::stream::unfold(queue, |mut queue| async move {
                let part = queue.recv().await?;
                Some((Ok(Frame::data(Bytes::from_static(part.as_bytes()))), queue))
            });
            let body: AppBody = StreamBody::new(Box::pin(stream)).boxed();
            Response::builder().header("content-type", "text/html").body(body).unwrap()
        }
    })
    .await;
    let router = compressing(&app);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.0\r\nHost: app\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let head = soon(read_head(&mut client.0)).await.unwrap();
    assert!(head.contains("gzip"), "{head}");
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    for part in ["one", "two", "three"] {
        parts.send(part).await.unwrap();
        while !decoder.get_ref().ends_with(part.as_bytes()) {
            let mut bytes = [0; 256];
            let count = soon(client.0.read(&mut bytes)).await.unwrap();
            std::io::Write::write_all(&mut decoder, &bytes[..count]).unwrap();
            std::io::Write::flush(&mut decoder).unwrap();
        }
    }
    drop(parts);
    let mut rest = Vec::new();
    soon(client.0.read_to_end(&mut rest)).await.unwrap();
    std::io::Write::write_all(&mut decoder, &rest).unwrap();
    assert_eq!(decoder.finish().unwrap(), b"onetwothree");
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_end_well() {
    let begun = Arc::new(tokio::sync::Notify::new());
    let told = begun.clone();
    let app = raw_app(move |mut stream, _| {
        let told = told.clone();
        async move {
            read_head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\nbeginning";
            stream.write_all(head.as_bytes()).await.unwrap();
            told.notified().await;
        }
    })
    .await;
    let router = compressing(&app);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let head = soon(read_head(&mut client.0)).await.unwrap();
    begun.notify_one();
    let rest = client.rest().await;
    assert!(head.contains("content-encoding: gzip") && !rest.ends_with("0\r\n\r\n"), "{head}{rest}");
}
