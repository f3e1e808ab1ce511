//! Clients that mean harm.

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use crate::support::{Client, ask, router, says};

#[tokio::test]
async fn pipelined_requests_are_answered_in_turn() {
    let app = says("hello").await;
    let router = router(vec![app.target()]);
    let mut client = Client::new(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\nPOST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
    for _ in 0..3 {
        assert_eq!(client.answer().await.body, "hello");
    }
}

/// Requests that are nearly right, and noise.
fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("GET / HTTP/1.1"),
        Just("POST http://app/ HTTP/1.1"),
        Just("OPTIONS * HTTP/1.0"),
        Just("PRI * HTTP/2.0"),
        Just("\u{1}")
    ];
    let header = prop_oneof![
        Just("Host: app".to_owned()),
        Just("Content-Length: 3".to_owned()),
        Just("Transfer-Encoding: chunked".to_owned()),
        Just("Connection: upgrade, close".to_owned()),
        Just("Upgrade: websocket".to_owned()),
        Just("Expect: 100-continue".to_owned()),
        "[A-Za-z_-]{1,12}: ?\\PC{0,20}",
        "\\PC{0,20}",
    ];
    let near = (line, proptest::collection::vec(header, 0..8), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(line, headers, body)| {
            let mut bytes = format!("{line}\r\n{}\r\n\r\n", headers.join("\r\n")).into_bytes();
            bytes.extend(body);
            bytes
        },
    );
    prop_oneof![3 => near, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

/// Whatever comes, each connection is answered or closed, and the router goes on.
#[test]
fn any_bytes_are_answered_or_end_the_connection() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (app, router) = runtime.block_on(async {
        let app = says("hello").await;
        let router = router(vec![app.target()]);
        (app, router)
    });
    proptest!(ProptestConfig::with_cases(300), |(bytes in request_bytes())| {
        runtime.block_on(async {
            let mut client = Client::new(&router).await;
            let _ = client.0.write_all(&bytes).await;
            let _ = client.0.shutdown().await;
            client.rest().await;
            assert_eq!(ask(&router, "GET / HTTP/1.1\r\nHost: app\r\n\r\n").await.body, "hello");
        });
    });
    drop(app);
}
