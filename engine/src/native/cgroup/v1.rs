//! Version 1 of the kernel's interface: a hierarchy for each controller.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::super::protocol::{Failure, Step};
use super::Controller;
use super::group::{Setting, write};
use crate::Limits;

/// Microseconds over which processor time is counted.
pub(super) const PERIOD: u64 = 100_000;
/// The least that the kernel takes.
const LEAST_QUOTA: u64 = 1_000;
const FREEZER: &str = "freezer.state";
const SHORTAGE: &str = "memory.oom_control";

/// Makes the parent of the sandboxes' groups.
pub(super) fn prepare(dir: &Path) -> Result<(), Failure> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.step(|| format!("mkdir({})", dir.display())),
    }
}

/// What is to be written into a group.
pub(super) fn settings(controller: Controller, limits: &Limits) -> Vec<Setting> {
    match controller {
        Controller::Memory => limits.memory.map_or(Vec::new(), |bytes| {
            // The second where the kernel counts swap: memory and swap together, so there is no swap.
            vec![
                Setting::needed("memory.limit_in_bytes", &bytes),
                Setting::possible("memory.memsw.limit_in_bytes", &bytes),
            ]
        }),
        Controller::Cpu => limits.cpu.map_or(Vec::new(), |thousandths| {
            vec![
                Setting::needed("cpu.cfs_period_us", &PERIOD),
                Setting::needed("cpu.cfs_quota_us", &quota(thousandths)),
            ]
        }),
        Controller::Pids => limits.pids.map_or(Vec::new(), |pids| vec![Setting::pids(pids)]),
        Controller::Freezer => Vec::new(),
    }
}

/// Microseconds of processor time in each period.
pub(super) fn quota(thousandths: u32) -> u64 {
    (u64::from(thousandths) * PERIOD / 1000).max(LEAST_QUOTA)
}

pub(super) fn set_frozen(dir: &Path, frozen: bool) -> io::Result<()> {
    write(&dir.join(FREEZER), if frozen { "FROZEN" } else { "THAWED" })
}

pub(super) fn is_frozen(dir: &Path) -> io::Result<bool> {
    Ok(fs::read_to_string(dir.join(FREEZER))?.trim() == "FROZEN")
}

/// Becomes readable when the kernel is about to kill a process of the group for want of memory, and when the group is removed.
pub(super) fn watch_memory(dir: &Path) -> io::Result<EventFd> {
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let shortage = fs::File::open(dir.join(SHORTAGE))?;
    let registration = format!("{} {}", event.as_fd().as_raw_fd(), shortage.as_raw_fd());
    write(&dir.join("cgroup.event_control"), &registration)?;
    Ok(event)
}
