//! Which host goes where.

use std::sync::Arc;
use std::time::Duration;

use router::{HostName, Router, RouterError, Table};

use crate::support::{App, Client, get, router, says, silent_app, soon, table, until};

#[tokio::test]
async fn hosts_are_told_apart_whatever_their_case_port_or_final_dot() {
    let (blog, wiki) = (says("blog").await, says("wiki").await);
    let router = router(vec![]);
    router.swap(table(&[
        ("blog.localhost", vec![blog.target()]),
        ("wiki.localhost", vec![wiki.target()]),
        ("::1", vec![wiki.target()]),
    ]));
    for (host, said) in [
        ("blog.localhost", "blog"),
        ("BLOG.LocalHost", "blog"),
        ("blog.localhost:8080", "blog"),
        ("blog.localhost:", "blog"),
        ("blog.localhost.", "blog"),
        ("Blog.localhost.:80", "blog"),
        ("wiki.localhost", "wiki"),
        ("[::1]", "wiki"),
        ("[0:0::1]:8080", "wiki"),
    ] {
        assert_eq!(get(&router, host).await.body, said, "{host}");
    }
    router.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_swap_counts_for_the_next_request_of_an_open_connection() {
    let (old, new) = (says("old").await, says("new").await);
    let router = router(vec![old.target()]);
    let mut client = Client::new(&router).await;
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await.body, "old");
    router.swap(table(&[("app", vec![new.target()])]));
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await.body, "new");
    router.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn equally_loaded_targets_take_turns() {
    let apps = [says("a").await, says("b").await, says("c").await];
    let router = router(apps.iter().map(App::target).collect());
    let mut client = Client::new(&router).await;
    for _ in 0..30 {
        client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    }
    assert_eq!(apps.each_ref().map(App::requests), [10, 10, 10]);
}

#[tokio::test]
async fn the_least_busy_target_is_chosen() {
    let busy = silent_app().await;
    let free = says("free").await;
    let busy_target = busy.target();
    let router = router(vec![busy_target.clone(), free.target()]);
    let mut waiting = Vec::new();
    while busy_target.in_flight() == 0 {
        let mut client = Client::new(&router).await;
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
        waiting.push(client);
        until("the request is somewhere", || busy_target.in_flight() > 0 || free.requests() > waiting.len() - 1).await;
    }
    for _ in 0..10 {
        assert_eq!(get(&router, "app").await.body, "free");
    }
    assert_eq!(busy_target.in_flight(), 1);
}

#[tokio::test]
async fn one_client_needs_one_connection_to_the_app() {
    let app = says("hello").await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    for _ in 0..50 {
        client.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    }
    assert_eq!((app.connections(), app.requests()), (1, 50));
}

#[tokio::test]
async fn threads_share_idle_connections() {
    let app = says("hello").await;
    let router = router(vec![app.target()]);
    for _ in 0..50 {
        get(&router, "app").await;
    }
    assert!(app.connections() <= 3, "{} connections for one request at a time", app.connections());
}

#[tokio::test]
async fn an_address_is_taken_only_once() {
    let router = router(vec![]);
    let second = Router::bind(router.address(), Table::default());
    assert!(matches!(second, Err(RouterError::Bind { .. })), "another router shares the address");
    let address = router.address();
    router.shutdown(Duration::ZERO).await;
    Router::bind(address, Table::default()).unwrap().shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn shutdown_lets_the_request_in_flight_end_and_cuts_after_the_grace() {
    let app = says("hello").await;
    let slow = silent_app().await;
    let router = Arc::new(router(vec![]));
    let stuck = slow.target();
    router.swap(table(&[("app", vec![app.target()]), ("slow", vec![stuck.clone()])]));
    let mut idle = Client::new(&router).await;
    idle.ask("GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    let mut waiting = Client::new(&router).await;
    waiting.send("GET / HTTP/1.1\r\nHost: slow\r\n\r\n").await;
    until("the request is in flight", || stuck.in_flight() == 1).await;
    let router = Arc::into_inner(router).unwrap();
    soon(router.shutdown(Duration::from_millis(200))).await;
    assert_eq!(idle.rest().await, "");
    assert_eq!(waiting.rest().await, "");
    assert_eq!(stuck.in_flight(), 0);
}

#[test]
fn host_names_are_checked() {
    for (text, name) in
        [("a", "a"), ("A.b-C_1.", "a.b-c_1"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("0::1", "::1")]
    {
        assert_eq!(HostName::new(text).unwrap().as_str(), name);
    }
    let (long_label, long_name) = ("a".repeat(64), "a.".repeat(127) + "a");
    for text in ["", ".", "a..b", "a b", "a/b", "a:80", "é", "a@b", ".a", &long_label, &long_name, "a\n"] {
        assert!(HostName::new(text).is_err(), "{text:?}");
    }
}

proptest::proptest! {
    #[test]
    fn a_host_name_is_already_normal(text in "\\PC{0,40}|[a-zA-Z0-9._:\\[\\]-]{0,40}") {
        if let Ok(name) = HostName::new(&text) {
            let again = HostName::new(name.as_str()).unwrap();
            proptest::prop_assert_eq!(&again, &name);
            proptest::prop_assert_eq!(name.as_str(), name.as_str().to_lowercase());
        }
    }
}
