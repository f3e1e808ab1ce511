//! Bodies of any length, both ways, without holding them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use router::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    App, Client, SOON, http_app, raw_app, read_head, router, router_within, says, silent_app, soon, text, until,
};

const MIB: usize = 1 << 20;
const LONG: usize = 256 * MIB;

/// Resident memory of this process, apps and clients included.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Fails if memory grows by a quarter of the body while `transfer` runs.
async fn flat(transfer: impl Future<Output = ()>) {
    let before = resident();
    let mut peak = before;
    let mut transfer = std::pin::pin!(transfer);
    loop {
        tokio::select! {
            () = &mut transfer => break,
            () = tokio::time::sleep(Duration::from_millis(5)) => peak = peak.max(resident()),
        }
    }
    assert!(peak - before < LONG / 4, "memory grew by {} MiB", (peak - before) / MIB);
}

#[tokio::test]
async fn a_long_upload_passes_with_flat_memory() {
    let app = http_app(|request| async move {
        let (mut body, mut length) = (request.into_body(), 0);
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().into_data().map_or(0, |data| data.len());
        }
        Response::new(text(length.to_string()))
    })
    .await;
    let router = router(vec![app.target()]);
    for framing in [format!("Content-Length: {LONG}"), "Transfer-Encoding: chunked".to_owned()] {
        let mut client = Client::new(&router).await;
        let chunked = framing.starts_with('T');
        client.send(format!("POST / HTTP/1.1\r\nHost: app\r\n{framing}\r\n\r\n")).await;
        flat(async {
            let mut chunk = vec![b'x'; MIB];
            if chunked {
                chunk.splice(0..0, format!("{MIB:x}\r\n").into_bytes());
                chunk.extend_from_slice(b"\r\n");
            }
            for _ in 0..LONG / MIB {
                client.send(&chunk).await;
            }
        })
        .await;
        if chunked {
            client.send("0\r\n\r\n").await;
        }
        let answer = client.answer().await;
        assert_eq!(answer.body, LONG.to_string());
        assert_eq!(client.ask("POST / HTTP/1.1\r\nHost: app\r\n\r\n").await.body, "0", "the connection goes on");
    }
}

