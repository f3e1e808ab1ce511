//! What the figures were measured on.

use std::fs;

/// Processors, kernel, user and load.
pub fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let user = if nix::unistd::geteuid().is_root() { "root" } else { "an ordinary user" };
    format!("{cores} cores ({}), Linux {}, as {user}, load at the beginning {}", processor(), kernel.trim(), load())
}

/// Of the last minute: near 0 on a quiet machine.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.strip_prefix("model name"));
    names.map(|name| name.trim_start_matches(['\t', ' ', ':'])).next().unwrap_or("unknown").to_owned()
}
