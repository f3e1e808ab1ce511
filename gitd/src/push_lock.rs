//! One push at a time changes a repository; the others wait.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// The locks of all repositories that are being pushed to.
#[derive(Default)]
pub(crate) struct PushLocks {
    locks: Mutex<HashMap<PathBuf, Arc<AsyncMutex<()>>>>,
}

impl PushLocks {
    /// The lock if nobody holds it.
    pub(crate) fn try_lock(&self, repository: &Path) -> Option<OwnedMutexGuard<()>> {
        self.of(repository).try_lock_owned().ok()
    }

    /// The lock, after the pushes that came before.
    pub(crate) async fn lock(&self, repository: &Path) -> OwnedMutexGuard<()> {
        let lock = self.of(repository);
        lock.lock_owned().await
    }

    /// Forgets the locks that nobody holds or waits for.
    fn of(&self, repository: &Path) -> Arc<AsyncMutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(repository.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_other_repositories_do_not() {
        let locks = PushLocks::default();
        let first = locks.lock(Path::new("/a")).await;
        assert!(locks.try_lock(Path::new("/a")).is_none());
        assert!(locks.try_lock(Path::new("/b")).is_some());
        drop(first);
        assert!(locks.try_lock(Path::new("/a")).is_some());
        assert_eq!(locks.locks.lock().unwrap().len(), 1);
    }
}
