//! Whether a connection in HTTP/1 is in use, and for how long it has not been.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::compress::Broken;
use crate::sight::Seen;

/// One connection's. All of it is read and written in the connection's own task; what else holds it only hands it on.
#[derive(Default)]
pub(crate) struct Pulse {
    /// Requests that are being answered.
    open: AtomicUsize,
    /// Those that have begun.
    begun: AtomicUsize,
    /// What has come is whole requests.
    between: AtomicBool,
    /// What was to be written has not been, all of it.
    unwritten: AtomicBool,
}

/// For how long it has been idle.
pub(crate) struct Rest {
    begun: usize,
    /// Ticks of the clock.
    since: u64,
    looked: u64,
}

/// Ticks after which an idle connection is likely to stay so.
pub(crate) const BRIEF: u64 = 2;

/// What an idle connection does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Still {
    /// It has nothing under way and may not have for some time.
    Resting,
    /// The client has not said what it wants for too long.
    TooLong,
}

/// A request that is being answered, until this is dropped.
pub(crate) struct Open(Arc<Pulse>);

/// An answer's body, with its request.
pub(crate) struct Beat {
    body: Seen,
    #[expect(dead_code, reason = "the request ends when it is dropped")]
    open: Open,
}

impl Pulse {
    pub(crate) fn begin(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    pub(crate) fn read(&self, between: bool) {
        self.between.store(between, Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self, all: bool) {
        self.unwritten.store(!all, Ordering::Relaxed);
    }

    /// Requests that have begun, while one is being answered.
    pub(crate) fn answering(&self) -> Option<usize> {
        (self.open.load(Ordering::Relaxed) > 0).then(|| self.begun.load(Ordering::Relaxed))
    }

    /// Whether nothing but the connection itself would be lost if what serves it ended.
    fn rests(&self) -> bool {
        self.is_idle() && self.between.load(Ordering::Relaxed)
    }

    /// Whether nothing is being answered.
    fn is_idle(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0 && !self.unwritten.load(Ordering::Relaxed)
    }
}

impl Rest {
    /// Ticks for which it is idle may be one too few.
    pub(crate) fn new(now: u64) -> Self {
        Self { begun: 0, since: now, looked: now }
    }

    /// What there is to do about the connection, looked at once in every tick.
    pub(crate) fn look(&mut self, pulse: &Pulse, now: u64, most: u64) -> Option<Still> {
        if std::mem::replace(&mut self.looked, now) == now {
            return None;
        }
        let begun = pulse.begun.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.begun, begun) != begun || !pulse.is_idle() {
            self.since = now;
        }
        let idle = now - self.since;
        if idle > most {
            return Some(Still::TooLong);
        }
        (idle >= BRIEF && pulse.rests()).then_some(Still::Resting)
    }
}

impl Open {
    pub(crate) fn until_sent(self, body: Seen) -> Beat {
        Beat { body, open: self }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Body for Beat {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_between_two_requests_rests() {
        let pulse = Arc::new(Pulse::default());
        let mut rest = Rest::new(0);
        let mut look = |pulse: &Pulse, now| rest.look(pulse, now, 10);
        assert_eq!(look(&pulse, 5), None, "half a head");
        pulse.read(true);
        assert_eq!(look(&pulse, 5), None, "looked at in this tick");
        assert_eq!(look(&pulse, 6), Some(Still::Resting));
        let open = pulse.begin();
        assert_eq!(look(&pulse, 7), None);
        assert_eq!(look(&pulse, 50), None, "it is being answered");
        pulse.wrote(false);
        drop(open);
        assert_eq!(look(&pulse, 60), None, "it has been answered, and that is being sent");
        pulse.wrote(true);
        assert_eq!(look(&pulse, 61), None);
        assert_eq!(look(&pulse, 62), Some(Still::Resting));
        drop(pulse.begin());
        assert_eq!(look(&pulse, 63), None, "there was a request meanwhile");
        pulse.read(false);
        assert_eq!(look(&pulse, 73), None);
        assert_eq!(look(&pulse, 74), Some(Still::TooLong));
    }
}
