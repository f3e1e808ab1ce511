//! What can be measured of the server and its apps from outside, and who asks for it or is sent it.
//!
//! Names and labels are few and known: apps, their places, and fixed classes. What a client sends is never part of one.

mod prometheus;
mod push;
mod scrape;

use std::borrow::Cow;

use router::Counts;

use crate::platform::Platform;
use crate::store::App;

pub use push::{Protocol, push};
pub use scrape::serve;

/// One thing that is measured.
#[derive(Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One value of it.
#[derive(Debug)]
struct Sample {
    /// Follows the family's name.
    suffix: &'static str,
    labels: Vec<(&'static str, Cow<'static, str>)>,
    value: f64,
}

impl Family {
    fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, help, kind, samples: Vec::new() }
    }

    fn add(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.add_with("", labels, value);
    }

    fn add_with(&mut self, suffix: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| (*name, Cow::Owned((*value).to_owned()))).collect();
        self.samples.push(Sample { suffix, labels, value });
    }
}

/// What is measured of requests.
struct Requests {
    answered: Family,
    latency: Family,
    in_flight: Family,
    waiting: Family,
    retries: Family,
    received: Family,
    sent: Family,
    unlogged: Family,
}

impl Requests {
    fn new() -> Self {
        use Kind::{Counter, Gauge, Histogram};
        Self {
            answered: Family::new(
                "airstrip_http_requests_total",
                Counter,
                "Requests by the class of their answer; aborted: the client went away before there was one.",
            ),
            latency: Family::new(
                "airstrip_http_request_duration_seconds",
                Histogram,
                "From the head of a request to the head of its answer.",
            ),
            in_flight: Family::new(
                "airstrip_http_requests_in_flight",
                Gauge,
                "Requests and upgraded connections that are being answered.",
            ),
            waiting: Family::new(
                "airstrip_http_requests_waiting",
                Gauge,
                "Requests that wait for an instance that takes them.",
            ),
            retries: Family::new(
                "airstrip_http_retries_total",
                Counter,
                "Requests sent to another instance because one did not take them.",
            ),
            received: Family::new("airstrip_http_request_bytes_total", Counter, "Bytes of requests' bodies."),
            sent: Family::new("airstrip_http_response_bytes_total", Counter, "Bytes of answers' bodies."),
            unlogged: Family::new(
                "airstrip_access_log_dropped_total",
                Counter,
                "Requests that came faster than they could be logged.",
            ),
        }
    }

    fn add(&mut self, platform: &Platform, app: &App) {
        let (meter, labels) = (platform.traffic.meter(app.id), [("app", app.name.as_str())]);
        let counts = meter.counts();
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted"].into_iter().zip(counts.classes) {
            self.answered.add(&[labels[0], ("class", class)], float(count));
        }
        add_latency(&mut self.latency, app.name.as_str(), &counts);
        self.in_flight.add(&labels, float(meter.in_flight() as u64));
        self.waiting.add(&labels, float(meter.waiting() as u64));
        self.retries.add(&labels, float(counts.retries));
        self.received.add(&labels, float(counts.received));
        self.sent.add(&labels, float(counts.sent));
        self.unlogged.add(&labels, float(platform.traffic.dropped(app.id)));
    }

    fn families(self) -> [Family; 8] {
        let Self { answered, latency, in_flight, waiting, retries, received, sent, unlogged } = self;
        [answered, latency, in_flight, waiting, retries, received, sent, unlogged]
    }
}

fn add_latency(family: &mut Family, app: &str, counts: &Counts) {
    let bounds = Counts::BOUNDS.iter().map(|micros| (float(*micros) / 1e6).to_string());
    let mut sum = 0;
    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts.latency) {
        sum += count;
        family.add_with("_bucket", &[("app", app), ("le", &bound)], float(sum));
    }
    family.add_with("_sum", &[("app", app)], counts.waited.as_secs_f64());
    family.add_with("_count", &[("app", app)], float(sum));
}

/// Everything, as it is now.
pub fn measure(platform: &Platform) -> crate::failure::Result<Vec<Family>> {
    let mut requests = Requests::new();
    let mut instances = Family::new("airstrip_instance_state", Kind::Gauge, "1 for the state that an instance is in.");
    let mut restarts =
        Family::new("airstrip_instance_restarts", Kind::Gauge, "Restarts after a death, as `ps` shows them.");
    for app in platform.store.apps()?.iter().filter(|app| !app.destroying) {
        requests.add(platform, app);
        for place in platform.formations.of(app.id).places() {
            let (now, process) = (place.occupancy(), place.process.to_string());
            let labels = [("app", app.name.as_str()), ("process", &process)];
            instances.add(&[labels[0], labels[1], ("state", &platform.state_of(&place).to_string())], 1.0);
            restarts.add(&labels, now.restarts.into());
        }
    }
    Ok(requests.families().into_iter().chain([instances, restarts]).collect())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts beyond 2^53 lose their last digits, as they would in what reads this"
)]
fn float(count: u64) -> f64 {
    count as f64
}
