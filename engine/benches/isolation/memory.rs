//! Memory of what stands beside an instance that does nothing: its shim, its first process, its network's relay.

use std::fs;

use engine::{Engine, InstanceId};

use crate::measured::{Measured, Target};
use crate::program::SERVE;
use crate::sandboxes::{PROGRAM, Sandboxes};

const INSTANCES: u32 = 10;

/// Pages that instances share count for a part to each.
pub(crate) async fn measure(sandboxes: &Sandboxes) -> Option<Measured> {
    let mut ids: Vec<InstanceId> = Vec::new();
    for number in 0..INSTANCES {
        ids.push(sandboxes.launch(&format!("idle.{number}"), &[PROGRAM, SERVE, "5000"]).await);
    }
    let mut sums = [0.0; 3];
    let mut readable = true;
    for listed in sandboxes.engine.list().await.unwrap() {
        let init = listed.pid.unwrap();
        let shim = parent(init).unwrap();
        let relay = children(shim).into_iter().find(|child| *child != init);
        for (sum, pid) in sums.iter_mut().zip([Some(shim), Some(init), relay]) {
            let share = pid.map_or(Some(0.0), proportional);
            readable &= share.is_some();
            *sum += share.unwrap_or_default() / f64::from(INSTANCES);
        }
    }
    for id in &ids {
        sandboxes.end(id).await;
    }
    if !readable {
        println!("not measured: memory of an instance: only root may look at it");
        return None;
    }
    let [shim, init, relay] = sums;
    println!(
        "proportional memory of {INSTANCES} idle instances: shim {shim:.2} MB, init {init:.2} MB, relay {relay:.2} MB"
    );
    Some(Measured {
        what: "shim, init and relay of an idle instance, proportional memory",
        figure: shim + init + relay,
        unit: "MB",
        peer: None,
        target: Target::AtMost(2.0),
    })
}

fn parent(pid: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// In megabytes.
fn proportional(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim_end_matches(" kB").trim().parse::<f64>().ok()? / 1024.0)
}
