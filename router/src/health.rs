//! Waiting until a new target can take requests.

use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Dial, Protocol};

/// What counts as healthy.
#[derive(Debug, Clone)]
pub struct Check {
    /// The path to ask with GET; None: accepting connections is enough (see [`wait`]).
    pub path: Option<String>,
    /// Value of the `Host` header.
    pub host: String,
    /// What it is to speak.
    pub protocol: Protocol,
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
    #[error("it speaks HTTP/2 without TLS (h2c), not HTTP/1.1")]
    OnlyHttp2,
    #[error("it does not speak HTTP/2 without TLS (h2c)")]
    NoHttp2,
}

/// The last thing seen before giving up is the caller's to keep: `seen` is called with the reason of each failed try.
/// Tries again at once at first, then every 50 ms at most; never gives up by itself: put it under a timeout, beside the
/// wait for the process's end.
///
/// With a path, returns after an answer below 400. Without one accepting is enough, but servers that fork (gunicorn)
/// accept before their workers have loaded the app, and end when that fails: so the first byte of an answer to
/// `OPTIONS *` (RFC 9110, 9.3.7: a "ping" of the server that asks nothing of the app) is waited for. Whoever accepts
/// and does not answer even that for `attempt` is taken as healthy.
///
/// In h2c both sides begin with their settings (RFC 9113, 3.4): an app without a path is healthy once it has sent these, and not before.
/// An app that answers in HTTP/2 where HTTP/1.1 is expected is not healthy either: no request would be understood.
pub async fn wait(dial: &dyn Dial, check: &Check, seen: &mut (dyn FnMut(String) + Send)) {
    let began = Instant::now();
    let mut accepted = None;
    while let Err(failed) = attempt(dial, check).await {
        let accepts = !matches!(failed, Failed::Dial(_) | Failed::OnlyHttp2);
        let since = accepts.then(|| *accepted.get_or_insert_with(Instant::now));
        accepted = since;
        let patient = since.is_some_and(|since| since.elapsed() >= check.attempt) || matches!(failed, Failed::Late(_));
        if check.path.is_none() && check.protocol == Protocol::Http1 && accepts && patient {
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
        Failed::Status { .. } | Failed::Hangs | Failed::OnlyHttp2 | Failed::NoHttp2 => LONGEST,
        _ => (waited / 50).clamp(Duration::from_millis(2), LONGEST),
    }
}

async fn attempt(dial: &dyn Dial, check: &Check) -> Result<(), Failed> {
    let tried = async {
        let stream = dial.dial().await?;
        match (&check.path, check.protocol) {
            (Some(path), _) => ask(stream, check, path).await,
            (None, Protocol::Http1) => ping(stream, &check.host).await,
            (None, Protocol::H2c) => exchange_settings(stream).await,
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
    let Ok(length @ 1..) = exchange.await else { return Err(Failed::Hangs) };
    if are_settings(&buffer[..length]) {
        return Err(Failed::OnlyHttp2);
    }
    // The rest is read away: an answer cut off in the middle would leave an error in the app's log.
    let rest = async { while let Ok(1..) = stream.read(&mut buffer).await {} };
    let _late = tokio::time::timeout(LAST_BYTES, rest).await;
    Ok(())
}

/// A client's first words in HTTP/2, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Bytes of a frame's head.
const FRAME_HEAD: usize = 9;

/// Whether this begins with an HTTP/2 server's first words.
fn are_settings(bytes: &[u8]) -> bool {
    const SETTINGS: u8 = 4;
    matches!(bytes, [0, _, _, SETTINGS, 0, 0, 0, 0, 0, ..])
}

async fn exchange_settings(mut stream: TcpStream) -> Result<(), Failed> {
    let mut head = [0; FRAME_HEAD];
    let exchange = async {
        stream.write_all(PREFACE).await?;
        stream.read_exact(&mut head).await
    };
    match exchange.await {
        Ok(_) if are_settings(&head) => Ok(()),
        Ok(_) => Err(Failed::NoHttp2),
        Err(_) => Err(Failed::Hangs),
    }
}

async fn ask(stream: TcpStream, check: &Check, path: &str) -> Result<(), Failed> {
    let path = path.to_owned();
    let answered = match check.protocol {
        Protocol::Http1 => over_http1(stream, check, &path).await?,
        Protocol::H2c => over_http2(stream, check, &path).await?,
    };
    let status = answered.map_err(|source| Failed::Exchange { path: path.clone(), source })?.status();
    if status.as_u16() < 400 { Ok(()) } else { Err(Failed::Status { path, status }) }
}

type Answered = hyper::Result<Response<hyper::body::Incoming>>;

async fn over_http1(stream: TcpStream, check: &Check, path: &str) -> Result<Answered, Failed> {
    let request = request(path, path, &[(header::HOST, &check.host), (header::CONNECTION, "close")])?;
    Ok(async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        driven(sender.send_request(request), connection).await
    }
    .await)
}

async fn over_http2(stream: TcpStream, check: &Check, path: &str) -> Result<Answered, Failed> {
    let request = request(path, &format!("http://{}{path}", check.host), &[])?;
    Ok(async {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        driven(sender.send_request(request), connection).await
    }
    .await)
}

fn request(path: &str, uri: &str, headers: &[(header::HeaderName, &str)]) -> Result<Request<Empty<Bytes>>, Failed> {
    let request = Request::get(uri).header(header::USER_AGENT, "airstrip-health");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, *value));
    request.body(Empty::new()).map_err(|source| Failed::Request { path: path.to_owned(), source })
}

/// The answer's head comes out of `answer` while `connection` is driven beside it, in this task.
async fn driven(
    answer: impl Future<Output = Answered>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> Answered {
    match futures_util::future::select(pin!(answer), pin!(connection)).await {
        futures_util::future::Either::Left((response, _)) => response,
        futures_util::future::Either::Right((_, answer)) => answer.await,
    }
}
