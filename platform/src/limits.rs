//! How much of the machine an app's instances and builds may use: what is set, for the app and for single process types, and what
//! holds by it. Enforcing it is the engine's, and for what only builds have [`crate::bounds`]'.

mod amount;
mod limit;
mod resource;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use amount::{parse_bytes, parse_seconds};
pub use amount::{show_bytes, show_rough_bytes, show_seconds, show_thousandths};
pub use limit::{InvalidLimit, Limit};
pub use resource::{NoSuchResource, Resource};

use self::Resource as R;
use crate::names::{AppName, ProcessType};

/// The process type whose limits are those of an app's builds.
pub const BUILD: &str = "build";

/// What to do about a process of this type that needed more memory than `limit`.
pub fn more_memory(app: &AppName, process: &str, limit: u64) -> String {
    let more = show_bytes(limit.saturating_mul(2));
    format!("if it really needs more: `resource:limit {app} {process} memory={more}`")
}

/// Limits that were set, by resource.
pub type Set = BTreeMap<Resource, Option<u64>>;

/// What is set for an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// For whatever runs of it, but its builds.
    app: Set,
    /// For single process types.
    types: BTreeMap<ProcessType, Set>,
}

impl Settings {
    /// Sets limits: the app's, or those of one process type.
    pub fn set(&mut self, process: Option<&ProcessType>, limits: &[Limit]) {
        self.place(process).extend(limits.iter().map(|limit| (limit.resource, limit.amount)));
    }

    /// Removes limits; all of them if none is named. Gives the first that was not set.
    pub fn clear(&mut self, process: Option<&ProcessType>, resources: &[Resource]) -> Option<Resource> {
        let set = self.place(process);
        if resources.is_empty() {
            set.clear();
        }
        let missing = resources.iter().copied().find(|resource| set.remove(resource).is_none());
        self.types.retain(|_, set| !set.is_empty());
        missing
    }

    /// The process types that something is set for.
    pub fn types(&self) -> impl Iterator<Item = &ProcessType> {
        self.types.keys()
    }

    fn place(&mut self, process: Option<&ProcessType>) -> &mut Set {
        match process {
            None => &mut self.app,
            Some(process) => self.types.entry(process.clone()).or_default(),
        }
    }

    /// What holds for instances of a process type.
    pub fn of(&self, process: &str) -> Limits {
        let set = |resource| self.own(process).and_then(|own| own.get(&resource)).or_else(|| self.app.get(&resource));
        let own = R::ALL.into_iter().filter(|resource| !resource.is_shared() && !resource.is_of_builds());
        Limits::by(own, |resource| set(resource).copied().unwrap_or_else(|| resource.usual()))
    }

    /// What `data/` may hold; None: as much as the disk has room for.
    pub fn data(&self) -> Option<u64> {
        self.app.get(&R::Data).copied().flatten()
    }

    /// What holds for builds. What is set for the app is meant for what it runs.
    pub fn of_builds(&self) -> Limits {
        let set = |resource| self.own(BUILD).and_then(|own| own.get(&resource));
        let own = R::ALL.into_iter().filter(|resource| !resource.is_shared());
        Limits::by(own, |resource| set(resource).copied().unwrap_or_else(|| resource.usual_in_builds()))
    }

    fn own(&self, process: &str) -> Option<&Set> {
        self.types.iter().find(|(known, _)| known.as_str() == process).map(|(_, set)| set)
    }
}

/// What holds for a process type: every resource has its amount, but those that all share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits(Set);

/// Memory that a web server's worker should have for itself.
const WORKER_BYTES: u64 = 128 << 20;
/// More workers than this are for whoever runs the app to wish for.
const MOST_WORKERS: u64 = 8;

impl Limits {
    fn by(own: impl Iterator<Item = Resource>, amount: impl Fn(Resource) -> Option<u64>) -> Self {
        Self(own.map(|resource| (resource, amount(resource))).collect())
    }

    /// Of one resource; None: no limit.
    pub fn get(&self, resource: Resource) -> Option<u64> {
        self.0.get(&resource).copied().flatten()
    }

    /// Of a resource that is time.
    pub fn time(&self, resource: Resource) -> Duration {
        self.get(resource).map_or(Duration::MAX, Duration::from_secs)
    }

    /// Bound of one log file.
    pub fn log_bytes(&self) -> u64 {
        self.get(R::Log).unwrap_or(u64::MAX)
    }

    /// What the engine is to enforce.
    pub fn for_engine(&self) -> engine::Limits {
        let number = |resource| self.get(resource).map(|amount| u32::try_from(amount).unwrap_or(u32::MAX));
        let generous = engine::Limits::default();
        engine::Limits {
            memory: self.get(R::Memory),
            cpu: number(R::Cpu),
            pids: number(R::Pids),
            open_files: self.get(R::Files).unwrap_or(generous.open_files),
            tmp: self.get(R::Tmp).unwrap_or(generous.tmp),
            scratch: self.get(R::Code).unwrap_or(generous.scratch),
        }
    }

    /// Workers that a web server should start on a machine with so many processors: as many as can run at once, and as
    /// have room.
    pub fn workers(&self, processors: u64) -> u64 {
        let cpu = self.get(R::Cpu).map_or(u64::MAX, |thousandths| thousandths.div_ceil(1000));
        let memory = self.get(R::Memory).map_or(u64::MAX, |bytes| bytes / WORKER_BYTES);
        processors.min(cpu).min(memory).clamp(1, MOST_WORKERS)
    }
}

#[cfg(test)]
mod tests;
