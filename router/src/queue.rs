//! Requests that no target takes, and that may wait for one.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep_until};

use crate::meter::Place;
use crate::table::Service;

/// How often the table is read again at once when all targets of a service have begun to drain.
const REREADS: usize = 3;

/// A target may take connections again without a change of the table: it is asked this often.
const AGAIN: Duration = Duration::from_millis(50);

/// One request's patience.
#[derive(Default)]
pub(crate) struct Patience {
    rereads: usize,
    waiting: Option<(Place, Instant)>,
}

impl Patience {
    /// Whether to read the table again at once, after finding that everything in it drains.
    pub(crate) fn rereads(&mut self) -> bool {
        self.rereads += 1;
        self.rereads <= REREADS
    }

    /// Waits until it is worth trying again: not at all, if the service has been `replaced` already. False if the request
    /// may not wait (any longer).
    pub(crate) async fn wait(&mut self, service: &Service, changed: Pin<&mut Notified<'_>>, replaced: bool) -> bool {
        let Some(queue) = service.settings.queue else { return false };
        let now = Instant::now();
        if self.waiting.is_none() {
            self.waiting = service.meter.wait(queue.places).map(|place| (place, now + queue.patience));
        }
        let Some((_, until)) = self.waiting else { return false };
        if now >= until {
            return false;
        }
        if replaced {
            return true;
        }
        tokio::select! {
            () = changed => {}
            () = sleep_until(until.min(now + AGAIN)) => {}
        }
        true
    }
}
