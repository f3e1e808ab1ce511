//! What a service's settings refuse, redirect, let wait and keep together.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hyper::Response;
use router::{HostName, Limits, Meter, Queue, Rate, Router, Service, Settings, State, Table, Target};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::{App, Client, Direct, ask, get, http_app, router_within, says, soon, text, until};

/// One service at the host `app`.
fn table(state: State, settings: &Settings, meter: &Arc<Meter>) -> Table {
    let service = Service { settings: settings.clone(), meter: Arc::clone(meter), ..Service::new("app", state) };
    Table { hosts: [(HostName::new("app").unwrap(), Arc::new(service))].into() }
}

fn serve(targets: Vec<Arc<Target>>, settings: &Settings, meter: &Arc<Meter>) -> Router {
    let limits = Limits { threads: 2, ..Limits::default() };
    let table = table(State::Serving(targets), settings, meter);
    Router::with_limits("127.0.0.1:0".parse().unwrap(), table, &limits).unwrap()
}

/// An app whose answers wait until they are released.
async fn held() -> (App, Arc<Notify>) {
    let release = Arc::new(Notify::new());
    let held = release.clone();
    let app = http_app(move |_| {
        let held = held.clone();
        async move {
            held.notified().await;
            Response::new(text("at last"))
        }
    })
    .await;
    (app, release)
}

#[tokio::test]
async fn bodies_that_are_too_long_are_refused() {
    let app = http_app(|request| async move {
        let length = http_body_util::BodyExt::collect(request.into_body()).await.map(|body| body.to_bytes().len());
        Response::new(text(length.map_or_else(|_| "broken".to_owned(), |length| length.to_string())))
    })
    .await;
    let router = serve(vec![app.target()], &Settings { body: Some(5), ..Settings::default() }, &Arc::default());
    for (framed, answer) in [
        ("Content-Length: 5\r\n\r\nabcde", (200, "5")),
        ("Content-Length: 6\r\n\r\nabcdef", (413, "413: the request is longer than the 5 bytes that are allowed\n")),
        (
            "Content-Length: 6\r\nExpect: 100-continue\r\n\r\n",
            (413, "413: the request is longer than the 5 bytes that are allowed\n"),
        ),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", (200, "5")),
        (
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
            (413, "413: the request is longer than the 5 bytes that are allowed\n"),
        ),
    ] {
        let answered = ask(&router, format!("POST / HTTP/1.1\r\nHost: app\r\n{framed}")).await;
        assert_eq!((answered.status(), answered.body.as_str()), answer, "{framed}");
    }
}

#[tokio::test]
async fn no_more_than_so_many_are_in_flight() {
    let (app, release) = held().await;
    let meter = Arc::new(Meter::default());
    let router = serve(vec![app.target()], &Settings { in_flight: Some(2), ..Settings::default() }, &meter);
    let asked: Vec<_> = join_all((0..2).map(|_| async {
        let mut client = Client::new(&router).await;
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
        client
    }))
    .await;
    until("both are asked", || app.requests() == 2).await;
    let third = get(&router, "app").await;
    assert_eq!((third.status(), third.header("retry-after")), (503, Some("1")));
    release.notify_waiters();
    for mut client in asked {
        assert_eq!(client.answer().await.body, "at last");
    }
    until("the places are given back", || meter.in_flight() == 0).await;
    release.notify_one();
    assert_eq!(get(&router, "app").await.status(), 200);
}

#[tokio::test]
async fn a_client_may_ask_only_so_often() {
    let app = says("hello").await;
    let rate = Rate { per_second: 1, burst: 3 };
    let router = serve(vec![app.target()], &Settings { rate: Some(rate), ..Settings::default() }, &Arc::default());
    let began = Instant::now();
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let answer = get(&router, "app").await;
        assert_eq!(answer.header("retry-after").is_some(), answer.status() == 429);
        statuses.push(answer.status());
    }
    if began.elapsed() < Duration::from_secs(1) {
        assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
    }
    assert!(app.requests() < 6);
}

