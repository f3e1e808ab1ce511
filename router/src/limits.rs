//! What a client, an app and the machine may cost: every time and count that bounds the router.

use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use crate::proxies::Proxies;

/// Most bytes of a request's head.
pub(crate) const HEAD_BYTES: usize = 32 * 1024;

/// Most bytes buffered for each direction of a connection.
pub(crate) const BUFFER_BYTES: usize = 128 * 1024;

/// Room for the first read of a connection.
pub(crate) const FIRST_READ: usize = 4 * 1024;

/// Requests at once over one HTTP/2 connection.
const STREAMS: u32 = 128;

/// Bytes that an HTTP/2 client may send ahead of what an app takes: for one request, and for all of a connection. Half of the
/// latter is what h2 lets the overhead of small frames be that wait (up to 256 bytes each): a client that sends 2 048 tiny ones
/// ahead loses its connection. hyper has no other setting for it, and a larger window would be memory for whoever fills it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Requests that an HTTP/2 client has reset before anybody looked at them, and faults it has made: more end the
/// connection.
const RESETS: usize = 32;

/// Requests that an HTTP/2 client may take back, beyond as many as it lets be answered.
pub(crate) const TAKEN_BACK: usize = 128;

/// An HTTP/2 client that says nothing for this long is asked whether it is there.
const PING: Duration = Duration::from_secs(20);

/// How often idle connections to apps are looked through.
pub(crate) const SWEEP: Duration = Duration::from_millis(500);

/// Those that have been idle for so many sweeps are closed: usual app servers close theirs after 2 s.
pub(crate) const IDLE_SWEEPS: usize = 3;

/// How long the rest of a request's body is read and thrown away after an answer that came before its end.
/// Closing at once would make the kernel reset the connection, and the client would often lose the answer.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// Bounds that a router's owner may set; the defaults suit a server on the internet.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Threads, each with its own runtime and listener. Default: one per core.
    pub threads: usize,
    /// Most client connections served at once; more wait. Default: 10 000.
    pub connections: usize,
    /// Most of them from one address, a trusted proxy's apart; more are closed at once. Behind the PROXY protocol the
    /// address is the one that it says. Default: 2 500.
    pub connections_per_address: usize,
    /// A request's head must be complete this long after the connection opened or the previous answer ended; so this
    /// is how long an idle connection is kept, too. Default: 30 s.
    pub head: Duration,
    /// A client must send some of its body, and take some of the answer, within this time. To the kernel, which
    /// watches the latter, some is about as much as it sends at once: 64 kB. Default: 60 s.
    pub stall: Duration,
    /// Connecting to a target. Default: 5 s.
    pub connect: Duration,
    /// From the end of a request (or the last of its body passed on) to the head of the app's answer. Default: 60 s.
    pub answer: Duration,
    /// Proxies before the router that are believed. Default: none.
    pub proxies: Proxies,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            connections: 10_000,
            connections_per_address: 2_500,
            head: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(60),
            proxies: Proxies::default(),
        }
    }
}

/// The time for a head is kept by the connection's pulse, which needs no timer for each request. hyper is told that clients may close their
/// halves while they are answered; that they may not is seen to in [`crate::strict`].
pub(crate) fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .writev(false)
        .half_close(true);
    builder
}

pub(crate) fn http2<E: Clone>(limits: &Limits, executor: E) -> http2::Builder<E> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER_BYTES)
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(limits.head);
    builder
}
