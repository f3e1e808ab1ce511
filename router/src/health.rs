//! Waiting until a new target can take requests.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Dial;

/// What counts as healthy.
#[derive(Debug, Clone)]
pub struct Check {
    /// The path to ask with GET; None: accepting a connection is enough.
    pub path: Option<String>,
    /// Value of the `Host` header.
    pub host: String,
    /// How long one try may take.
    pub attempt: Duration,
}

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
}

/// The last thing seen before giving up is the caller's to keep: `seen` is called with the reason of each failed try.
/// Returns when one try succeeded (an answer below 400, if there is a path). Tries again at once at first, then every 50 ms at most;
/// never gives up by itself: put it under a timeout, beside the wait for the process's end.
pub async fn wait(dial: &dyn Dial, check: &Check, seen: &mut (dyn FnMut(String) + Send)) {
    let began = Instant::now();
    while let Err(failed) = attempt(dial, check).await {
        seen(failed.to_string());
        tokio::time::sleep(pause(began.elapsed(), &failed)).await;
    }
}

/// A fiftieth of the time waited so far: it adds that much at most to an app's own start, and asks a slow one rarely.
/// An app that answers, but not well, is up: no need to fill its log.
fn pause(waited: Duration, failed: &Failed) -> Duration {
    const LONGEST: Duration = Duration::from_millis(50);
    match failed {
        Failed::Status { .. } => LONGEST,
        _ => (waited / 50).clamp(Duration::from_millis(2), LONGEST),
    }
}

async fn attempt(dial: &dyn Dial, check: &Check) -> Result<(), Failed> {
    let tried = async {
        let stream = dial.dial().await?;
        match &check.path {
            Some(path) => ask(stream, &check.host, path).await,
            None => Ok(()),
        }
    };
    tokio::time::timeout(check.attempt, tried).await.unwrap_or(Err(Failed::Late(check.attempt)))
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
