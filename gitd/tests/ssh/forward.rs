//! Forwarded connections (`ssh -L`), and those that are refused.

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::{Conversation, PATIENCE, World};

/// Sends everything back, after the end of the input.
async fn echo_once(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
}

/// A port that is free a moment later, most likely.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_closed_both_ways() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(echo_once(listener));
    let local = free_port().await;
    let option = format!("{local}:127.0.0.1:{target}");
    let forwarding = ["-o", "ExitOnForwardFailure=yes", "-L", &option, "say"];
    let mut client = Conversation::start(world.ssh().args(forwarding).stdin(Stdio::piped()));
    client.stdout_until("ready").await;

    let bytes = vec![7_u8; 3 << 20];
    let talk = async {
        let mut stream = TcpStream::connect(("127.0.0.1", local)).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        back
    };
    assert!(timeout(PATIENCE, talk).await.unwrap() == bytes);
    echo.await.unwrap();

    // Nobody listens there any more: the connection ends, the session does not.
    let mut refused = TcpStream::connect(("127.0.0.1", local)).await.unwrap();
    let mut nothing = Vec::new();
    let _reset = timeout(PATIENCE, refused.read_to_end(&mut nothing)).await.unwrap();
    assert!(nothing.is_empty());
    drop(client.process.stdin.take());
    assert!(client.succeeds().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_forwarding_agents_and_x11_are_refused_politely() {
    let world = World::new().await;
    let remote = format!("{}:127.0.0.1:1", free_port().await);
    let asked = ["-A", "-X", "-R", &remote, "true"];
    let finished = crate::harness::run(world.ssh().args(asked)).await;
    assert!(finished.status.success(), "{}", crate::harness::printed(&finished));
    let asked = ["-o", "ExitOnForwardFailure=yes", "-R", &remote, "true"];
    let finished = crate::harness::run(world.ssh().args(asked)).await;
    assert_eq!(finished.status.code(), Some(255));
    world.stop().await;
}
