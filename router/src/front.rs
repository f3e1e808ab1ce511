//! One client connection: over TLS or not, HTTP/1.1 or HTTP/2, from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, FusedFuture};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::{HttpService, service_fn};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::addresses::Open;
use crate::conduct::{Conduct, Watched};
use crate::edge::Edge;
use crate::head::Client;
use crate::limits::{self, FIRST_READ};
use crate::proxy_protocol::{self, Unannounced};
use crate::pulse::{BRIEF, Beat, Pulse, Rest, Still};
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

/// Serves one client connection; once told to stop it ends after the answers in progress. What it takes to begin lies apart, and is freed
/// then: what lasts is small, and found at once by the processor.
pub(crate) fn serve(
    edge: Arc<Edge>,
    door: Arc<Door>,
    stream: TcpStream,
    (peer, open): (SocketAddr, Open),
    stop: Stop,
) -> impl Future<Output = ()> + Send {
    let begun = Box::pin(begin(edge, door, stream, (peer, open), stop));
    async move {
        let ended = match begun.await {
            Ok(Some((serving, _open))) => serving.await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "client connection");
        }
    }
}

/// What serves a connection after its first bytes.
type Serving = BoxFuture<'static, Result<(), Error>>;

/// None if there is nothing to serve.
async fn begin(
    edge: Arc<Edge>,
    door: Arc<Door>,
    mut stream: TcpStream,
    (peer, mut open): (SocketAddr, Open),
    stop: Stop,
) -> Result<Option<(Serving, Open)>, Error> {
    let client = announced(&edge, &door, &mut stream, (peer, &mut open), &stop).await?;
    let conversation = Arc::new(Conversation { edge, client, stop });
    let serving = match &door.tls {
        None => begin_plain(&conversation, stream).await?,
        Some(acceptor) => Box::pin(begin_encrypted(&conversation, acceptor, stream)).await?,
    };
    Ok(serving.map(|serving| (serving, open)))
}

/// Who it is: the peer, or whoever a trusted proxy says, who then must have a place of their own.
async fn announced(
    edge: &Edge,
    door: &Door,
    stream: &mut TcpStream,
    (peer, open): (SocketAddr, &mut Open),
    stop: &Stop,
) -> Result<Client, Error> {
    let scheme = HeaderValue::from_static(if door.tls.is_some() { "https" } else { "http" });
    let limits = edge.limits();
    if !limits.proxies.announces(peer.ip()) {
        return Ok(Client::new(peer, door.port.clone(), scheme));
    }
    // On the heap, here and below, so that most connections need not be as large as some.
    let read = Box::pin(timeout(limits.head, proxy_protocol::read(stream)));
    let read = stop.now().run_until_cancelled(read).await.unwrap_or(Ok(Ok(None)));
    Ok(match read.map_err(|_| Error::Slow)?? {
        Some(origin) if !open.becomes(origin.client.ip(), limits.connections_per_address) => {
            return Err(Error::Crowded(origin.client.ip()));
        }
        Some(origin) => Client::new(origin.client, HeaderValue::from(origin.to.port()), scheme),
        None => Client::new(peer, door.port.clone(), scheme),
    })
}

async fn begin_plain(conversation: &Arc<Conversation>, mut stream: TcpStream) -> Result<Option<Serving>, Error> {
    let opening = timeout(conversation.edge.limits().head, opening(&mut stream));
    let Some(opened) = conversation.stop.now().run_until_cancelled(opening).await else { return Ok(None) };
    let (version, first) = opened.map_err(|_| Error::Slow)??;
    Ok(Some(Arc::clone(conversation).run(stream, first, version)))
}

async fn begin_encrypted(
    conversation: &Arc<Conversation>,
    acceptor: &Acceptor,
    stream: TcpStream,
) -> Result<Option<Serving>, Error> {
    let handshake = timeout(conversation.edge.limits().head, acceptor.accept(stream));
    let Some(shaken) = conversation.stop.now().run_until_cancelled(handshake).await else { return Ok(None) };
    let stream = Box::new(shaken.map_err(|_| Error::Slow)??);
    let version = match tls::protocol(&stream) {
        Some(tls::H2) => Version::Http2,
        // The handshake itself was the authority's question and the answer.
        Some(tls::ACME) => return Ok(None),
        _ => Version::Http1,
    };
    Ok(Some(Arc::clone(conversation).run(stream, Bytes::new(), version)))
}

