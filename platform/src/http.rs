//! How the router handles an app's requests: the app's own settings, effective at once, without a release or a restart.

use std::time::Duration;

use router::Queue;
use serde::{Deserialize, Serialize};

use crate::logs::AccessFormat;
use crate::tls::Source;

/// Settings of an app's HTTP side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpSettings {
    /// Requests are logged in this form; None: they are not.
    pub access_log: Option<AccessFormat>,
    /// Answers that the app did not compress are, for clients that take it.
    pub compress: bool,
    /// Answers say how long the app took, and the router (`Server-Timing`).
    pub server_timing: bool,
    /// Where visitors without TLS are sent.
    pub https: HttpsMode,
    /// For so many seconds browsers are told to come with TLS alone.
    pub hsts: Option<u64>,
    /// A browser's requests go to the same instance as long as that is there.
    pub sticky: bool,
    /// Most bytes of a request's body.
    pub body: Option<u64>,
    /// Most requests and upgraded connections at once.
    pub in_flight: Option<u32>,
    /// Most requests a second of one client address, over time.
    pub rate: Option<u32>,
    /// What its instances speak, from their next start on: code that speaks another comes with a push.
    pub protocol: Protocol,
    /// For so many seconds a request waits for an instance, instead of failing at once; 0: it does not.
    pub wait: u64,
    /// For so many seconds upgraded connections and streams of events to an instance that was replaced live on; then it is told to end.
    pub drain: u64,
}

/// Most requests of an app that wait at once.
const WAITING: usize = 256;
/// Requests of one address at once, after a pause: so many times those of a second.
const BURST: u32 = 4;

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            access_log: None,
            compress: false,
            server_timing: false,
            https: HttpsMode::Auto,
            hsts: None,
            sticky: false,
            body: None,
            in_flight: None,
            rate: None,
            protocol: Protocol::Http1,
            wait: 10,
            drain: 30,
        }
    }
}

/// What an app's web processes speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge: what gRPC needs.
    H2c,
}

impl Protocol {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2c => "h2c",
        }
    }

    /// As the router calls it.
    pub fn for_router(self) -> router::Protocol {
        match self {
            Self::Http1 => router::Protocol::Http1,
            Self::H2c => router::Protocol::H2c,
        }
    }
}

/// What becomes of visitors who come without TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpsMode {
    /// They are sent to HTTPS once there is a certificate that browsers trust.
    #[default]
    Auto,
    /// They are sent to HTTPS once there is a certificate.
    Redirect,
    /// They are served as they come.
    Both,
}

impl HttpsMode {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Redirect => "redirect",
            Self::Both => "both",
        }
    }

    /// Whether visitors of a name are sent to HTTPS, by where its certificate comes from.
    pub fn redirects(self, certificate: Option<Source>) -> bool {
        match self {
            Self::Auto => certificate.is_some_and(|source| source != Source::Local),
            Self::Redirect => certificate.is_some(),
            Self::Both => false,
        }
    }
}

impl HttpSettings {
    /// What of it the router does by itself.
    pub fn for_router(self) -> router::Settings {
        let hsts = |seconds| router::Hsts { max_age: Duration::from_secs(seconds), subdomains: false, preload: false };
        let rate = |per_second: u32| router::Rate { per_second, burst: per_second.saturating_mul(BURST) };
        let queue = queue(Duration::from_secs(self.wait));
        router::Settings {
            compress: self.compress,
            server_timing: self.server_timing,
            hsts: self.hsts.map(hsts),
            sticky: self.sticky,
            body: self.body,
            in_flight: self.in_flight.map(|count| count as usize),
            rate: self.rate.map(rate),
            queue: Some(queue).filter(|queue| !queue.patience.is_zero()),
            ..router::Settings::default()
        }
    }
}

/// Where requests of an app wait for an instance, each at most so long.
pub fn queue(patience: Duration) -> Queue {
    Queue { places: WAITING, patience }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitors_are_sent_to_https_where_it_can_be_used() {
        let certificates = [None, Some(Source::Local), Some(Source::Acme), Some(Source::Own), Some(Source::Server)];
        let redirects = |mode: HttpsMode| certificates.map(|certificate| mode.redirects(certificate));
        assert_eq!(redirects(HttpsMode::Auto), [false, false, true, true, true]);
        assert_eq!(redirects(HttpsMode::Redirect), [false, true, true, true, true]);
        assert_eq!(redirects(HttpsMode::Both), [false; 5]);
    }
}
