//! How many requests of one service were answered, how, and how fast.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;

/// Classes of answers, and at last those requests whose client went away before there was one.
const CLASSES: usize = 6;

/// Counts since the service was first routed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers by the first digit of their status, 1 to 5; then the requests whose client went away without one.
    pub classes: [u64; CLASSES],
    /// Answers whose head came after at most as long as [`Counts::BOUNDS`] says, each beyond the bound before; at last those
    /// that took longer.
    pub latency: [u64; Counts::BOUNDS.len() + 1],
    /// The sum of those times.
    pub waited: Duration,
    /// Bytes of requests' bodies that came.
    pub received: u64,
    /// Bytes of answers' bodies that were sent.
    pub sent: u64,
    /// Answers, among those of the fifth class, that are the router's own because no target gave one.
    pub failed: u64,
    /// How often a request was sent to another target, because one did not take it.
    pub retries: u64,
}

impl Counts {
    /// Bounds of the classes of latency, in microseconds.
    pub const BOUNDS: [u64; 13] = [
        1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
        10_000_000,
    ];
}

/// The same while it is counted: by any thread, and read at any time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    classes: [AtomicU64; CLASSES],
    latency: [AtomicU64; Counts::BOUNDS.len() + 1],
    micros: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    failed: AtomicU64,
    retries: AtomicU64,
}

impl Counters {
    /// The head of an answer, this long after that of the request.
    pub(crate) fn answered(&self, status: StatusCode, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES - 1) - 1;
        add(&self.classes[class], 1);
        add(&self.latency[Counts::BOUNDS.partition_point(|bound| *bound < micros)], 1);
        add(&self.micros, micros);
    }

    pub(crate) fn abandoned(&self) {
        add(&self.classes[CLASSES - 1], 1);
    }

    pub(crate) fn received(&self, bytes: u64) {
        add(&self.received, bytes);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        add(&self.sent, bytes);
    }

    pub(crate) fn failed(&self) {
        add(&self.failed, 1);
    }

    pub(crate) fn retried(&self, times: u64) {
        if times > 0 {
            add(&self.retries, times);
        }
    }

    pub(crate) fn read(&self) -> Counts {
        Counts {
            classes: self.classes.each_ref().map(get),
            latency: self.latency.each_ref().map(get),
            waited: Duration::from_micros(get(&self.micros)),
            received: get(&self.received),
            sent: get(&self.sent),
            failed: get(&self.failed),
            retries: get(&self.retries),
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_in_one_class() {
        let counters = Counters::default();
        for (status, micros) in [(101, 0), (200, 1_000), (204, 1_001), (302, 9_000), (404, 2_500), (599, 60_000_000)] {
            counters.answered(StatusCode::from_u16(status).unwrap(), Duration::from_micros(micros));
        }
        // The form of a status is checked nowhere.
        counters.answered(StatusCode::from_u16(999).unwrap(), Duration::ZERO);
        counters.abandoned();
        let counts = counters.read();
        assert_eq!(counts.classes, [1, 2, 1, 1, 2, 1]);
        assert_eq!(counts.latency, [3, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(counts.waited, Duration::from_micros(60_013_501));
    }
}
