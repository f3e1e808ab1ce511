//! Apps, routers and clients for the tests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use router::{Dial, HostName, Limits, Router, Service, State, Table, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// No event in these tests takes nearly as long.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Awaits with a limit, so that a hang is a failure.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("nothing happened for a long time")
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(SOON, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "never happened: {what}");
}

/// Dials an address directly.
pub(crate) struct Direct(pub(crate) SocketAddr);

#[async_trait]
impl Dial for Direct {
    async fn dial(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.0).await
    }
}

/// A server that ends, with all its connections, when it is dropped.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<AtomicUsize>,
    _end: DropGuard,
}

impl App {
    pub(crate) fn target(&self) -> Arc<Target> {
        Arc::new(Target::new(self.address.to_string(), Direct(self.address)))
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// An app that does with each connection what `serve` says; it gets the connection's number, from 0.
pub(crate) async fn raw_app<F, Fut>(serve: F) -> App
where
    F: Fn(TcpStream, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let end = CancellationToken::new();
    let (counter, ended) = (connections.clone(), end.clone());
    tokio::spawn(async move {
        let mut open = JoinSet::new();
        ended
            .run_until_cancelled(async {
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    open.spawn(serve(stream, counter.fetch_add(1, Ordering::SeqCst)));
                }
            })
            .await;
    });
    App { address, connections, requests: Arc::default(), _end: end.drop_guard() }
}

pub(crate) type AppBody = BoxBody<Bytes, hyper::Error>;

pub(crate) fn text(text: impl Into<Bytes>) -> AppBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// An app on hyper.
pub(crate) async fn http_app<F, Fut>(answer: F) -> App
where
    F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<AppBody>> + Send + 'static,
{
    let answer = Arc::new(answer);
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let app = raw_app(move |stream, _| {
        let (answer, counter) = (answer.clone(), counter.clone());
        async move {
            let service = service_fn(move |request| {
                counter.fetch_add(1, Ordering::SeqCst);
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        }
    })
    .await;
    App { requests, ..app }
}

/// An app that accepts connections and never answers.
pub(crate) async fn silent_app() -> App {
    raw_app(|stream, _| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await
}

/// An app that always says the same.
pub(crate) async fn says(words: &'static str) -> App {
    http_app(move |_| async move { Response::new(text(words)) }).await
}

/// An app that reads one head after another and answers each with `answer`, byte by byte.
pub(crate) async fn bytes_app(answer: &'static str) -> App {
    raw_app(move |mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

pub(crate) fn table(hosts: &[(&str, Vec<Arc<Target>>)]) -> Table {
    let service = |name: &str, targets: &Vec<Arc<Target>>| Service::new(name, State::Serving(targets.clone()));
    Table {
        hosts: hosts
            .iter()
            .map(|(name, targets)| (HostName::new(name).unwrap(), Arc::new(service(name, targets))))
            .collect(),
    }
}

/// A router that serves `targets` as the host `app`.
pub(crate) fn router(targets: Vec<Arc<Target>>) -> Router {
    router_within(targets, &Limits { threads: 2, ..Limits::default() })
}

pub(crate) fn router_within(targets: Vec<Arc<Target>>, limits: &Limits) -> Router {
    let router = Router::with_limits("127.0.0.1:0".parse().unwrap(), Table::default(), limits).unwrap();
    router.swap(table(&[("app", targets)]));
    router
}

/// A head as text, with its empty line; None at the end of the connection.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// An answer as a raw client sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// A header's value in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// A raw client on one connection.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn new(router: &Router) -> Self {
        Self(TcpStream::connect(router.address()).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// One answer with a `Content-Length` (or none and no body).
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("closed without an answer")
    }

    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        let head = soon(read_head(&mut self.0)).await?;
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        soon(self.0.read_exact(&mut body)).await.ok()?;
        Some(Answer { head, body: String::from_utf8(body).unwrap() })
    }

    pub(crate) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes).await;
        self.answer().await
    }

    /// All that comes until the connection ends.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = soon(self.0.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Sends raw bytes over a connection of its own, and takes the first answer.
pub(crate) async fn ask(router: &Router, bytes: impl AsRef<[u8]>) -> Answer {
    Client::new(router).await.ask(bytes).await
}

/// GET / at a host.
pub(crate) async fn get(router: &Router, host: &str) -> Answer {
    ask(router, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
}
