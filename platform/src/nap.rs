//! Whether an app sleeps, and whether it is time for it: what the router, the watch of [`crate::sleep`] and sessions inside know of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use router::{Meter, Wake};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::store::AppId;

/// Every app's.
#[derive(Debug, Default)]
pub struct Naps {
    apps: Mutex<HashMap<AppId, Arc<Nap>>>,
    /// Told when one that sleeps is asked for something, and when it is set who sleeps.
    pub called: Arc<Notify>,
}

/// One app's.
#[derive(Debug)]
pub struct Nap {
    asleep: AtomicBool,
    /// How often what runs of it was changed.
    changes: AtomicU64,
    /// Programs and connections of users inside.
    visitors: AtomicUsize,
    /// Of falling asleep and waking one at a time.
    pub turn: tokio::sync::Mutex<()>,
    called: Arc<Notify>,
}

/// Somebody is inside: the app does not fall asleep.
#[derive(Debug)]
pub struct Visit(Arc<Nap>);

impl Naps {
    /// An app's.
    pub fn of(&self, app: AppId) -> Arc<Nap> {
        let fresh = || Nap {
            asleep: AtomicBool::default(),
            changes: AtomicU64::default(),
            visitors: AtomicUsize::default(),
            turn: tokio::sync::Mutex::default(),
            called: self.called.clone(),
        };
        self.apps().entry(app).or_insert_with(|| Arc::new(fresh())).clone()
    }

    /// Those that sleep.
    pub fn asleep(&self) -> Vec<(AppId, Arc<Nap>)> {
        self.apps().iter().filter(|(_, nap)| nap.is_asleep()).map(|(app, nap)| (*app, nap.clone())).collect()
    }

    /// The app is gone.
    pub fn forget(&self, app: AppId) {
        self.apps().remove(&app);
    }

    fn apps(&self) -> MutexGuard<'_, HashMap<AppId, Arc<Nap>>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nap {
    /// Whether it sleeps.
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    /// Sleeps from now on, unless somebody is being answered or is inside. Whoever comes in this very moment either is seen
    /// here, or sees that it sleeps and calls: each first says so and then looks.
    pub fn begin(&self, meter: &Meter) -> bool {
        let before = self.asleep.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_busy(meter) {
            self.asleep.store(before, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// What is so since an earlier daemon, or not any more.
    pub fn set(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::Relaxed);
    }

    /// What runs was changed, and is awake: true if it was not.
    pub fn changed(&self) -> bool {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.called.notify_one();
        self.asleep.swap(false, Ordering::Relaxed)
    }

    /// What is seen of it now.
    pub fn activity(&self, meter: &Meter) -> Activity {
        let events = meter.counts().classes.iter().sum::<u64>() + self.changes.load(Ordering::Relaxed);
        Activity { busy: self.is_busy(meter), events }
    }

    /// Whether anybody is being answered, waits for that, or is inside.
    pub fn is_busy(&self, meter: &Meter) -> bool {
        meter.in_flight() > 0 || meter.waiting() > 0 || self.visitors.load(Ordering::Relaxed) > 0
    }

    /// Somebody comes inside.
    pub fn visit(self: &Arc<Self>) -> Visit {
        self.visitors.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Visit(self.clone())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.visitors.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Wake for Nap {
    fn asked(&self) {
        fence(Ordering::SeqCst);
        if self.is_asleep() {
            self.called.notify_one();
        }
    }
}

/// How deep an app sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Not at all.
    Awake,
    /// Its web instances are frozen.
    Frozen,
    /// They are stopped.
    Stopped,
}

/// What is seen of an app at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Activity {
    /// Somebody is being answered, or is inside.
    pub busy: bool,
    /// Requests that were answered so far, and changes of what runs.
    pub events: u64,
}

/// For how long an app has had nothing to do.
#[derive(Debug)]
pub struct Idle {
    events: u64,
    since: Instant,
}

impl Idle {
    /// From now on.
    pub fn new(seen: Activity, now: Instant) -> Self {
        Self { events: seen.events, since: now }
    }

    /// How deep it should sleep, if it is set to after such a time.
    pub fn look(&mut self, seen: Activity, now: Instant, after: Duration) -> Depth {
        if seen.busy || seen.events != self.events {
            *self = Self::new(seen, now);
        }
        match now.duration_since(self.since) {
            idle if idle < after => Depth::Awake,
            idle if idle < after * 2 => Depth::Frozen,
            _ => Depth::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AFTER: Duration = Duration::from_secs(60);

    fn seen(busy: bool, events: u64) -> Activity {
        Activity { busy, events }
    }

    #[test]
    fn it_sleeps_deeper_the_longer_nothing_happens() {
        let begin = Instant::now();
        let mut idle = Idle::new(seen(false, 7), begin);
        let mut at =
            |second: u64, busy, answered| idle.look(seen(busy, answered), begin + Duration::from_secs(second), AFTER);
        assert_eq!(at(59, false, 7), Depth::Awake);
        assert_eq!(at(60, false, 7), Depth::Frozen);
        assert_eq!(at(119, false, 7), Depth::Frozen);
        assert_eq!(at(120, false, 7), Depth::Stopped);
        assert_eq!(at(121, false, 8), Depth::Awake, "one was answered");
        assert_eq!(at(180, true, 8), Depth::Awake, "a long one is being answered");
        assert_eq!(at(239, false, 8), Depth::Awake);
        assert_eq!(at(240, false, 8), Depth::Frozen);
    }

    proptest! {
        /// Whatever happens when: it sleeps if and only if nothing has happened for so long, and as deep as that says.
        #[test]
        fn it_never_sleeps_while_there_is_something_to_do(
            steps in proptest::collection::vec((0..90_u64, any::<bool>(), 0..2_u64), 1..50),
        ) {
            let (mut now, mut answered) = (Instant::now(), 0);
            let mut idle = Idle::new(seen(false, 0), now);
            let mut last = now;
            for (seconds, busy, more) in steps {
                now += Duration::from_secs(seconds);
                answered += more;
                if busy || more > 0 {
                    last = now;
                }
                let expected = match (now - last).as_secs() {
                    0..60 => Depth::Awake,
                    60..120 => Depth::Frozen,
                    _ => Depth::Stopped,
                };
                prop_assert_eq!(idle.look(seen(busy, answered), now, AFTER), expected);
            }
        }
    }

    #[tokio::test]
    async fn whoever_is_inside_keeps_it_awake_and_whoever_asks_calls() {
        let (naps, meter) = (Naps::default(), Meter::default());
        let nap = naps.of(AppId(1));
        nap.asked();
        assert!(futures_util::poll!(std::pin::pin!(naps.called.notified())).is_pending(), "it is awake");
        let visit = nap.visit();
        assert!(!nap.begin(&meter));
        drop(visit);
        assert!(nap.begin(&meter) && naps.asleep().len() == 1);
        nap.asked();
        naps.called.notified().await;
        let visit = nap.visit();
        assert!(!nap.begin(&meter) && nap.is_asleep(), "it is not woken by looking");
        drop(visit);
        let events = nap.activity(&meter).events;
        assert!(nap.changed() && !nap.changed() && naps.asleep().is_empty());
        assert_eq!(nap.activity(&meter).events, events + 2, "a change is something that happens");
    }
}
