//! What the kernel says of the daemon's processes.

use std::fs;

use crate::harness::Server;

/// Memory in megabytes.
pub fn resident(pid: i32) -> Option<f64> {
    megabytes(pid, "status", "VmRSS:")
}

/// The same, with shared pages counting for a part to everyone who shares them.
pub fn proportional(pid: i32) -> Option<f64> {
    megabytes(pid, "smaps_rollup", "Pss:")
}

/// The share of what stands beside one of so many instances, in megabytes: the shim outside, its child inside, the init, and
/// its other child, the relay of the instance's network. `None`: only root may look.
pub fn beside_instances(server: &Server, instances: usize) -> Option<f64> {
    let processes = server.processes().into_iter().map(|found| found.pid);
    let inits: Vec<i32> = processes.filter(|pid| is_first_inside(*pid)).collect();
    assert_eq!(inits.len(), instances, "{inits:?}");
    let shims: Vec<i32> = inits.iter().filter_map(|init| number(*init, "status", "PPid:")).collect();
    let all = shims.iter().flat_map(|shim| [vec![*shim], children(*shim)].concat());
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    Some(all.map(proportional).sum::<Option<f64>>()? / instances as f64)
}

/// Whether it is process 1 of a namespace.
fn is_first_inside(pid: i32) -> bool {
    number(pid, "status", "NSpid:") == Some(1)
}

fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

fn megabytes(pid: i32, file: &str, name: &str) -> Option<f64> {
    Some(f64::from(number(pid, file, name)?) / 1024.0)
}

/// The last number of a line of a file of `/proc`.
fn number(pid: i32, file: &str, name: &str) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_end_matches(" kB").split_whitespace().last()?.parse().ok()
}

/// Processor time since its start, in seconds.
pub fn processor_time(pid: i32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11..13)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    let rate = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    Some(ticks / rate as f64)
}
