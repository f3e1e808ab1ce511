//! Waiting until a new target can take requests.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Dial;

/// What counts as healthy.
#[derive(Debug, Clone)]
pub struct Check {
    /// The path to ask with GET; None: accepting connections is enough (see [`wait`]).
    pub path: Option<String>,
    /// Value of the `Host` header.
    pub host: String,
    /// How long one try may take; without a path, how long an app that accepts but says nothing is given.
    pub attempt: Duration,
}

/// How long the rest of an answer is waited for whose first byte has come.
const LAST_BYTES: Duration = Duration::from_millis(20);

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("it does not accept connections: {0}")]
    Dial(#[from] std::io::Error),
    #[error("GET {path} was answered with {status}")]
    Status { path: String, status: StatusCode },
    #[error("GET {path} was not answered: {source}")]
    Exchange { path: String, source: hyper::Error },
    #[error("GET {path} cannot be asked: {source}")]
    Request { path: String, source: hyper::http::Error },
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("it accepts connections and closes them without an answer")]
    Hangs,
}

/// The last thing seen before giving up is the caller's to keep: `seen` is called with the reason of each failed try.
/// Tries again at once at first, then every 50 ms at most; never gives up by itself: put it under a timeout, beside the
/// wait for the process's end.
///
/// With a path, returns after an answer below 400. Without one accepting is enough, but servers that fork (gunicorn)
/// accept before their workers have loaded the app, and end when that fails: so the first byte of an answer to
/// `OPTIONS *` (RFC 9110, 9.3.7: a "ping" of the server that asks nothing of the app) is waited for. Whoever accepts
/// and does not answer even that for `attempt` is taken as healthy.
pub async fn wait(dial: &dyn Dial, check: &Check, seen: &mut (dyn FnMut(String) + Send)) {
    let began = Instant::now();
    let mut accepted = None;
    while let Err(failed) = attempt(dial, check).await {
        let accepts = !matches!(failed, Failed::Dial(_));
        let since = accepts.then(|| *accepted.get_or_insert_with(Instant::now));
        accepted = since;
        let patient = since.is_some_and(|since| since.elapsed() >= check.attempt) || matches!(failed, Failed::Late(_));
        if check.path.is_none() && accepts && patient {
            return;
        }
        seen(failed.to_string());
        tokio::time::sleep(pause(began.elapsed(), &failed)).await;
    }
}

/// A fiftieth of the time waited so far: it adds that much at most to an app's own start, and asks a slow one rarely.
/// An app that answers, but not well, is up: no need to fill its log.
fn pause(waited: Duration, failed: &Failed) -> Duration {
    const LONGEST: Duration = Duration::from_millis(50);
    match failed {
        Failed::Status { .. } | Failed::Hangs => LONGEST,
        _ => (waited / 50).clamp(Duration::from_millis(2), LONGEST),
    }
}

async fn attempt(dial: &dyn Dial, check: &Check) -> Result<(), Failed> {
    let tried = async {
        let stream = dial.dial().await?;
        match &check.path {
            Some(path) => ask(stream, &check.host, path).await,
            None => ping(stream, &check.host).await,
        }
    };
    tokio::time::timeout(check.attempt, tried).await.unwrap_or(Err(Failed::Late(check.attempt)))
}

async fn ping(mut stream: TcpStream, host: &str) -> Result<(), Failed> {
    let request =
        format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\nUser-Agent: airstrip-health\r\nConnection: close\r\n\r\n");
    let mut buffer = [0; 4096];
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read(&mut buffer).await
    };
    let Ok(1..) = exchange.await else { return Err(Failed::Hangs) };
    // The rest is read away: an answer cut off in the middle would leave an error in the app's log.
    let rest = async { while let Ok(1..) = stream.read(&mut buffer).await {} };
    let _late = tokio::time::timeout(LAST_BYTES, rest).await;
    Ok(())
}

async fn ask(stream: TcpStream, host: &str, path: &str) -> Result<(), Failed> {
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "airstrip-health")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|source| Failed::Request { path: path.to_owned(), source })?;
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answer = std::pin::pin!(sender.send_request(request));
        // The answer's head comes out of `answer` while `connection` is driven beside it, in this task.
        match futures_util::future::select(answer, connection).await {
            futures_util::future::Either::Left((response, _)) => response,
            futures_util::future::Either::Right((_, answer)) => answer.await,
        }
    };
    let response = exchange.await.map_err(|source| Failed::Exchange { path: path.to_owned(), source })?;
    let status = response.status();
    if status.as_u16() < 400 { Ok(()) } else { Err(Failed::Status { path: path.to_owned(), status }) }
}
