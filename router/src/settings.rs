//! How the requests for one service are handled; by default all are passed on, without limits of its own.

use std::time::Duration;

use hyper::header::HeaderValue;

/// Settings of a service.
#[expect(clippy::struct_excessive_bools, reason = "each is a setting by itself")]
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Requests that come without TLS are redirected (308), where the router listens for HTTPS.
    pub https_only: bool,
    /// Browsers are told to come with TLS alone, where they have.
    pub hsts: Option<Hsts>,
    /// Most bytes of a request's body; more are answered with 413.
    pub body: Option<u64>,
    /// Most requests and upgraded connections at once; more are answered with 503.
    pub in_flight: Option<usize>,
    /// How often one client address may ask; more often is answered with 429.
    pub rate: Option<Rate>,
    /// Requests that no target takes wait instead of failing at once.
    pub queue: Option<Queue>,
    /// A browser's requests go to the same target as long as that is there: by a cookie.
    pub sticky: bool,
    /// Answers that the app did not compress are, for clients that take it.
    pub compress: bool,
    /// Answers say how long the app took, and the router (`Server-Timing`).
    pub server_timing: bool,
}

/// `Strict-Transport-Security` (RFC 6797).
#[derive(Debug, Clone)]
pub struct Hsts {
    /// For how long from now on.
    pub max_age: Duration,
    /// For all names below this one, too.
    pub subdomains: bool,
    /// The owner wants the name in the lists that browsers come with.
    pub preload: bool,
}

/// How often one client address may ask. Of IPv6 addresses those with the same first 64 bits are one.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Requests a second, over time.
    pub per_second: u32,
    /// Requests at once, after a pause.
    pub burst: u32,
}

/// Requests that wait for a target.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    /// Most of them at once.
    pub places: usize,
    /// How long each waits at most.
    pub patience: Duration,
}

impl Hsts {
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let subdomains = if self.subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        HeaderValue::try_from(format!("max-age={}{subdomains}{preload}", self.max_age.as_secs())).ok()
    }
}
