//! What is kept of each app's requests across all its releases: the router's counts, and the access log.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use router::Meter;
use tokio_util::task::TaskTracker;

use crate::logs::{AccessLog, AccessTerms};
use crate::store::AppId;

/// Every app's.
#[derive(Debug, Default)]
pub struct Traffic {
    apps: Mutex<HashMap<AppId, Kept>>,
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
