//! The router's own answers.

use std::sync::Arc;
use std::time::Duration;

use router::{HostName, Limits, Service, State, Table, Target};
use tokio::net::TcpListener;

use crate::support::{
    Client, Direct, ask, bytes_app, get, raw_app, read_head, router, router_within, says, silent_app,
};

fn closed_port() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn an_unknown_host_is_404() {
    let router = router(vec![]);
    let answer = get(&router, "nobody.localhost:8080").await;
    assert_eq!((answer.status(), answer.body.as_str()), (404, "404: no app is served at `nobody.localhost`\n"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn an_unavailable_service_is_503_with_its_sentence() {
    let router = router(vec![]);
    let service = Service::new("blog", State::Unavailable("in <maintenance>".to_owned()));
    router.swap(Table { hosts: [(HostName::new("app").unwrap(), Arc::new(service))].into() });
    let answer = get(&router, "app").await;
    assert_eq!(
        (answer.status(), answer.body.as_str()),
        (503, "503: the app `blog` is not available: in <maintenance>\n")
    );
    assert_eq!(answer.header("retry-after"), Some("5"));
    let answer = ask(&router, "GET / HTTP/1.1\r\nHost: app\r\nAccept: text/html,*/*;q=0.8\r\n\r\n").await;
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        answer.body.contains("<p>503: the app `blog` is not available: in &lt;maintenance&gt;</p>"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_program_that_takes_json_gets_it() {
    let router = router(vec![]);
    let answer = ask(&router, "GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").await;
    assert_eq!((answer.status(), answer.header("content-type")), (404, Some("application/json")));
    assert_eq!(answer.body, "{\"error\":\"no app is served at `a`\",\"status\":404,\"title\":\"Not Found\"}\n");
}

#[tokio::test]
async fn an_app_that_takes_no_connection_is_502() {
    let dead = Arc::new(Target::new("dead", Direct(closed_port())));
    let router = router(vec![dead]);
    let answer = get(&router, "app").await;
    assert_eq!((answer.status(), answer.body.as_str()), (502, "502: the app `app` does not accept connections\n"));
    assert_eq!(answer.header("retry-after"), Some("5"));
}

#[tokio::test]
async fn connecting_takes_a_bounded_time() {
    struct Never;
    #[async_trait::async_trait]
    impl router::Dial for Never {
        async fn dial(&self) -> std::io::Result<tokio::net::TcpStream> {
            std::future::pending().await
        }
    }
    let limits = Limits { connect: Duration::from_millis(50), ..Limits::default() };
    let router = router_within(vec![Arc::new(Target::new("never", Never))], &limits);
    assert_eq!(get(&router, "app").await.status(), 502);
}

#[tokio::test]
async fn an_app_that_closes_without_an_answer_is_502() {
    let app = raw_app(|mut stream, _| async move {
        read_head(&mut stream).await;
    })
    .await;
    let answer = get(&router(vec![app.target()]), "app").await;
    assert_eq!(
        (answer.status(), answer.body.as_str()),
        (502, "502: the app `app` closed the connection without an answer\n")
    );
}

#[tokio::test]
async fn an_app_that_does_not_speak_http_is_502() {
    let app = bytes_app("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    let answer = get(&router(vec![app.target()]), "app").await;
    assert_eq!(
        (answer.status(), answer.body.as_str()),
        (502, "502: the app `app` sent something that is not an HTTP response\n")
    );
}

#[tokio::test]
async fn an_app_that_does_not_answer_in_time_is_504() {
    let app = silent_app().await;
    let target = app.target();
    let limits = Limits { answer: Duration::from_secs(1), ..Limits::default() };
    let router = router_within(vec![target.clone()], &limits);
    let answer = get(&router, "app").await;
    assert_eq!((answer.status(), answer.body.as_str()), (504, "504: the app `app` did not answer within 1 s\n"));
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(target.in_flight(), 0);
}

#[tokio::test]
async fn a_target_that_takes_no_connection_is_passed_over() {
    let dead = || Arc::new(Target::new("dead", Direct(closed_port())));
    let app = says("alive").await;
    let router = router(vec![dead(), app.target(), dead()]);
    for _ in 0..6 {
        let answer = ask(&router, "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabc").await;
        assert_eq!(answer.body, "alive");
    }
}

#[tokio::test]
async fn a_page_reaches_a_client_that_still_sends_and_the_connection_goes_on() {
    let router = router(vec![]);
    let mut client = Client::new(&router).await;
    client.send("POST / HTTP/1.1\r\nHost: nobody\r\nContent-Length: 300000\r\n\r\n").await;
    client.send(vec![b'x'; 200_000]).await;
    assert_eq!(client.answer().await.status(), 404);
    client.send(vec![b'x'; 100_000]).await;
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: nobody\r\n\r\n").await.status(), 404);
}

#[tokio::test]
async fn a_head_request_gets_a_head() {
    let router = router(vec![]);
    let mut client = Client::new(&router).await;
    client.send("HEAD / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n").await;
    let all = client.rest().await;
    assert!(all.starts_with("HTTP/1.1 404") && all.ends_with("\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn a_listener_that_never_accepts_is_not_waited_for_longer_than_the_answer_may_take() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Arc::new(Target::new("deaf", Direct(listener.local_addr().unwrap())));
    let limits = Limits { answer: Duration::from_millis(100), ..Limits::default() };
    assert_eq!(get(&router_within(vec![target], &limits), "app").await.status(), 504);
}
