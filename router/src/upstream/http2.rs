//! Connections to an app in HTTP/2, each driven by hyper in a task of its own, and shared by many requests.

use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::body::RequestBody;
use crate::limits::{BUFFER_BYTES, HEAD_BYTES};
use crate::onward::Onward;

/// Bytes that an app may send ahead of what a client takes, for one request.
const WINDOW: u32 = 64 * 1024;

/// The same for a connection: room for two thousand clients that take nothing, so that these hold no other up. Half of it is what h2
/// lets the overhead of small frames be that wait (up to 256 bytes each): a gRPC stream has one for each message, and an app that
/// passes the bound loses its connection with all that is on it.
const CONNECTION_WINDOW: u32 = 2048 * WINDOW;

/// A handle of a connection.
#[derive(Clone)]
pub(super) struct Shared(SendRequest<RequestBody>);

impl Shared {
    /// The connection ends by itself once nobody uses it, when the target hangs up, or with this thread's runtime.
    pub(super) async fn open(stream: TcpStream, hang_up: &CancellationToken) -> hyper::Result<Self> {
        let (sender, connection) = protocol().handshake(TokioIo::new(stream)).await?;
        let hang_up = hang_up.clone();
        tokio::spawn(async move { hang_up.run_until_cancelled(connection).await });
        Ok(Self(sender))
    }

    pub(super) fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    /// Sends; an error says whether nothing of the request was written: it has its body again, then.
    pub(super) async fn ask(mut self, onward: &mut Onward<'_>) -> Result<Response<Incoming>, (hyper::Error, bool)> {
        let asked = self.0.try_send_request(onward.take_as_http2()).await;
        asked.map_err(|mut error| {
            let unsent = error.take_message();
            let is_unsent = unsent.is_some();
            onward.body = unsent.map_or_else(RequestBody::default, Request::into_body);
            (error.into_error(), is_unsent)
        })
    }
}

fn protocol() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        .max_send_buf_size(BUFFER_BYTES);
    builder
}
