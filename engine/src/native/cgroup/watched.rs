//! A sandbox's group in the hands of its shim, from the first process to the last.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::EventFd;
use nix::unistd::Pid;

use super::super::protocol::{Failure, Step};
use super::{Controller, Group, Place, Plan, Version, v1, v2};
use crate::{Exit, Limits};

/// See the module. The default is that of a sandbox whose limits are somebody else's concern.
#[derive(Debug, Default)]
pub(in crate::native) struct Watched {
    group: Group,
    memory: Option<u64>,
    /// Version 1 tells of a want of memory and kills a single process; version 2 kills them all and counts.
    shortage: Option<EventFd>,
    ran_out: bool,
    refused_processes: bool,
}

impl Watched {
    /// Makes the group.
    pub(in crate::native) fn make(plan: &Plan, limits: &Limits, freezable: bool) -> Result<Self, Failure> {
        let group = Group::make(plan, limits, freezable)?;
        let mut watched =
            Self { group, memory: limits.memory, shortage: None, ran_out: false, refused_processes: false };
        if let Some(Place { version: Version::One, dir, .. }) = watched.group.part(Controller::Memory) {
            let event = v1::watch_memory(dir).step(|| format!("watch the memory of {}", dir.display()))?;
            watched.shortage = Some(event);
        }
        Ok(watched)
    }

    /// The part of version 2, in which the first process can be started: that is quicker than to put it there.
    pub(in crate::native) fn home(&self) -> Result<Option<File>, Failure> {
        let dir = self.group.dirs(Version::Two).next();
        dir.map(|dir| File::open(dir).step(|| format!("open({})", dir.display()))).transpose()
    }

    /// Puts the first process into the rest.
    pub(in crate::native) fn admit(&self, pid: Pid) -> Result<(), Failure> {
        self.group.admit(pid)
    }

    pub(in crate::native) fn group(&self) -> &Group {
        &self.group
    }

    /// Readable when [`Watched::is_short_of_memory`] is worth asking.
    pub(in crate::native) fn event(&self) -> Option<BorrowedFd<'_>> {
        self.shortage.as_ref().map(AsFd::as_fd)
    }

    /// True if the sandbox needs more memory than it has, so that the kernel kills one of its processes: then all have to end.
    pub(in crate::native) fn is_short_of_memory(&mut self) -> bool {
        if let (Some(shortage), Some(part)) = (&self.shortage, self.group.part(Controller::Memory)) {
            // The removal of the group is told in the same way.
            self.ran_out |= shortage.read().is_ok() && part.dir.exists();
        }
        self.ran_out
    }

    fn ran_out(&mut self) -> bool {
        match self.group.part(Controller::Memory) {
            Some(Place { version: Version::Two, dir, .. }) => v2::ran_out_of_memory(dir),
            _ => self.is_short_of_memory(),
        }
    }

    /// After the end of every process in it: removes the group, and says how the sandbox ended, given how its program did.
    pub(in crate::native) fn finish(&mut self, told: Exit) -> Exit {
        let ran_out = self.ran_out();
        self.refused_processes = self.group.has_refused_processes();
        self.group.remove();
        match self.memory {
            Some(limit) if ran_out && !told.success() => Exit::OutOfMemory(limit),
            _ => told,
        }
    }

    /// Whether a process was refused because there were as many as there may be. Known after [`Watched::finish`].
    pub(in crate::native) fn was_refused_processes(&self) -> bool {
        self.refused_processes
    }
}

impl Drop for Watched {
    /// Of a sandbox that came to nothing, too.
    fn drop(&mut self) {
        self.group.remove();
    }
}
