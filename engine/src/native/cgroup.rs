//! Control groups: where the kernel counts what a sandbox uses, bounds it, and stops it for a while.
//!
//! Every sandbox that has a limit, and every instance, has a group of its own, `PARENT/ID.SHIM`, in each hierarchy that one
//! of its limits needs. Which hierarchies there are, and what an airstrip process may do in them, is looked up once
//! ([`Groups::find`]). Both versions of the kernel's interface serve, also side by side: each controller is used
//! where the machine has it.
//!
//! - `PARENT` is `airstrip-HASH`, the hash being that of the engine's directory. As root it lies at the top of the hierarchy; an ordinary
//!   user's lies below the group that was delegated to it (version 2 only: version 1 delegates nothing).
//! - The shim makes the group, puts the first process into it while that is making its mounts, and removes it at the
//!   end ([`Watched`]). A process that joins puts itself into it ([`Group::enter`]).
//! - What a shim that was killed left is swept by the next daemon ([`Groups::sweep`]).

mod bounds;
mod group;
mod hierarchy;
mod v1;
mod v2;
mod watched;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(super) use bounds::Bounds;
pub(super) use group::Group;
pub(super) use hierarchy::Controller;
pub(super) use watched::Watched;

use super::protocol::Failure;
use crate::Ability;
use hierarchy::{Hierarchy, Version};

/// A directory in which groups can be made, and what they can bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    version: Version,
    dir: PathBuf,
    controllers: Vec<Controller>,
}

/// What a shim is told: where its sandbox's group is to be, and the name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Plan {
    places: Vec<Place>,
    name: String,
}

/// What this machine lets this process do with control groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    places: Vec<Place>,
    lacking: BTreeMap<Controller, String>,
}

impl Groups {
    /// Looks, and makes the parents of the sandboxes' groups.
    pub(super) fn find(run_dir: &Path, privileged: bool) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let hierarchies = hierarchy::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        Self::within(&hierarchies, &parent_name(run_dir), privileged)
    }

    fn within(hierarchies: &[Hierarchy], name: &str, privileged: bool) -> Self {
        let mut found = Self::default();
        for controller in Controller::ALL {
            found.lacking.insert(controller, hierarchy::ABSENT.to_owned());
        }
        for hierarchy in hierarchies {
            match hierarchy.offer(privileged) {
                Ok((base, controllers)) => found.take(hierarchy, &base.join(name), &controllers),
                Err(reason) => found.lack(&hierarchy.controllers, &reason),
            }
        }
        found
    }

    /// Uses a hierarchy for those of its controllers that no earlier one had.
    fn take(&mut self, hierarchy: &Hierarchy, dir: &Path, offered: &[Controller]) {
        let wanted = |controller: &&Controller| self.lacking.contains_key(controller);
        let controllers: Vec<_> = offered.iter().filter(wanted).copied().collect();
        let unoffered: Vec<_> =
            hierarchy.controllers.iter().filter(|controller| !offered.contains(controller)).copied().collect();
        if hierarchy.version == Version::Two {
            self.lack(&unoffered, &hierarchy::not_given(dir));
        }
        if controllers.is_empty() {
            return;
        }
        let mut place = Place { version: hierarchy.version, dir: dir.to_owned(), controllers };
        if let Err(failure) = place.prepare() {
            return self.lack(&place.controllers, &hierarchy::refused(&failure));
        }
        for missing in place.controllers.extract_if(.., |one| !dir.join(one.file(hierarchy.version)).exists()) {
            self.lack(&[missing], &hierarchy::not_compiled(missing.file(hierarchy.version)));
        }
        self.lacking.retain(|controller, _| !place.controllers.contains(controller));
        self.places.push(place);
    }

    /// The first reason told stays: it is that of the hierarchy that has the controller.
    fn lack(&mut self, controllers: &[Controller], reason: &str) {
        for controller in controllers {
            if let Some(told) = self.lacking.get_mut(controller)
                && told == hierarchy::ABSENT
            {
                reason.clone_into(told);
            }
        }
    }

    /// Whether sandboxes can be bounded so, or why not and what to do.
    pub(super) fn ability(&self, controller: Controller) -> Ability {
        self.lacking.get(&controller).map_or(Ok(()), |reason| Err(reason.clone()))
    }

    /// For a sandbox of this name.
    pub(super) fn plan(&self, name: &str) -> Plan {
        Plan { places: self.places.clone(), name: name.to_owned() }
    }

    /// Removes the groups of shims that are no more.
    pub(super) fn sweep(&self) {
        for place in &self.places {
            for entry in fs::read_dir(&place.dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir())
                    && !shim_lives(&entry.file_name().to_string_lossy())
                {
                    let left = Group::of(vec![Place { dir: entry.path(), ..place.clone() }]);
                    // A frozen process does not notice that it was killed.
                    let _ = left.thaw();
                    left.remove();
                }
            }
        }
    }
}

impl Drop for Groups {
    /// The parents, unless there are groups in them.
    fn drop(&mut self) {
        for place in &self.places {
            let _ = fs::remove_dir(&place.dir);
        }
    }
}

impl Place {
    /// Makes the directory, with all it needs for groups in it.
    fn prepare(&self) -> Result<(), Failure> {
        match self.version {
            Version::One => v1::prepare(&self.dir),
            Version::Two => v2::prepare(&self.dir, &self.controllers),
        }
    }
}

/// The same for every daemon of this directory, another for every other.
fn parent_name(run_dir: &Path) -> String {
    let hash = Sha256::digest(run_dir.as_os_str().as_encoded_bytes());
    format!("airstrip-{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3])
}

/// Whether the shim lives after which a group was named.
fn shim_lives(name: &str) -> bool {
    let pid = name.rsplit_once('.').and_then(|(_, pid)| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists())
}

#[cfg(test)]
mod tests;
