//! Answers `GET /metrics`: as little of a web server as a scraper needs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{measure, prometheus};
use crate::platform::Platform;

/// A request and its answer take at most this long.
const LIMIT: Duration = Duration::from_secs(10);
/// Most bytes of a request.
const HEAD_BYTES: u64 = 8 << 10;
/// Connections at once; more wait.
const CONNECTIONS: usize = 8;
/// The pause after a connection that could not be accepted.
const BREATH: Duration = Duration::from_millis(100);

/// Answers until the server is to end, or another takes its place.
pub async fn serve(platform: Arc<Platform>, listener: TcpListener) {
    let mut open = JoinSet::new();
    while let Some(accepted) = platform.duties.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => drop(open.spawn(tokio::time::timeout(LIMIT, answer(platform.clone(), stream)))),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection for metrics");
                tokio::time::sleep(BREATH).await;
            }
        }
        while open.len() >= CONNECTIONS {
            open.join_next().await;
        }
        while open.try_join_next().is_some() {}
    }
    // The rest is cut: a scraper asks again.
}

async fn answer(platform: Arc<Platform>, mut stream: TcpStream) -> io::Result<()> {
    let head = read_head(&mut stream).await?;
    let (status, kind, body) = if asks_for_metrics(&head) {
        match measure(&platform) {
            Ok(families) => ("200 OK", prometheus::CONTENT_TYPE, prometheus::text(&families)),
            Err(error) => ("500 Internal Server Error", "text/plain", format!("{error}\n")),
        }
    } else {
        ("404 Not Found", "text/plain", "the metrics are at /metrics\n".to_owned())
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut head, mut limited) = (Vec::new(), stream.take(HEAD_BYTES));
    while !head.ends_with(b"\r\n\r\n") {
        if limited.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn asks_for_metrics(head: &[u8]) -> bool {
    [&b"GET /metrics "[..], b"GET /metrics?"].iter().any(|start| head.starts_with(start))
}
