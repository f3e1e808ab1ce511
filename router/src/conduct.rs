//! How the client of one HTTP/2 connection behaves: when it last asked, how often it took a request back, and whether it
//! takes the answers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use crate::compress::Broken;
use crate::limits::TAKEN_BACK;
use crate::sight::Seen;

/// Counts of one connection.
#[derive(Default)]
pub(crate) struct Conduct {
    begun: AtomicUsize,
    /// Requests reset before they were answered, less those answered: asking and resetting costs a client nothing, and
    /// us and the app a request each time.
    taken_back: AtomicUsize,
    bad: CancellationToken,
    /// Answers of which the client has not taken what is there.
    owed: AtomicUsize,
    /// Counts what it has taken.
    taken: AtomicUsize,
}

/// An answer's body, watched.
pub(crate) struct Watched {
    body: Seen,
    conduct: Arc<Conduct>,
    owed: bool,
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

    /// Watches whether the client takes an answer.
    pub(crate) fn watch(self: &Arc<Self>, body: Seen) -> Watched {
        let mut watched = Watched { body, conduct: Arc::clone(self), owed: false };
        watched.owe();
        watched
    }

    /// Waits until the client has taken nothing of what is there for at least `limit`: it keeps its window closed.
    pub(crate) async fn stalled(&self, limit: Duration) {
        let mut before = None;
        loop {
            tokio::time::sleep(limit).await;
            let now = (self.owed.load(Ordering::Relaxed) > 0).then(|| self.taken.load(Ordering::Relaxed));
            if now.is_some() && now == before {
                return;
            }
            before = now;
        }
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

impl Watched {
    fn owe(&mut self) {
        self.owed = true;
        self.conduct.owed.fetch_add(1, Ordering::Relaxed);
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.owed) {
            self.conduct.owed.fetch_sub(1, Ordering::Relaxed);
            self.conduct.taken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Broken;

    /// hyper asks for more once the client has room for it.
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.settle();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if matches!(frame, Some(Ok(_))) {
            self.owe();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.settle();
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
