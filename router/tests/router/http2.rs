//! HTTP/2, in front and behind.

mod malformed;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use router::{Limits, Protocol, Router, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{
    App, AppBody, Direct, header, http_app, raw_app, read_head, router, router_within, says, silent_app, soon, text,
    until,
};

/// A client, and its connection, which ends with the router's.
async fn client(router: &Router) -> (SendRequest<AppBody>, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(router.address()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn empty() -> AppBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn get(path: &str) -> Request<AppBody> {
    Request::get(format!("http://app{path}")).body(empty()).unwrap()
}

async fn body(response: Response<Incoming>) -> String {
    String::from_utf8(soon(response.collect()).await.unwrap().to_bytes().to_vec()).unwrap()
}

/// An app that speaks HTTP/2 and nothing else.
pub(crate) async fn h2c_app<F, Fut>(answer: F) -> (App, Arc<Target>)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<AppBody>> + Send + 'static,
{
    let app = raw_app(move |stream, _| {
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
    let target = Target::new("h2c", Direct(app.address)).speaking(Protocol::H2c);
    (app, Arc::new(target))
}

/// Sends back what it gets, with its trailers, as it comes.
async fn echo(request: Request<Incoming>) -> Response<AppBody> {
    let mut response = Response::new(request.into_body().boxed());
    response.headers_mut().insert("trailer", "grpc-status".parse().unwrap());
    response
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let app = http_app(|request| async move { Response::new(text(request.uri().path().to_owned())) }).await;
    let router = router(vec![app.target()]);
    let (sender, _connection) = client(&router).await;
    let asked = (0..100).map(|number| {
        let mut sender = sender.clone();
        async move {
            let response = sender.send_request(get(&format!("/{number}"))).await.unwrap();
            assert_eq!(response.version(), Version::HTTP_2);
            assert_eq!(body(response).await, format!("/{number}"));
        }
    });
    soon(futures_util::future::join_all(asked)).await;
}

#[tokio::test]
async fn an_app_sees_the_authority_as_host_and_one_cookie_header() {
    let app = http_app(|request| async move {
        let show = |name: &str| {
            let values: Vec<_> = request.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            format!("{name}={values:?}\n")
        };
        assert_eq!(request.version(), Version::HTTP_11);
        assert_eq!(request.uri(), "/a?b");
        Response::new(text(["host", "cookie", "x-forwarded-for", "x-forwarded-proto"].map(show).concat()))
    })
    .await;
    let router = router(vec![app.target()]);
    let (mut sender, _connection) = client(&router).await;
    let mut request = get("/a?b");
    for (name, value) in [("cookie", "a=1"), ("cookie", "b=2"), ("x-forwarded-for", "10.0.0.1")] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(
        body(response).await,
        "host=[\"app\"]\ncookie=[\"a=1; b=2\"]\nx-forwarded-for=[\"127.0.0.1\"]\nx-forwarded-proto=[\"http\"]\n"
    );
}

/// As gRPC does: both sides send while the other does, and end with trailers.
#[tokio::test]
async fn both_bodies_stream_and_end_with_trailers() {
    let (_h2c, h2c) = h2c_app(echo).await;
    let http1 = http_app(echo).await;
    for target in [h2c, http1.target()] {
        let protocol = target.name().to_owned();
        let router = router(vec![target]);
        let (mut sender, _connection) = client(&router).await;
        let (send, frames) = tokio::sync::mpsc::unbounded_channel::<Result<Frame<Bytes>, hyper::Error>>();
        let stream = futures_util::stream::unfold(frames, |mut frames| async { Some((frames.recv().await?, frames)) });
        let request = Request::post("http://app/echo")
            .header("te", "trailers")
            .header("trailer", "grpc-status")
            .body(http_body_util::combinators::UnsyncBoxBody::new(StreamBody::new(stream)));
        let request = request.unwrap().map(|body| SyncBody(std::sync::Mutex::new(body)).boxed());
        send.send(Ok(Frame::data("first".into()))).unwrap();
        let mut answer = soon(sender.send_request(request)).await.unwrap().into_body();
        let mut next = async || soon(answer.frame()).await.unwrap().unwrap();
        assert_eq!(next().await.into_data().unwrap(), "first", "{protocol}");
        send.send(Ok(Frame::data("second".into()))).unwrap();
        assert_eq!(next().await.into_data().unwrap(), "second", "{protocol}");
        let trailers: HeaderMap = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
        send.send(Ok(Frame::trailers(trailers.clone()))).unwrap();
        drop(send);
        assert_eq!(next().await.into_trailers().unwrap(), trailers, "{protocol}");
    }
}

/// A body behind a lock, because hyper wants to share what only one task polls.
struct SyncBody(std::sync::Mutex<http_body_util::combinators::UnsyncBoxBody<Bytes, hyper::Error>>);

impl hyper::body::Body for SyncBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        std::pin::Pin::new(&mut *self.0.lock().unwrap()).poll_frame(cx)
    }
}

#[tokio::test]
async fn requests_of_http1_reach_an_app_that_speaks_http2() {
    let (app, target) = h2c_app(|request| async move {
        assert_eq!(request.version(), Version::HTTP_2);
        let uri = request.uri().to_string();
        Response::new(text(format!("{uri} {:?}", request.headers().get("host"))))
    })
    .await;
    let router = router_within(vec![target], &Limits { threads: 1, ..Limits::default() });
    for _ in 0..3 {
        assert_eq!(crate::support::get(&router, "app").await.body, "http://app/ None");
    }
    assert_eq!(app.connections(), 1, "one connection is shared");
}

#[tokio::test]
async fn what_is_in_flight_at_a_shutdown_is_answered() {
    let app = http_app(|request| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        echo(request).await
    })
    .await;
    let router = router(vec![app.target()]);
    let (mut sender, connection) = client(&router).await;
    let asked = tokio::spawn(sender.send_request(Request::post("http://app/").body(text("all of it")).unwrap()));
    until("the app is asked", || app.requests() == 1).await;
    soon(router.shutdown(Duration::from_secs(10))).await;
    assert_eq!(body(asked.await.unwrap().unwrap()).await, "all of it");
    soon(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drained_app_is_asked_nothing_more() {
    let (app, target) = h2c_app(|_| async { Response::new(text("old")) }).await;
    let router = router(vec![target.clone()]);
    assert_eq!(crate::support::get(&router, "app").await.body, "old");
    let new = says("new").await;
    router.swap(crate::support::table(&[("app", vec![new.target()])]));
    soon(target.drain(Duration::from_secs(10))).await;
    let connections = app.connections();
    assert_eq!(crate::support::get(&router, "app").await.body, "new");
    assert_eq!(app.connections(), connections);
}

#[tokio::test]
async fn a_client_that_only_takes_back_is_cut() {
    let app = silent_app().await;
    let router = router(vec![app.target()]);
    let (sender, connection) = client(&router).await;
    let asking = async {
        loop {
            let mut sender = sender.clone();
            let asked = tokio::time::timeout(Duration::from_millis(1), sender.send_request(get("/"))).await;
            if matches!(asked, Ok(Err(_))) {
                return;
            }
        }
    };
    soon(asking).await;
    // Cut without a word.
    let _ = soon(connection).await.unwrap();
    let other = says("hello").await;
    router.swap(crate::support::table(&[("app", vec![other.target()])]));
    assert_eq!(crate::support::get(&router, "app").await.body, "hello");
}

/// With its window closed a client could hold an app's answers for ever.
#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let app = http_app(|_| async { Response::new(text(vec![b'x'; 10 << 20])) }).await;
    let limits = Limits { stall: Duration::from_millis(200), ..Limits::default() };
    let target = app.target();
    let router = router_within(vec![target.clone()], &limits);
    let (mut sender, connection) = client(&router).await;
    let answer = soon(sender.send_request(get("/"))).await.unwrap();
    assert!(soon(connection).await.unwrap().is_err());
    drop(answer);
    until("the app's answer is let go", || target.in_flight() == 0).await;
}

/// An app sends as much ahead as it may, a few bytes at a time, to clients that take nothing yet.
#[tokio::test]
async fn many_small_messages_may_wait_for_their_clients() {
    const MESSAGES: usize = 12_000;
    const CLIENTS: usize = 12;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let (_app, target) = h2c_app(move |_| {
        let counter = counter.clone();
        async move {
            let messages = futures_util::stream::iter((0..MESSAGES).map(move |_| {
                counter.fetch_add(1, Ordering::SeqCst);
                Ok(Frame::data(Bytes::from_static(b"small")))
            }));
            Response::new(StreamBody::new(messages).boxed())
        }
    })
    .await;
    let router = router_within(vec![target], &Limits { threads: 1, ..Limits::default() });
    let mut answers = Vec::new();
    for _ in 0..CLIENTS {
        let stream = TcpStream::connect(router.address()).await.unwrap();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let handshake = builder.initial_stream_window_size(100).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        let connection = tokio::spawn(connection);
        answers.push((soon(sender.send_request(get("/"))).await.unwrap(), sender, connection));
    }
    until("all is sent", || sent.load(Ordering::SeqCst) == CLIENTS * MESSAGES).await;
    for (answer, _sender, _connection) in answers {
        assert_eq!(body(answer).await.len(), MESSAGES * 5);
    }
}

/// A stream of events with long pauses is not stalled: it is the app that has nothing to say.
#[tokio::test]
async fn a_quiet_answer_is_not_cut() {
    let app = http_app(|_| async {
        let pause = || tokio::time::sleep(Duration::from_millis(400));
        let events = futures_util::stream::unfold(0, move |number| async move {
            pause().await;
            (number < 3).then(|| (Ok(Frame::data(Bytes::from(format!("{number};")))), number + 1))
        });
        Response::new(
            SyncBody(std::sync::Mutex::new(http_body_util::combinators::UnsyncBoxBody::new(StreamBody::new(events))))
                .boxed(),
        )
    })
    .await;
    let limits = Limits { stall: Duration::from_millis(100), head: Duration::from_millis(100), ..Limits::default() };
    let router = router_within(vec![app.target()], &limits);
    let (mut sender, _connection) = client(&router).await;
    let answer = soon(sender.send_request(get("/"))).await.unwrap();
    assert_eq!(body(answer).await, "0;1;2;", "even though the connection takes no new requests");
}

#[tokio::test]
async fn an_idle_connection_ends_by_agreement() {
    let app = says("hello").await;
    let limits = Limits { head: Duration::from_millis(100), ..Limits::default() };
    let router = router_within(vec![app.target()], &limits);
    let (mut sender, connection) = client(&router).await;
    assert_eq!(body(sender.send_request(get("/")).await.unwrap()).await, "hello");
    soon(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let app = says("hello").await;
    let router = router(vec![app.target()]);
    let (mut sender, _connection) = client(&router).await;
    for (uri, status) in [("http://other/", StatusCode::NOT_FOUND), ("http://me@app/", StatusCode::BAD_REQUEST)] {
        let request = Request::get(uri).body(empty()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), status, "{uri}");
    }
    let request =
        Request::post("http://app/").body(Full::new(Bytes::from("x")).map_err(|never| match never {}).boxed());
    assert_eq!(body(sender.send_request(request.unwrap()).await.unwrap()).await, "hello");
}

/// An extended CONNECT, as browsers begin a WebSocket over HTTP/2.
fn websocket(path: &str) -> Request<AppBody> {
    let mut request = Request::connect(format!("http://app{path}")).body(empty()).unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    request
}

/// The server's settings come before its first answer.
async fn settle(sender: &mut SendRequest<AppBody>) {
    let nobody = Request::get("http://nobody/").body(empty()).unwrap();
    assert_eq!(soon(sender.send_request(nobody)).await.unwrap().status(), 404);
}

/// An app that agrees to switch at `/ws`, and then echoes; elsewhere it answers 200.
async fn switching_app() -> App {
    raw_app(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert_eq!((header(&head, "connection"), header(&head, "upgrade")), (Some("upgrade"), Some("websocket")));
        assert_eq!(header(&head, "host"), Some("app"));
        assert_eq!(header(&head, "sec-websocket-version"), Some("13"));
        assert_eq!(header(&head, "sec-websocket-key").map(str::len), Some(24));
        let answer = match head.split(' ').nth(1).unwrap() {
            "/ws" => "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\nhi",
            "/no" => "403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
            _ => "200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        assert!(head.starts_with("GET "), "{head}");
        stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

#[tokio::test]
async fn a_websocket_goes_through_one_stream_beside_others() {
    let app = switching_app().await;
    let target = app.target();
    let router = router(vec![target.clone()]);
    let (mut sender, _connection) = client(&router).await;
    settle(&mut sender).await;
    let mut opened = Vec::new();
    for _ in 0..3 {
        let response = soon(sender.send_request(websocket("/ws"))).await.unwrap();
        assert_eq!(response.status(), 200);
        for name in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!response.headers().contains_key(name), "{name}");
        }
        opened.push(TokioIo::new(soon(hyper::upgrade::on(response)).await.unwrap()));
    }
    for stream in &mut opened {
        let mut greeting = [0; 2];
        soon(stream.read_exact(&mut greeting)).await.unwrap();
        assert_eq!(&greeting, b"hi");
        let words = vec![7; 100_000];
        stream.write_all(&words).await.unwrap();
        let mut back = vec![0; words.len()];
        soon(stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(back, words);
    }
    assert_eq!(target.in_flight(), 3);
    drop(opened);
    until("the tunnels are gone", || target.in_flight() == 0).await;
}

#[tokio::test]
async fn an_app_that_does_not_switch_has_its_word_but_not_as_agreement() {
    let app = switching_app().await;
    let router = router(vec![app.target()]);
    let (mut sender, _connection) = client(&router).await;
    settle(&mut sender).await;
    let refused = soon(sender.send_request(websocket("/no"))).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(body(refused).await, "no");
    let misunderstood = soon(sender.send_request(websocket("/ok"))).await.unwrap();
    assert_eq!(misunderstood.status(), 502);
    let mut other = websocket("/ws");
    other.extensions_mut().insert(hyper::ext::Protocol::from_static("connect-udp"));
    assert_eq!(soon(sender.send_request(other)).await.unwrap().status(), 400);
}
