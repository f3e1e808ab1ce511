//! The group of one sandbox, in every hierarchy that one of its limits needs.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::super::protocol::{Failure, Step};
use super::{Controller, Place, Plan, Version, v1, v2};
use crate::Limits;

/// Freezing takes a fraction of a millisecond, unless a process hangs in the kernel.
const FREEZE_LIMIT: Duration = Duration::from_secs(2);
/// For the last processes to leave: those that joined are told of the end.
const REMOVE_LIMIT: Duration = Duration::from_millis(200);
const STEP: Duration = Duration::from_millis(1);
const MEMBERS: &str = "cgroup.procs";

/// See the module. What is in [`Place::dir`] is the group itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::native) struct Group(Vec<Place>);

/// A file of a group, and what it is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    file: &'static str,
    value: String,
    /// False for a file that not every kernel has.
    needed: bool,
}

impl Setting {
    pub(super) fn needed(file: &'static str, value: &impl ToString) -> Self {
        Self { file, value: value.to_string(), needed: true }
    }

    pub(super) fn possible(file: &'static str, value: &impl ToString) -> Self {
        Self { needed: false, ..Self::needed(file, value) }
    }

    /// The first process, which is airstrip's own, is not counted.
    pub(super) fn pids(pids: u32) -> Self {
        Self::needed("pids.max", &(u64::from(pids) + 1))
    }

    fn apply(&self, dir: &Path) -> Result<(), Failure> {
        let path = dir.join(self.file);
        match write(&path, &self.value) {
            Err(error) if !self.needed && error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.step(|| format!("write({}, {})", path.display(), self.value)),
        }
    }
}

#[cfg(test)]
impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}{}", self.file, self.value, if self.needed { "" } else { "?" })
    }
}

impl Group {
    pub(super) fn of(parts: Vec<Place>) -> Self {
        Self(parts)
    }

    /// Makes the group, with its limits; a freezable one even without any.
    pub(super) fn make(plan: &Plan, limits: &Limits, freezable: bool) -> Result<Self, Failure> {
        let wanted = |controller: Controller| match controller {
            Controller::Memory => limits.memory.is_some(),
            Controller::Cpu => limits.cpu.is_some(),
            Controller::Pids => limits.pids.is_some(),
            Controller::Freezer => freezable,
        };
        let name = format!("{}.{}", plan.name, std::process::id());
        let mut group = Self::default();
        for place in &plan.places {
            let controllers: Vec<_> = place.controllers.iter().copied().filter(|one| wanted(*one)).collect();
            if controllers.is_empty() {
                continue;
            }
            let part = Place { version: place.version, dir: place.dir.join(&name), controllers };
            if let Err(failure) = make_part(place, &part, limits) {
                let _ = fs::remove_dir(&part.dir);
                group.remove();
                return Err(failure);
            }
            group.0.push(part);
        }
        Ok(group)
    }

    /// Its directories in hierarchies of one version.
    pub(super) fn dirs(&self, version: Version) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(move |part| part.version == version).map(|part| part.dir.as_path())
    }

    /// Puts a process that was started in the part of version 2 into the others.
    pub(super) fn admit(&self, pid: Pid) -> Result<(), Failure> {
        self.dirs(Version::One).try_for_each(|dir| {
            let path = dir.join(MEMBERS);
            write(&path, &pid.to_string()).step(|| format!("write({}, {pid})", path.display()))
        })
    }

    /// Puts the calling process into the group. One that somebody has removed bounds nothing any more.
    pub(in crate::native) fn enter(&self) -> Result<(), Failure> {
        self.0.iter().try_for_each(|part| {
            let path = part.dir.join(MEMBERS);
            match write(&path, "0") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result.step(|| format!("enter the control group {}", part.dir.display())),
            }
        })
    }

    /// Stops every process of the group. Returns once all have stopped.
    pub(in crate::native) async fn freeze(&self) -> io::Result<()> {
        let end = Instant::now() + FREEZE_LIMIT;
        loop {
            self.set_frozen(true)?;
            if self.is_frozen()? {
                return Ok(());
            }
            if Instant::now() > end {
                let _ = self.thaw();
                return Err(io::ErrorKind::TimedOut.into());
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Lets them go on.
    pub(in crate::native) fn thaw(&self) -> io::Result<()> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        match self.part(Controller::Freezer) {
            Some(Place { version: Version::One, dir, .. }) => v1::set_frozen(dir, frozen),
            Some(Place { version: Version::Two, dir, .. }) => v2::set_frozen(dir, frozen),
            None => Ok(()),
        }
    }

    /// False for a group that cannot be frozen, too.
    pub(in crate::native) fn is_frozen(&self) -> io::Result<bool> {
        match self.part(Controller::Freezer) {
            Some(Place { version: Version::One, dir, .. }) => v1::is_frozen(dir),
            Some(Place { version: Version::Two, dir, .. }) => v2::is_frozen(dir),
            None => Ok(false),
        }
    }

    /// Whether it can be frozen.
    pub(in crate::native) fn is_freezable(&self) -> bool {
        self.part(Controller::Freezer).is_some()
    }

    /// Whether a process was refused because there were as many as there may be. Both versions count that in the same way.
    pub(super) fn has_refused_processes(&self) -> bool {
        let events = self.part(Controller::Pids).and_then(|part| fs::read_to_string(part.dir.join("pids.events")).ok());
        events.and_then(|events| v2::number(&events, "max")).is_some_and(|count| count > 0)
    }

    /// Where the group has this controller.
    pub(super) fn part(&self, controller: Controller) -> Option<&Place> {
        self.0.iter().find(|part| part.controllers.contains(&controller))
    }

    /// Removes the group as soon as it is empty; what is not empty in good time stays for the next sweep.
    pub(in crate::native) fn remove(&self) {
        let end = Instant::now() + REMOVE_LIMIT;
        for part in &self.0 {
            while matches!(fs::remove_dir(&part.dir), Err(error) if busy(&error)) && Instant::now() < end {
                std::thread::sleep(STEP);
            }
        }
    }
}

fn make_part(place: &Place, part: &Place, limits: &Limits) -> Result<(), Failure> {
    let name = || format!("mkdir({})", part.dir.display());
    match fs::create_dir(&part.dir) {
        // A daemon that has ended took its empty parent along.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            place.prepare()?;
            fs::create_dir(&part.dir).step(name)?;
        }
        result => result.step(name)?,
    }
    let settings = match part.version {
        Version::One => v1::settings,
        Version::Two => v2::settings,
    };
    part.controllers.iter().flat_map(|one| settings(*one, limits)).try_for_each(|setting| setting.apply(&part.dir))
}

fn busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EBUSY as i32)
}

/// Into a file that is there: the kernel makes them.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}
