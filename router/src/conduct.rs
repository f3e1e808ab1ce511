//! How the client of one HTTP/2 connection behaves: when it last asked, and how often it took a request back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::limits::TAKEN_BACK;

/// Counts of one connection.
#[derive(Default)]
pub(crate) struct Conduct {
    begun: AtomicUsize,
    /// Requests reset before they were answered, less those answered: asking and resetting costs a client nothing, and
    /// us and the app a request each time.
    taken_back: AtomicUsize,
    bad: CancellationToken,
}

/// A request that has begun; dropped without an answer, the client has taken it back.
pub(crate) struct Begun {
    conduct: Arc<Conduct>,
    answered: bool,
}

impl Conduct {
    pub(crate) fn begin(self: &Arc<Self>) -> Begun {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Begun { conduct: Arc::clone(self), answered: false }
    }

    /// Waits until no request has begun for at least `limit`.
    pub(crate) async fn idle(&self, limit: Duration) {
        let mut before = self.begun.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(limit).await;
            let now = self.begun.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Waits until the client has taken back too much.
    pub(crate) async fn bad(&self) {
        self.bad.cancelled().await;
    }
}

impl Begun {
    pub(crate) fn answered(mut self) {
        self.answered = true;
        let less = |count: usize| Some(count.saturating_sub(1));
        let _ = self.conduct.taken_back.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.answered && self.conduct.taken_back.fetch_add(1, Ordering::Relaxed) >= TAKEN_BACK {
            self.conduct.bad.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_only_takes_back_is_cut_and_who_also_listens_is_not() {
        let patient = Arc::new(Conduct::default());
        for _ in 0..10 * TAKEN_BACK {
            drop(patient.begin());
            patient.begin().answered();
        }
        assert!(!patient.bad.is_cancelled());
        let hasty = Arc::new(Conduct::default());
        for _ in 0..=TAKEN_BACK {
            drop(hasty.begin());
        }
        hasty.bad().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_nothing_begins() {
        let conduct = Arc::new(Conduct::default());
        let limit = Duration::from_secs(30);
        let asking = async {
            for _ in 0..5 {
                tokio::time::sleep(limit / 2).await;
                conduct.begin().answered();
            }
        };
        let began = tokio::time::Instant::now();
        tokio::join!(asking, conduct.idle(limit));
        assert!(began.elapsed() >= limit * 3, "{:?}", began.elapsed());
    }
}
