//! Time for limits that need not be exact: one timer for each thread, instead of several for each request.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::limits::{Limits, SWEEP};

/// No tick is shorter.
const SHORTEST: Duration = Duration::from_millis(5);

/// Counts ticks, at least four of them within every limit that is kept by them.
pub(crate) struct Clock {
    tick: Duration,
    ticks: AtomicU64,
    told: Notify,
}

/// When something is over, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(u64);

impl Clock {
    pub(crate) fn new(limits: &Limits) -> Self {
        let tick = (limits.head.min(limits.answer) / 4).clamp(SHORTEST, SWEEP);
        Self { tick, ticks: AtomicU64::new(0), told: Notify::new() }
    }

    /// Waits for one tick, and tells of it.
    pub(crate) async fn tick(&self) {
        tokio::time::sleep(self.tick).await;
        self.ticks.fetch_add(1, Ordering::Relaxed);
        self.told.notify_waiters();
    }

    /// The number of ticks so far.
    pub(crate) fn now(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Not before `time` is over, and at most two ticks later.
    pub(crate) fn after(&self, time: Duration) -> Deadline {
        Deadline(self.now().saturating_add(self.ticks_in(time) + 1))
    }

    pub(crate) fn is_past(&self, deadline: Deadline) -> bool {
        self.now() >= deadline.0
    }

    /// As many whole ticks as are not shorter than `time`.
    pub(crate) fn ticks_in(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos().div_ceil(self.tick.as_nanos().max(1))).unwrap_or(u64::MAX / 2)
    }

    /// How long so many ticks last.
    pub(crate) fn length(&self, ticks: u64) -> Duration {
        self.tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// A future that is polled at every tick, too. Its task must not change.
    pub(crate) async fn ticking<F: Future>(&self, mut future: Pin<&mut F>) -> F::Output {
        let mut told = pin!(self.told.notified());
        let mut seen = None;
        poll_fn(|cx| {
            // Once it has been polled it wakes this task: there is no need to ask it again before it has.
            while seen != Some(self.now()) {
                seen = Some(self.now());
                if told.as_mut().poll(cx).is_ready() {
                    told.set(self.told.notified());
                    seen = None;
                }
            }
            future.as_mut().poll(cx)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::Poll;

    use super::*;

    fn clock() -> Clock {
        Clock::new(&Limits { answer: Duration::from_millis(400), ..Limits::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_not_early_and_little_late() {
        for (head_start, limit) in [(0, 400), (99, 400), (50, 1), (0, 0), (30, 250)] {
            let clock = clock();
            let began = Cell::new(None);
            let waiting = async {
                tokio::time::sleep(Duration::from_millis(head_start)).await;
                began.set(Some(tokio::time::Instant::now()));
                let deadline = clock.after(Duration::from_millis(limit));
                let past = pin!(poll_fn(|_| if clock.is_past(deadline) { Poll::Ready(()) } else { Poll::Pending }));
                clock.ticking(past).await;
            };
            let ticking = async {
                loop {
                    clock.tick().await;
                }
            };
            tokio::select! { () = waiting => {}, () = ticking => {} }
            let took = began.get().unwrap().elapsed();
            let limit = Duration::from_millis(limit);
            assert!(took >= limit && took <= limit + 2 * clock.tick, "{took:?} for {limit:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_something_else_is_polled_at_every_tick() {
        let clock = clock();
        let polled = Cell::new(0);
        let tenth = pin!(poll_fn(|_| {
            polled.set(polled.get() + 1);
            if polled.get() == 10 { Poll::Ready(()) } else { Poll::Pending }
        }));
        let waiting = clock.ticking(tenth);
        let ticking = async {
            for _ in 0..9 {
                clock.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(waiting, ticking) }).await.unwrap();
    }
}
