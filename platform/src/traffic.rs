//! What is kept of each app's requests across all its releases: the router's counts, and the access log.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use router::{Counts, Meter};
use tokio_util::task::TaskTracker;

use crate::logs::{AccessLog, AccessTerms};
use crate::store::AppId;

/// Every app's.
#[derive(Debug, Default)]
pub struct Traffic {
    apps: Mutex<HashMap<AppId, Kept>>,
}

/// How an app's requests fared for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fared {
    served: u64,
    failed: u64,
}

impl Fared {
    /// Between two looks at the counts.
    pub fn between(before: &Counts, after: &Counts) -> Self {
        let [before_all, all] = [before, after].map(|counts| counts.classes[..5].iter().sum::<u64>());
        let failed = after.failed - before.failed;
        Self { served: (all - before_all).saturating_sub(failed), failed }
    }

    /// Whether there were any.
    pub fn any(self) -> bool {
        self.served + self.failed > 0
    }
}

impl fmt::Display for Fared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = if self.served == 1 { "request" } else { "requests" };
        let failed = if self.failed == 0 { "none".to_owned() } else { self.failed.to_string() };
        write!(f, "{} {requests} served during the switch, {failed} failed", self.served)
    }
}

#[derive(Debug, Default)]
struct Kept {
    meter: Arc<Meter>,
    log: Option<Arc<AccessLog>>,
    /// Of all its logs.
    dropped: Arc<AtomicU64>,
}

impl Traffic {
    /// An app's counts.
    pub fn meter(&self, app: AppId) -> Arc<Meter> {
        self.apps().entry(app).or_default().meter.clone()
    }

    /// The log of an app's requests on these terms: the one that there is, if nothing has changed.
    pub fn log(&self, app: AppId, terms: Option<AccessTerms>, tasks: &TaskTracker) -> Option<Arc<AccessLog>> {
        let mut apps = self.apps();
        let kept = apps.entry(app).or_default();
        if kept.log.as_ref().map(|log| log.terms()) != terms.as_ref() {
            kept.log = terms.map(|terms| AccessLog::open(terms, kept.dropped.clone(), tasks));
        }
        kept.log.clone()
    }

    /// Requests of an app that were to be logged, and were not.
    pub fn dropped(&self, app: AppId) -> u64 {
        let apps = self.apps();
        apps.get(&app).map_or(0, |kept| kept.dropped.load(Ordering::Relaxed))
    }

    /// The app is gone.
    pub fn forget(&self, app: AppId) {
        self.apps().remove(&app);
    }

    /// No request will come any more: what has been logged is written, and the logs' tasks end.
    pub fn close(&self) {
        self.apps().values().filter_map(|kept| kept.log.as_ref()).for_each(|log| log.close());
    }

    fn apps(&self) -> MutexGuard<'_, HashMap<AppId, Kept>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_requests_fared() {
        let counts = |classes, failed| Counts { classes, failed, ..Counts::default() };
        let before = counts([1, 10, 2, 3, 4, 5], 2);
        let said = |classes, failed| Fared::between(&before, &counts(classes, failed)).to_string();
        assert_eq!(said([1, 22, 2, 3, 4, 9], 2), "12 requests served during the switch, none failed");
        assert_eq!(said([1, 11, 2, 3, 7, 5], 4), "2 requests served during the switch, 2 failed");
        assert_eq!(said([1, 11, 2, 3, 4, 5], 2), "1 request served during the switch, none failed");
        assert!(!Fared::between(&before, &before).any());
    }
}
