//! Proxies before the router.

use router::{Limits, Proxies, Router};

use crate::support::{App, Client, ask, header, http_app, router_within, text};

/// A router whose app answers with what it is told about the client.
async fn telling(protocol: bool, trusted: &str) -> (App, Router) {
    let app = http_app(|request| async move {
        let said = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-port"].map(|name| {
            let values = request.headers().get_all(name).iter().map(|value| value.to_str().unwrap());
            values.collect::<Vec<_>>().join("|")
        });
        hyper::Response::new(text(said.join(" ")))
    })
    .await;
    let proxies = Proxies { trusted: vec![trusted.parse().unwrap()], protocol };
    let router = router_within(vec![app.target()], &Limits { proxies, ..Limits::default() });
    (app, router)
}

const GET: &str =
    "GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: 1.1.1.1, 198.51.100.7\r\nX-Forwarded-Proto: https\r\n\r\n";

#[tokio::test]
async fn headers_of_a_trusted_proxy_are_believed() {
    let (_app, near) = telling(false, "127.0.0.0/8").await;
    assert_eq!(ask(&near, GET).await.body, "198.51.100.7 https 443");
    let (_far_app, far) = telling(false, "10.0.0.0/8").await;
    let port = far.address().port();
    assert_eq!(ask(&far, GET).await.body, format!("127.0.0.1 http {port}"));
}

#[tokio::test]
async fn a_connection_of_a_trusted_proxy_begins_with_whose_it_is() {
    let (_app, near) = telling(true, "127.0.0.1").await;
    let mut client = Client::new(&near).await;
    client.send("PROXY TCP4 198.51.100.1 203.0.113.1 5000 8443\r\n").await;
    for _ in 0..2 {
        assert_eq!(client.ask(GET).await.body, "198.51.100.1 http 8443", "headers are not believed beside it");
    }
    let mut client = Client::new(&near).await;
    client.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await;
    assert_eq!(client.ask(GET).await.body, format!("127.0.0.1 http {}", near.address().port()));
}

#[tokio::test]
async fn connections_are_counted_at_the_address_that_a_proxy_says() {
    let app = crate::support::says("hello").await;
    let proxies = Proxies { trusted: vec!["127.0.0.1".parse().unwrap()], protocol: true };
    let router =
        router_within(vec![app.target()], &Limits { proxies, connections_per_address: 1, ..Limits::default() });
    let from = async |address: &str| {
        let mut client = Client::new(&router).await;
        client.send(format!("PROXY TCP4 {address} 203.0.113.1 5000 443\r\nGET / HTTP/1.1\r\nHost: app\r\n\r\n")).await;
        let answer = client.try_answer().await;
        answer.map(|answer| (client, answer))
    };
    let first = from("198.51.100.1").await.unwrap();
    assert!(from("198.51.100.1").await.is_none(), "it has its one");
    assert!(from("198.51.100.2").await.is_some(), "the proxy may have more");
    drop(first);
    crate::support::soon(async { while from("198.51.100.1").await.is_none() {} }).await;
}

#[tokio::test]
async fn without_its_header_a_proxy_is_not_served_and_with_it_nobody_else() {
    let (_app, near) = telling(true, "127.0.0.1").await;
    let mut client = Client::new(&near).await;
    client.send(GET).await;
    assert!(header(&client.rest().await, "content-length").is_none(), "nothing is answered");
    let (_far_app, far) = telling(true, "10.0.0.0/8").await;
    assert_eq!(ask(&far, GET).await.status(), 200);
    let lie = format!("PROXY TCP4 198.51.100.1 203.0.113.1 5000 443\r\n{GET}");
    assert_eq!(ask(&far, lie).await.status(), 400);
}
