//! What is seen of requests from outside: their ids, and what the log is told.

use std::sync::{Arc, Mutex};

use hyper::Response;
use router::{HostName, Log, Meter, Record, Router, Service, Settings, State, Table, Target};

use crate::support::{App, Client, Direct, ask, http_app, router, says, silent_app, text, until};

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Record>>);

impl Log for Kept {
    fn take(&self, record: Record) {
        self.0.lock().unwrap().push(record);
    }
}

impl Kept {
    /// The only record, once it is there.
    async fn one(&self) -> Record {
        until("a record", || !self.0.lock().unwrap().is_empty()).await;
        let records = self.0.lock().unwrap();
        assert_eq!(records.len(), 1, "{records:?}");
        records[0].clone()
    }
}

/// An app that says which id it was told.
async fn says_its_id() -> App {
    http_app(|request| async move {
        let ids: Vec<_> = request.headers().get_all("x-request-id").iter().collect();
        let also = request.headers().contains_key("x_request_id");
        Response::builder().header("x-request-id", "the-apps").body(text(format!("{ids:?} {also}"))).unwrap()
    })
    .await
}

fn logging(state: State) -> (Router, Arc<Kept>) {
    let (router, kept) = (router(vec![]), Arc::new(Kept::default()));
    let service = Service { log: Some(kept.clone()), ..Service::new("app", state) };
    router.swap(Table { hosts: [(HostName::new("app").unwrap(), Arc::new(service))].into() });
    (router, kept)
}

#[tokio::test]
async fn an_id_goes_to_the_app_and_back() {
    let app = says_its_id().await;
    let router = router(vec![app.target()]);
    let given =
        ask(&router, "GET / HTTP/1.1\r\nHost: app\r\nX-Request-Id: abc-123\r\nX_Request_Id: other\r\n\r\n").await;
    assert_eq!((given.header("x-request-id"), given.body.as_str()), (Some("abc-123"), "[\"abc-123\"] false"));
    let mut client = Client::new(&router).await;
    let mut made = Vec::new();
    for id in ["X-Request-Id: a b\r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n", "Connection: x-request-id\r\n", ""] {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: app\r\n{id}\r\n")).await;
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 32);
        assert_eq!(answer.body, format!("[{id:?}] false"));
        assert!(!made.contains(&id));
        made.push(id);
    }
}

#[tokio::test]
async fn pages_have_an_id_too() {
    let answer = ask(&router(vec![]), "GET / HTTP/1.1\r\nHost: nobody\r\nX-Request-Id: abc\r\n\r\n").await;
    assert_eq!((answer.status(), answer.header("x-request-id")), (404, Some("abc")));
}

#[tokio::test]
async fn the_log_is_told_of_a_request() {
    let app = says("hello").await;
    let target = Target::new("5f0c", Direct(app.address)).labelled("v1:web.1");
    let (router, kept) = logging(State::Serving(vec![Arc::new(target)]));
    ask(&router, "GET /a/b?secret=1 HTTP/1.1\r\nHost: app\r\nX-Request-Id: abc\r\n\r\n").await;
    let record = kept.one().await;
    assert!(record.upstream.unwrap() <= record.duration, "{record:?}");
    let expected = Record {
        time: record.time,
        client: "127.0.0.1".parse().unwrap(),
        method: "GET".to_owned(),
        path: "/a/b".to_owned(),
        protocol: "HTTP/1.1",
        status: 200,
        bytes: 5,
        duration: record.duration,
        upstream: record.upstream,
        target: Some("v1:web.1".to_owned()),
        id: "abc".to_owned(),
    };
    assert_eq!(record, expected);
}

#[tokio::test]
async fn the_log_is_told_of_what_no_app_answered() {
    let (router, kept) = logging(State::Unavailable("in maintenance".to_owned()));
    let answer = ask(&router, format!("POST /{} HTTP/1.1\r\nHost: app\r\n\r\n", "x".repeat(5000))).await;
    let record = kept.one().await;
    assert_eq!((record.status, record.upstream, record.target.clone()), (503, None, None));
    assert_eq!((record.method.as_str(), record.path.len()), ("POST", 2048));
    assert_eq!(record.bytes, answer.body.len() as u64);
}

#[tokio::test]
async fn the_log_is_told_when_the_client_went_away() {
    let app = silent_app().await;
    let (router, kept) = logging(State::Serving(vec![app.target()]));
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    until("the app is asked", || app.connections() == 1).await;
    drop(client);
    assert_eq!(kept.one().await.status, 499);
}

#[tokio::test]
async fn answers_are_counted() {
    let app = http_app(|request| async move {
        let status = request.uri().path().trim_start_matches('/').parse::<u16>().unwrap();
        Response::builder().status(status).body(text("12345")).unwrap()
    })
    .await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let targets = vec![Arc::new(Target::new("dead", Direct(dead))), app.target()];
    let (router, meter) = (router(vec![]), Arc::new(Meter::default()));
    let service = Service { meter: meter.clone(), ..Service::new("app", State::Serving(targets)) };
    router.swap(Table { hosts: [(HostName::new("app").unwrap(), Arc::new(service))].into() });
    let mut client = Client::new(&router).await;
    for status in [200, 200, 201, 404, 503] {
        client.ask(format!("GET /{status} HTTP/1.1\r\nHost: app\r\n\r\n")).await;
    }
    until("all ended", || meter.counts().sent == 25).await;
    let counts = meter.counts();
    assert_eq!(counts.classes, [0, 3, 0, 1, 1, 0]);
    assert_eq!(counts.latency.iter().sum::<u64>(), 5);
    assert!(counts.retries > 0, "{counts:?}");
}

#[tokio::test]
async fn answers_say_how_long_they_took_when_that_is_set() {
    let app =
        http_app(|_| async { Response::builder().header("server-timing", "db;dur=1").body(text("")).unwrap() }).await;
    let router = router(vec![]);
    for server_timing in [false, true] {
        let settings = Settings { server_timing, ..Settings::default() };
        let service = Service { settings, ..Service::new("app", State::Serving(vec![app.target()])) };
        router.swap(Table { hosts: [(HostName::new("app").unwrap(), Arc::new(service))].into() });
        let head = ask(&router, "GET / HTTP/1.1\r\nHost: app\r\n\r\n").await.head;
        let timings: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("server-timing: ")).collect();
        assert_eq!(timings[0], "db;dur=1", "{head}");
        let ours: Vec<_> = timings[1..].iter().flat_map(|value| value.split(", ")).collect();
        let names: Vec<_> = ours.iter().map(|entry| entry.split_once(";dur=").unwrap().0).collect();
        assert_eq!(names, if server_timing { vec!["app", "router"] } else { vec![] }, "{head}");
        assert!(ours.iter().all(|entry| entry.split_once('=').unwrap().1.parse::<f64>().unwrap() >= 0.0));
    }
}
