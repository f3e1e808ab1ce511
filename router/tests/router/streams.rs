//! Streams of events when their app is replaced.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::{Frame, Incoming};
use router::{Limits, Table, Target};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::http2::h2c_app;
use crate::support::{AppBody, Client, http_app, read_head, router_within, soon, until};

/// At `/events` what is said, as it is said; elsewhere never anything.
async fn answer(request: hyper::Request<Incoming>, said: watch::Receiver<&'static str>) -> Response<AppBody> {
    if request.uri().path() != "/events" {
        std::future::pending::<()>().await;
    }
    let events = futures_util::stream::unfold(said, |mut said| async {
        said.changed().await.ok()?;
        let event = said.borrow_and_update().as_bytes();
        Some((Ok(Frame::data(event.into())), said))
    });
    let mut response = Response::new(StreamBody::new(events).boxed());
    response.headers_mut().insert("content-type", "Text/Event-Stream; charset=utf-8".parse().unwrap());
    response
}

/// Two clients: one hears events, the other waits in vain. The one is let alone by a drain of requests, the other is cut.
async fn drained(target: Arc<Target>, say: &watch::Sender<&'static str>) {
    let router = router_within(vec![target.clone()], &Limits { threads: 1, ..Limits::default() });
    let (mut hearer, mut waiter) = (Client::new(&router).await, Client::new(&router).await);
    hearer.send("GET /events HTTP/1.1\r\nHost: app\r\n\r\n").await;
    let head = soon(read_head(&mut hearer.0)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    hears(&mut hearer, say, "before").await;
    waiter.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    until("both are in flight", || target.in_flight() == 2).await;
    router.swap(Table::default());
    soon(target.drain_requests(Duration::from_millis(50))).await;
    assert_eq!(soon(waiter.answer()).await.status(), 502);
    hears(&mut hearer, say, "after").await;
    assert_eq!(target.in_flight(), 1);
    target.cut_streams();
    assert_eq!(hearer.rest().await, "", "not even an end");
    soon(target.emptied()).await;
}

async fn hears(client: &mut Client, say: &watch::Sender<&'static str>, event: &'static str) {
    let mut chunk = vec![0; "6\r\n\r\n".len() + event.len()];
    say.send_replace(event);
    soon(client.0.read_exact(&mut chunk)).await.unwrap();
    assert_eq!(chunk, format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
}

#[tokio::test]
async fn a_drain_of_requests_lets_streams_go_on_until_they_are_cut() {
    let (say, said) = watch::channel("");
    let app = http_app(move |request| answer(request, said.clone())).await;
    drained(app.target(), &say).await;
    // Over the same connection here.
    let (say, said) = watch::channel("");
    let (app, target) = h2c_app(move |request| answer(request, said.clone())).await;
    drained(target, &say).await;
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_whole_drain_ends_streams_too() {
    let (say, said) = watch::channel("");
    let app = http_app(move |request| answer(request, said.clone())).await;
    let target = app.target();
    let router = router_within(vec![target.clone()], &Limits::default());
    let mut hearer = Client::new(&router).await;
    hearer.send("GET /events HTTP/1.1\r\nHost: app\r\n\r\n").await;
    soon(read_head(&mut hearer.0)).await.unwrap();
    hears(&mut hearer, &say, "before").await;
    soon(target.drain(Duration::from_millis(50))).await;
    assert_eq!(hearer.rest().await, "");
    soon(target.emptied()).await;
}
