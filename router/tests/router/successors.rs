//! One router after the other on the same sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use router::{Limits, Listeners, Router, Target};
use tokio::net::TcpStream;

use crate::support::{Client, says, soon, table, until};

const LINGER: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(20);

fn listeners(threads: usize) -> Listeners {
    let limits = Limits { threads, ..Limits::default() };
    Listeners::bind("127.0.0.1:0".parse().unwrap(), &limits).unwrap()
}

fn on(listeners: &Listeners, threads: usize, targets: Vec<Arc<Target>>) -> Router {
    let limits = Limits { threads, ..Limits::default() };
    Router::on(listeners.try_clone().unwrap(), None, table(&[("app", targets)]), &limits).unwrap()
}

/// Asks again and again, on the same connection for as long as the router lets it, until told to stop.
async fn visit(address: std::net::SocketAddr, keep_alive: bool, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        let mut now = match client.take() {
            Some(client) => client,
            None => Client(TcpStream::connect(address).await.unwrap()),
        };
        let answer = now.ask("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\nx").await;
        assert_eq!((answer.status(), answer.body.as_str()), (200, "hello"), "{answer:?}");
        count.fetch_add(1, Ordering::Relaxed);
        client = (keep_alive && answer.header("connection") != Some("close")).then_some(now);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_routers_in_a_row_lose_no_request() {
    let app = says("hello").await;
    let sockets = listeners(2);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut now = on(&sockets, 2, vec![app.target()]);
    let visitors: Vec<_> =
        (0..16).map(|n| tokio::spawn(visit(sockets.address(), n % 2 == 0, stop.clone(), count.clone()))).collect();
    let mut leaving = Vec::new();
    for number in 0..20 {
        let enough = count.load(Ordering::Relaxed) + 100;
        until("visitors are served", || count.load(Ordering::Relaxed) >= enough).await;
        // As many threads as sockets, fewer, and more.
        let next = on(&sockets, number % 3 + 1, vec![app.target()]);
        leaving.push(tokio::spawn(std::mem::replace(&mut now, next).leave(LINGER, GRACE)));
    }
    stop.store(true, Ordering::Relaxed);
    for task in visitors.into_iter().chain(leaving) {
        soon(task).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_is_silent_is_asked_to_connect_anew_when_it_speaks_again() {
    let app = says("hello").await;
    let sockets = listeners(1);
    let old = on(&sockets, 1, vec![app.target()]);
    let mut client = Client::new(&old).await;
    let ask = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
    assert_eq!(client.ask(ask).await.header("connection"), None);
    let _new = on(&sockets, 1, vec![app.target()]);
    let mut leaving = std::pin::pin!(old.leave(LINGER, GRACE));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    let answer = client.ask(ask).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    assert_eq!(client.rest().await, "");
    soon(leaving).await;
}