/// Reads until it is clear whether HTTP/2 is spoken; what was read is part of what follows.
async fn opening(stream: &mut TcpStream) -> io::Result<(Version, Bytes)> {
    // No memory before there is something to read.
    stream.readable().await?;
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
    fn run<I: Stirs>(self: Arc<Self>, stream: I, first: Bytes, version: Version) -> Serving {
        let pulse = Arc::new(Pulse::default());
        match version {
            Version::Http1 => {
                let promises = Arc::clone(&self.client.promises);
                Box::pin(self.http1(Strict::new(stream, first, Arc::clone(&pulse), promises), pulse))
            }
            Version::Http2 => Box::pin(self.http2(Strict::unchecked(stream, first))),
        }
    }

    /// Nothing but the socket is kept of a connection that rests: what hyper needs for it comes and goes.
    async fn http1<I: Stirs>(self: Arc<Self>, mut stream: Strict<I>, pulse: Arc<Pulse>) -> Result<(), Error> {
        let rested = self.edge.clock().length(BRIEF);
        let idle = self.edge.limits().head.saturating_sub(rested);
        while let Some(resting) = Box::pin(self.wake(stream, &pulse)).await? {
            let stirring = timeout(idle, poll_fn(|cx| resting.stream().poll_stirs(cx)));
            match self.stop.now().run_until_cancelled(stirring).await {
                Some(Ok(stirs)) => stirs?,
                Some(Err(_)) | None => return Ok(()),
            }
            stream = resting;
        }
        Ok(())
    }

    /// Serves until the connection ends, or rests.
    async fn wake<I: Stirs>(
        self: &Arc<Self>,
        stream: Strict<I>,
        pulse: &Arc<Pulse>,
    ) -> Result<Option<Strict<I>>, Error> {
        let clock = self.edge.clock();
        let longest = clock.ticks_in(self.edge.limits().head);
        let protocol = limits::http1();
        let mut connection = protocol.serve_connection(TokioIo::new(stream), self.answers(pulse)).with_upgrades();
        let mut stopping = pin!(self.stop.now().cancelled().fuse());
        let (mut rest, mut asked) = (Rest::new(clock.now()), false);
        let still = pin!(poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(ended.map(|()| None));
            }
            // Asked once, it wakes this task.
            if (!std::mem::replace(&mut asked, true) || self.stop.is_now())
                && !stopping.is_terminated()
                && stopping.as_mut().poll(cx).is_ready()
            {
                Pin::new(&mut connection).graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            rest.look(pulse, clock.now(), longest).map_or(Poll::Pending, |still| Poll::Ready(Ok(Some(still))))
        }));
        match clock.ticking(still).await? {
            None => return Ok(None),
            Some(Still::TooLong) => return Err(Error::Slow),
            Some(Still::Resting) => {}
        }
        let parts = connection.into_parts();
        // Only empty lines may have come after the last request.
        Ok(parts.filter(|parts| parts.read_buf.trim_ascii().is_empty()).map(|parts| parts.io.into_inner()))
    }

    fn answers(
        self: &Arc<Self>,
        pulse: &Arc<Pulse>,
    ) -> impl HttpService<Incoming, ResBody = Beat, Error = Infallible, Future: Send> + use<> {
        let (conversation, pulse) = (Arc::clone(self), Arc::clone(pulse));
        service_fn(move |request: Request<Incoming>| {
            let (conversation, open) = (Arc::clone(&conversation), pulse.begin());
            let mut heard = conversation.edge.hear(&conversation.client, request);
            async move {
                let mut answer = conversation.edge.answer(&conversation.client, &mut heard).await;
                if conversation.stop.is_said() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok(answer.map(|body| open.until_sent(body)))
            }
        })
    }

    /// Ends, after the answers in progress, when no request has begun for as long as an idle connection is kept; and at
    /// once when the client misbehaves.
    async fn http2<I: Stirs>(self: Arc<Self>, stream: Strict<I>) -> Result<(), Error> {
        let conduct = Arc::new(Conduct::default());
        let service = self.streams(&conduct);
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

    fn streams(
        self: &Arc<Self>,
        conduct: &Arc<Conduct>,
    ) -> impl HttpService<Incoming, ResBody = Watched, Error = Infallible, Future: Send> + use<> {
        let (conversation, conduct) = (Arc::clone(self), Arc::clone(conduct));
        service_fn(move |request: Request<Incoming>| {
            let (conversation, conduct) = (Arc::clone(&conversation), Arc::clone(&conduct));
            let mut heard = conversation.edge.hear(&conversation.client, request);
            async move {
                let begun = conduct.begin();
                let Conversation { edge, client, .. } = &*conversation;
                let answer = edge.clock().ticking(pin!(edge.answer(client, &mut heard))).await;
                begun.answered();
                Ok(answer.map(|body| conduct.watch(body)))
            }
        })
    }
}

/// A connection of which is known whether there is something to read.
trait Stirs: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// Ready when something has come, or its end.
    fn poll_stirs(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Stirs for TcpStream {
    fn poll_stirs(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

/// What has been decrypted has been read: it was read until there was no more.
impl Stirs for Box<TlsStream<TcpStream>> {
    fn poll_stirs(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_ref().0.poll_read_ready(cx)
    }
}

/// Why a connection ended otherwise than by agreement.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0} has as many connections as it may")]
    Crowded(IpAddr),
    #[error("it did not begin in time")]
    Slow,
    #[error("it took back too many requests")]
    Conduct,
    #[error("it did not take the answers it asked for")]
    Stalled,
    #[error(transparent)]
    Unannounced(#[from] Unannounced),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}
