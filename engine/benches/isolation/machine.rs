//! What the figures were measured on.

use std::fs;

/// Processors, kernel, user, control groups and load.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let user = if nix::unistd::geteuid().is_root() { "root" } else { "an ordinary user" };
    let groups = if has_groups_v1() { "v1" } else { "v2 or none" };
    format!(
        "{cores} cores ({}), Linux {}, control groups {groups}, as {user}, load at the beginning {}",
        processor(),
        kernel.trim(),
        load()
    )
}

/// Of the last minute: near 0 on a quiet machine.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Whether memory is accounted for by control groups of the first version, in which a process is slow to join.
pub(crate) fn has_groups_v1() -> bool {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.lines().any(|line| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == "memory")))
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.strip_prefix("model name"));
    names.map(|name| name.trim_start_matches(['\t', ' ', ':'])).next().unwrap_or("unknown").to_owned()
}