#[tokio::test]
async fn requests_wait_while_an_app_starts() {
    let app = says("hello").await;
    let queue = Queue { places: 3, patience: Duration::from_secs(20) };
    let (settings, meter) = (Settings { queue: Some(queue), ..Settings::default() }, Arc::new(Meter::default()));
    let router = serve(Vec::new(), &settings, &meter);
    router.swap(table(State::Starting("it is starting".to_owned()), &settings, &meter));
    let asked = join_all((0..3).map(|_| get(&router, "app")));
    let deploy = async {
        until("three wait", || meter.waiting() == 3).await;
        let fourth = get(&router, "app").await;
        assert_eq!(
            (fourth.status(), fourth.body.as_str()),
            (503, "503: the app `app` is not available: it is starting\n")
        );
        router.swap(table(State::Serving(vec![app.target()]), &settings, &meter));
    };
    let (answers, ()) = soon(async { tokio::join!(asked, deploy) }).await;
    assert!(answers.iter().all(|answer| answer.body == "hello"), "{answers:?}");
    assert_eq!(meter.waiting(), 0);
}

#[tokio::test]
async fn requests_wait_while_the_only_instance_restarts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let queue = Queue { places: 3, patience: Duration::from_secs(20) };
    let (settings, meter) = (Settings { queue: Some(queue), ..Settings::default() }, Arc::new(Meter::default()));
    let router = serve(vec![Arc::new(Target::new("web.1", Direct(address)))], &settings, &meter);
    let restart = async {
        until("one waits", || meter.waiting() == 1).await;
        let listener = TcpListener::bind(address).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        crate::support::read_head(&mut stream).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback")
            .await
            .unwrap();
        stream
    };
    let (answer, _stream) = soon(async { tokio::join!(get(&router, "app"), restart) }).await;
    assert_eq!(answer.body, "back");
}

#[tokio::test]
async fn nobody_waits_longer_than_is_set() {
    let queue = Queue { places: 3, patience: Duration::from_millis(100) };
    let (settings, meter) = (Settings { queue: Some(queue), ..Settings::default() }, Arc::new(Meter::default()));
    let router = serve(Vec::new(), &settings, &meter);
    router.swap(table(State::Starting("it is starting".to_owned()), &settings, &meter));
    let began = Instant::now();
    assert_eq!(get(&router, "app").await.status(), 503);
    assert!(began.elapsed() >= queue.patience);
    assert_eq!(meter.waiting(), 0);
}

#[tokio::test]
async fn a_browser_stays_with_its_instance() {
    let apps = [says("one").await, says("two").await, says("three").await];
    let targets: Vec<_> = apps.iter().map(App::target).collect();
    let settings = Settings { sticky: true, ..Settings::default() };
    let router = serve(targets.clone(), &settings, &Arc::default());
    let first = get(&router, "app").await;
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let again = async || ask(&router, format!("GET / HTTP/1.1\r\nHost: app\r\nCookie: {cookie}\r\n\r\n")).await;
    for _ in 0..10 {
        let answer = again().await;
        assert_eq!((answer.body.as_str(), answer.header("set-cookie")), (first.body.as_str(), None));
    }
    let others: HashSet<_> =
        join_all((0..12).map(|_| get(&router, "app"))).await.into_iter().map(|one| one.body).collect();
    assert_eq!(others.len(), 3);
    let gone = apps.iter().position(|app| app.requests() >= 11).unwrap();
    let left =
        targets.iter().enumerate().filter(|(index, _)| *index != gone).map(|(_, target)| target.clone()).collect();
    router.swap(table(State::Serving(left), &settings, &Arc::default()));
    let moved = again().await;
    assert!(moved.body != first.body && moved.header("set-cookie").is_some(), "{moved:?}");
}

#[tokio::test]
async fn one_address_has_only_so_many_connections() {
    let app = says("hello").await;
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let router = router_within(vec![app.target()], &limits);
    let request = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
    let (mut one, mut two) = (Client::new(&router).await, Client::new(&router).await);
    assert_eq!((one.ask(request).await.status(), two.ask(request).await.status()), (200, 200));
    let mut three = Client::new(&router).await;
    assert_eq!(three.rest().await, "", "it is closed");
    drop(one);
    let again = async {
        loop {
            let mut client = Client::new(&router).await;
            let sent = tokio::io::AsyncWriteExt::write_all(&mut client.0, request.as_bytes()).await;
            if sent.is_ok() && client.try_answer().await.is_some() {
                return;
            }
        }
    };
    soon(again).await;
}
