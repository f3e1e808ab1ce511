//! What of the releases and layers is being used by what only this daemon knows: one-offs, rollbacks and builds.
//! (What serves is in the store, and instances are known to the engine.)

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::{Control, EngineError, Exit, Process, WindowSize};
use tokio::sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::names::Version;
use crate::store::AppId;

/// See the module.
#[derive(Debug, Default)]
pub struct Uses {
    code: Arc<Mutex<Counts>>,
    layers: Arc<RwLock<()>>,
    /// Whether a layer may have lost its last release since they were looked through.
    stale: Arc<AtomicBool>,
    /// Asks for a collection of what nobody needs; see [`crate::collect`].
    pub idle: Arc<Notify>,
}

/// How many use the code of a release.
type Counts = BTreeMap<(AppId, Version), usize>;

impl Uses {
    /// Keeps the code of a release, and so its layers, until the lease is dropped.
    pub fn lease(&self, app: AppId, code: Version) -> Lease {
        *self.code().entry((app, code)).or_default() += 1;
        Lease { counts: self.code.clone(), of: (app, code), idle: self.idle.clone() }
    }

    /// What is leased. While the guard is held no lease begins or ends.
    pub fn code(&self) -> MutexGuard<'_, Counts> {
        lock(&self.code)
    }

    /// Keeps every layer that is there, and that comes meanwhile, until the guard is dropped: for builds, and for whoever reads
    /// layers.
    pub async fn layers(&self) -> LayersInUse {
        let guard = Some(self.layers.clone().read_owned().await);
        LayersInUse { guard, stale: self.stale.clone(), idle: self.idle.clone() }
    }

    /// Asks for a collection of layers, too: releases have gone.
    pub fn look_through_layers(&self) {
        self.stale.store(true, Ordering::SeqCst);
        self.idle.notify_one();
    }

    /// They could not be looked through: the next occasion is to try again.
    pub fn keep_stale(&self) {
        self.stale.store(true, Ordering::SeqCst);
    }

    /// Keeps others from using layers, if nobody does.
    pub fn nobody(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        self.layers.clone().try_write_owned().ok()
    }

    /// Keeps others from using layers; None if somebody does, whose end asks again, or if all are known to be needed.
    pub fn stale_layers(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        let guard = self.nobody()?;
        self.stale.swap(false, Ordering::SeqCst).then_some(guard)
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The code of a release in use. Its end is a moment to look for what nobody needs.
#[derive(Debug)]
pub struct Lease {
    counts: Arc<Mutex<Counts>>,
    of: (AppId, Version),
    idle: Arc<Notify>,
}

impl Lease {
    /// For as long as a process is there.
    pub fn until_the_end_of(self, process: Process) -> Process {
        held_until_the_end_of(process, self)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
                self.idle.notify_one();
            }
        }
    }
}

/// All layers in use. Its end is such a moment, too.
#[derive(Debug)]
pub struct LayersInUse {
    guard: Option<OwnedRwLockReadGuard<()>>,
    stale: Arc<AtomicBool>,
    idle: Arc<Notify>,
}

impl Drop for LayersInUse {
    fn drop(&mut self) {
        self.stale.store(true, Ordering::SeqCst);
        drop(self.guard.take());
        self.idle.notify_one();
    }
}

/// The process, with something that is held for as long as it is there.
pub fn held_until_the_end_of(process: Process, held: impl Send + Sync + 'static) -> Process {
    let Process { streams, control } = process;
    Process { streams, control: Box::new(Held { control, _held: held }) }
}

/// A process's handle, with what is held.
struct Held<T> {
    control: Box<dyn Control>,
    _held: T,
}

#[async_trait::async_trait]
impl<T: Send + Sync> Control for Held<T> {
    fn kill(&self) -> Result<(), EngineError> {
        self.control.kill()
    }

    fn was_refused_processes(&self) -> bool {
        self.control.was_refused_processes()
    }

    fn signal(&self, signal: i32) -> Result<(), EngineError> {
        self.control.signal(signal)
    }

    fn resize(&self, size: WindowSize) -> Result<(), EngineError> {
        self.control.resize(size)
    }

    async fn wait(&self) -> Result<Exit, EngineError> {
        self.control.wait().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_used_is_known_until_the_last_ends() {
        let uses = Uses::default();
        let (one, other) = (uses.lease(AppId(1), Version(2)), uses.lease(AppId(1), Version(2)));
        drop(one);
        assert!(uses.code().contains_key(&(AppId(1), Version(2))));
        drop(other);
        assert!(uses.code().is_empty());
        let (build, reader) = (uses.layers().await, uses.layers().await);
        drop(build);
        assert!(uses.stale_layers().is_none());
        drop(reader);
        assert!(uses.stale_layers().is_some());
        assert!(uses.stale_layers().is_none(), "they have been looked through");
        uses.look_through_layers();
        assert!(uses.stale_layers().is_some());
    }
}
