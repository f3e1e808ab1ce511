//! Version 2 of the kernel's interface: one hierarchy for all controllers.

use std::fs;
use std::io;
use std::path::Path;

use super::super::protocol::{Failure, Step};
use super::Controller;
use super::group::{Setting, write};
use super::v1::{self, PERIOD};
use crate::Limits;

/// Of a group: what its parent gave it.
pub(super) const CONTROLLERS: &str = "cgroup.controllers";
/// Of a group: what it gives its own groups.
pub(super) const ENABLED: &str = "cgroup.subtree_control";
/// The group for this process itself where it may not stay in the one that has the sandboxes' groups in it.
pub(super) const LEAF: &str = "daemon";
const FREEZER: &str = "cgroup.freeze";

/// Makes the parent of the sandboxes' groups.
pub(super) fn prepare(dir: &Path, controllers: &[Controller]) -> Result<(), Failure> {
    let base = dir.parent().unwrap_or(dir);
    let names: Vec<_> =
        controllers.iter().filter(|one| **one != Controller::Freezer).map(|controller| controller.name()).collect();
    enable(base, &names)?;
    v1::prepare(dir)?;
    enable(dir, &names)
}

/// Gives controllers to the groups in `group`. A group whose groups have controllers may not hold processes: if it holds this
/// one, that goes into a leaf.
pub(super) fn enable(group: &Path, names: &[&str]) -> Result<(), Failure> {
    let (file, busy) = (group.join(ENABLED), nix::errno::Errno::EBUSY as i32);
    let enabled = fs::read_to_string(&file).step(|| format!("read({})", file.display()))?;
    let missing: Vec<_> =
        names.iter().filter(|name| !enabled.split_ascii_whitespace().any(|one| one == **name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let words = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    let name = || format!("write({}, {words})", file.display());
    match write(&file, &words) {
        Err(error) if error.raw_os_error() == Some(busy) => {
            step_down(group)?;
            write(&file, &words).step(name)
        }
        result => result.step(name),
    }
}

fn step_down(group: &Path) -> Result<(), Failure> {
    let leaf = group.join(LEAF);
    v1::prepare(&leaf)?;
    write(&leaf.join("cgroup.procs"), "0").step(|| format!("enter the control group {}", leaf.display()))
}

/// What is to be written into a group.
pub(super) fn settings(controller: Controller, limits: &Limits) -> Vec<Setting> {
    match controller {
        Controller::Memory => limits.memory.map_or(Vec::new(), |bytes| {
            vec![
                Setting::needed("memory.max", &bytes),
                Setting::possible("memory.swap.max", &0),
                Setting::needed("memory.oom.group", &1),
            ]
        }),
        Controller::Cpu => limits.cpu.map_or(Vec::new(), |thousandths| {
            vec![Setting::needed("cpu.max", &format!("{} {PERIOD}", v1::quota(thousandths)))]
        }),
        Controller::Pids => limits.pids.map_or(Vec::new(), |pids| vec![Setting::pids(pids)]),
        Controller::Freezer => Vec::new(),
    }
}

pub(super) fn set_frozen(dir: &Path, frozen: bool) -> io::Result<()> {
    write(&dir.join(FREEZER), if frozen { "1" } else { "0" })
}

pub(super) fn is_frozen(dir: &Path) -> io::Result<bool> {
    Ok(number(&fs::read_to_string(dir.join("cgroup.events"))?, "frozen") == Some(1))
}

/// Whether the kernel has killed a process because the group needed more than its limit, rather than the whole machine more
/// than it has.
pub(super) fn ran_out_of_memory(dir: &Path) -> bool {
    let events = fs::read_to_string(dir.join("memory.events")).unwrap_or_default();
    ["oom", "oom_kill"].into_iter().all(|name| number(&events, name).is_some_and(|count| count > 0))
}

/// The number after `name` in lines of names and numbers.
pub(super) fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().filter_map(|line| line.split_once(' ')).find(|(one, _)| *one == name)?.1.trim().parse().ok()
}
