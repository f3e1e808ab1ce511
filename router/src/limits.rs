//! What a client, an app and the machine may cost: every time and count that bounds the router.

use std::time::Duration;

/// Most bytes of a request's head.
pub(crate) const HEAD_BYTES: usize = 32 * 1024;

/// Most bytes buffered for each direction of a connection.
pub(crate) const BUFFER_BYTES: usize = 128 * 1024;

/// Idle connections to an app older than this are closed: usual app servers close theirs after 2 s.
pub(crate) const IDLE: Duration = Duration::from_millis(1500);

/// How often idle connections are looked through.
pub(crate) const SWEEP: Duration = Duration::from_millis(500);

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
    /// A request's head must be complete this long after the connection opened or the previous answer ended; so this
    /// is how long an idle connection is kept, too. Default: 30 s.
    pub head: Duration,
    /// A client must send some of its body, and take some of the answer, within this time. Default: 60 s.
    pub stall: Duration,
    /// Connecting to a target. Default: 5 s.
    pub connect: Duration,
    /// From the end of a request (or the last of its body passed on) to the head of the app's answer. Default: 60 s.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            connections: 10_000,
            head: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(60),
        }
    }
}