#[tokio::test]
async fn a_long_download_passes_with_flat_memory() {
    let app = http_app(|request| async move {
        let chunk = Bytes::from(vec![b'x'; MIB]);
        let chunks = (0..LONG / MIB).map(move |_| Ok(Frame::data(chunk.clone())));
        let mut response = Response::new(StreamBody::new(futures_util::stream::iter(chunks)).boxed());
        if request.uri().path() == "/sized" {
            response.headers_mut().insert("content-length", LONG.into());
        }
        response
    })
    .await;
    let router = router(vec![app.target()]);
    for path in ["/sized", "/chunked"] {
        let mut client = Client::new(&router).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")).await;
        flat(async {
            let (mut total, mut buffer) = (0, vec![0; MIB]);
            loop {
                match client.0.read(&mut buffer).await.unwrap() {
                    0 => break,
                    length => total += length,
                }
            }
            assert!((LONG..LONG + LONG / 100).contains(&total), "{total}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_part_of_an_answer_passes_at_once() {
    let app = raw_app(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
        let _ = stream.read_u8().await;
    })
    .await;
    let target = app.target();
    let router = router(vec![target.clone()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    let head = read_head(&mut client.0).await.unwrap();
    let mut part = [0; 8];
    client.0.read_exact(&mut part).await.unwrap();
    assert!(head.to_lowercase().contains("transfer-encoding: chunked") && &part == b"3\r\none\r\n", "{head}");
    assert_eq!(target.in_flight(), 1);
    // The client leaves: so does the connection to the app, and the count.
    drop(client);
    until("the request is over", || target.in_flight() == 0).await;
}

#[tokio::test]
async fn trailers_pass() {
    let app = raw_app(|mut stream, _| async move {
        read_head(&mut stream).await;
        let answer =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\none\r\n0\r\nX-Sum: 1\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.read_u8().await;
    })
    .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\nTE: trailers\r\nConnection: close\r\n\r\n").await;
    let all = client.rest().await.to_lowercase();
    assert!(all.ends_with("3\r\none\r\n0\r\nx-sum: 1\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_completed() {
    let app = raw_app(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
    })
    .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    let all = client.rest().await;
    assert!(all.ends_with("3\r\none\r\n"), "no last chunk: {all}");
}

/// The app answers at once and reads nothing: whether it then closes or not, the client gets the answer.
#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    for closes in [true, false] {
        let app = raw_app(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let body = "no".repeat(20_000);
            let answer = format!("HTTP/1.1 413 Content Too Large\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            if !closes {
                std::future::pending::<()>().await;
            }
        })
        .await;
        let router = router(vec![app.target()]);
        for _ in 0..20 {
            let mut client = Client::new(&router).await;
            client.send(format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {LONG}\r\n\r\n")).await;
            let stopped = Arc::new(AtomicBool::new(false));
            let (mut read, mut write) = client.0.into_split();
            let stop = stopped.clone();
            let sending = tokio::spawn(async move {
                let chunk = vec![b'x'; MIB];
                while !stop.load(Ordering::Relaxed) && write.write_all(&chunk).await.is_ok() {}
            });
            let mut answer = vec![0; 40_000];
            tokio::time::timeout(SOON, read.read_exact(&mut answer))
                .await
                .expect("deadlock")
                .expect("the answer was lost");
            assert!(answer.starts_with(b"HTTP/1.1 413"));
            stopped.store(true, Ordering::Relaxed);
            drop(read);
            sending.abort();
        }
    }
}

#[tokio::test]
async fn an_app_may_answer_while_it_reads() {
    let app = raw_app(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await.unwrap();
        for _ in 0..4 {
            let byte = stream.read_u8().await.unwrap();
            stream.write_u8(byte).await.unwrap();
        }
    })
    .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\n").await;
    read_head(&mut client.0).await.unwrap();
    for byte in b"ping" {
        client.0.write_u8(*byte).await.unwrap();
        assert_eq!(client.0.read_u8().await.unwrap(), *byte);
    }
}

#[tokio::test]
async fn continue_is_said_once_there_is_an_app() {
    let app =
        http_app(|request| async move { Response::new(text(request.into_body().collect().await.unwrap().to_bytes())) })
            .await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").await;
    assert!(read_head(&mut client.0).await.unwrap().starts_with("HTTP/1.1 100"));
    assert_eq!(client.ask("ok").await.body, "ok");
    let mut client = Client::new(&router).await;
    let refused =
        client.ask("POST / HTTP/1.1\r\nHost: nobody\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(refused.status(), 404);
}

#[tokio::test]
async fn a_client_that_stops_sending_is_cut() {
    let (app, limits) = (silent_app().await, Limits { stall: Duration::from_millis(200), ..Limits::default() });
    let target = app.target();
    let router = router_within(vec![target.clone()], &limits);
    let mut client = Client::new(&router).await;
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nab").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.body.as_str()), (408, "408: the rest of the request did not arrive\n"));
    assert_eq!(client.rest().await, "");
    assert_eq!(target.in_flight(), 0);
}

/// An app whose answer never ends.
async fn endless() -> App {
    http_app(|_| async move {
        let chunk = Bytes::from(vec![b'x'; MIB]);
        Response::new(
            StreamBody::new(futures_util::stream::repeat_with(move || Ok(Frame::data(chunk.clone())))).boxed(),
        )
    })
    .await
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut() {
    let app = endless().await;
    let target = app.target();
    let router =
        router_within(vec![target.clone()], &Limits { stall: Duration::from_millis(300), ..Limits::default() });
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    read_head(&mut client.0).await.unwrap();
    until("the stalled client is cut", || target.in_flight() == 0).await;
}

/// Some of the answer at a time, but never as much as there is for it to take at once.
#[tokio::test]
async fn a_client_that_reads_a_little_now_and_then_is_cut() {
    let app = endless().await;
    let target = app.target();
    let router = router_within(vec![target.clone()], &Limits { stall: Duration::from_secs(1), ..Limits::default() });
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    socket2::SockRef::from(&socket).set_tcp_mss(536).unwrap();
    let mut client = Client(socket.connect(router.address()).await.unwrap());
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    read_head(&mut client.0).await.unwrap();
    soon(async {
        while target.in_flight() > 0 {
            let _ = client.0.read(&mut [0; 512]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_slow_upload_is_not_a_late_answer() {
    let app =
        http_app(|request| async move { Response::new(text(request.into_body().collect().await.unwrap().to_bytes())) })
            .await;
    let router = router_within(vec![app.target()], &Limits { answer: Duration::from_millis(300), ..Limits::default() });
    let mut client = Client::new(&router).await;
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 8\r\n\r\n").await;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for byte in b"all of i" {
        ticks.tick().await;
        client.0.write_u8(*byte).await.unwrap();
    }
    assert_eq!(client.answer().await.body, "all of i");
}

#[tokio::test]
async fn a_client_that_sends_no_request_is_cut() {
    let app = says("hello").await;
    let router = router_within(vec![app.target()], &Limits { head: Duration::from_millis(200), ..Limits::default() });
    for sent in ["", "GET / HTT", "GET / HTTP/1.1\r\nHost: app\r\nX-Slow: "] {
        let mut client = Client::new(&router).await;
        client.send(sent).await;
        let rest = client.rest().await;
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
    }
    let mut idle = Client::new(&router).await;
    assert_eq!(idle.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await.body, "hello");
    assert_eq!(idle.rest().await, "");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let app = says("hello").await;
    let router = router_within(vec![app.target()], &Limits { connections: 2, threads: 2, ..Limits::default() });
    let (mut one, mut two) = (Client::new(&router).await, Client::new(&router).await);
    one.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    two.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    let mut three = Client::new(&router).await;
    three.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    one.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    assert_eq!(app.requests(), 3);
    drop(one);
    assert_eq!(three.answer().await.body, "hello");
}
