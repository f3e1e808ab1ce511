//! One client connection: over TLS or not, HTTP/1.1 or HTTP/2, from its first byte to its last.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::{HttpService, service_fn};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::conduct::{Conduct, Watched};
use crate::edge::Edge;
use crate::head::Client;
use crate::limits::{self, FIRST_READ};
use crate::sight::Seen;
use crate::strict::Strict;
use crate::tls::{self, Acceptor};
use crate::worker::Stop;

/// What opens every HTTP/2 connection (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An address that clients connect to.
pub(crate) struct Door {
    /// Its port, as apps are told.
    pub(crate) port: HeaderValue,
    /// None: HTTP without TLS.
    pub(crate) tls: Option<Acceptor>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Serves one client connection; once told to stop it ends after the answers in progress.
pub(crate) async fn serve(edge: Arc<Edge>, door: Arc<Door>, stream: TcpStream, peer: SocketAddr, stop: Stop) {
    let ended = match &door.tls {
        None => plain(edge, &door, stream, peer, stop).await,
        Some(acceptor) => encrypted(edge, &door, acceptor, stream, peer, stop).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "client connection");
    }
}

async fn plain(edge: Arc<Edge>, door: &Door, mut stream: TcpStream, peer: SocketAddr, stop: Stop) -> Result<(), Error> {
    let opening = timeout(edge.limits().head, opening(&mut stream));
    let Some(opened) = stop.now().run_until_cancelled(opening).await else { return Ok(()) };
    let (version, first) = opened.map_err(|_| Error::Slow)??;
    let client = Client::new(peer, door.port.clone(), HeaderValue::from_static("http"));
    Conversation { edge, client, stop }.run(stream, first, version).await
}

async fn encrypted(
    edge: Arc<Edge>,
    door: &Door,
    acceptor: &Acceptor,
    stream: TcpStream,
    peer: SocketAddr,
    stop: Stop,
) -> Result<(), Error> {
    let handshake = timeout(edge.limits().head, acceptor.accept(stream));
    let Some(shaken) = stop.now().run_until_cancelled(handshake).await else { return Ok(()) };
    let stream = shaken.map_err(|_| Error::Slow)??;
    let version = match tls::protocol(&stream) {
        Some(tls::H2) => Version::Http2,
        // The handshake itself was the authority's question and the answer.
        Some(tls::ACME) => return Ok(()),
        _ => Version::Http1,
    };
    let client = Client::new(peer, door.port.clone(), HeaderValue::from_static("https"));
    Conversation { edge, client, stop }.run(stream, Bytes::new(), version).await
}

/// Reads until it is clear whether HTTP/2 is spoken; what was read is part of what follows.
async fn opening(stream: &mut TcpStream) -> io::Result<(Version, Bytes)> {
    let mut first = Vec::with_capacity(FIRST_READ);
    loop {
        let read = stream.read_buf(&mut first).await?;
        if first.starts_with(PREFACE) {
            return Ok((Version::Http2, first.into()));
        }
        if read == 0 || !PREFACE.starts_with(&first) {
            return Ok((Version::Http1, first.into()));
        }
    }
}

/// What is needed to serve one connection.
struct Conversation {
    edge: Arc<Edge>,
    client: Client,
    stop: Stop,
}

impl Conversation {
    async fn run<I>(self, stream: I, first: Bytes, version: Version) -> Result<(), Error>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match version {
            Version::Http1 => self.http1(Strict::new(stream, first)).await,
            Version::Http2 => self.http2(Strict::unchecked(stream, first)).await,
        }
    }

    async fn http1<I>(self, stream: Strict<I>) -> Result<(), Error>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let conduct = Arc::new(Conduct::default());
        // One count for each connection: every request copies it.
        let stop = Arc::new(self.stop.clone());
        let asking = move |answer: &mut Response<Seen>| {
            if stop.is_said() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        };
        let service = service(Arc::clone(&self.edge), self.client, conduct, asking);
        let protocol = limits::http1(self.edge.limits());
        let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service).with_upgrades());
        tokio::select! {
            biased;
            ended = connection.as_mut() => Ok(ended?),
            () = self.stop.now().cancelled() => {
                connection.as_mut().graceful_shutdown();
                Ok(connection.await?)
            }
        }
    }

    /// Ends, after the answers in progress, when no request has begun for as long as an idle connection is kept; and at
    /// once when the client misbehaves.
    async fn http2<I>(self, stream: Strict<I>) -> Result<(), Error>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let conduct = Arc::new(Conduct::default());
        let service = service(Arc::clone(&self.edge), self.client, Arc::clone(&conduct), |_| ());
        let protocol = limits::http2(self.edge.limits(), TokioExecutor::new());
        let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let ending = async {
            tokio::select! {
                () = self.stop.soon().cancelled() => {}
                () = conduct.idle(self.edge.limits().head) => {}
            }
        };
        let mut cut = pin!(async {
            tokio::select! {
                () = conduct.bad() => Error::Conduct,
                () = conduct.stalled(self.edge.limits().stall) => Error::Stalled,
            }
        });
        tokio::select! {
            biased;
            why = cut.as_mut() => return Err(why),
            ended = connection.as_mut() => return Ok(ended?),
            () = ending => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            why = cut => Err(why),
            ended = connection => Ok(ended?),
        }
    }
}

fn service(
    edge: Arc<Edge>,
    client: Client,
    conduct: Arc<Conduct>,
    parting: impl Fn(&mut Response<Seen>) + Clone + Send,
) -> impl HttpService<Incoming, ResBody = Watched, Error = Infallible, Future: Send> {
    service_fn(move |request: Request<Incoming>| {
        let (edge, client, conduct) = (Arc::clone(&edge), client.clone(), Arc::clone(&conduct));
        let parting = parting.clone();
        async move {
            let begun = conduct.begin();
            let mut answer: Response<Seen> = edge.answer(&client, request).await;
            parting(&mut answer);
            begun.answered();
            Ok(answer.map(|body| conduct.watch(body)))
        }
    })
}

/// Why a connection ended otherwise than by agreement.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("it did not begin in time")]
    Slow,
    #[error("it took back too many requests")]
    Conduct,
    #[error("it did not take the answers it asked for")]
    Stalled,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}
