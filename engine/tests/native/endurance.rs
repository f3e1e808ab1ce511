//! Many instances at once, and many one after the other.
//!
//! `AIRSTRIP_STARTS=1000` is the figure that the engine must bear; a default run makes fewer starts.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use engine::Exit;
use futures_util::future::join_all;

use crate::world::{World, cases, children, id};

cases![many_at_once, many_one_after_the_other];

/// Started at the same time by the case of many starts.
const ABREAST: usize = 4;

fn figure(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |value| value.parse().expect(variable))
}

async fn many_at_once(world: Arc<World>) {
    let count = figure("AIRSTRIP_INSTANCES", 200);
    let mut spec = world.spec("exec sleep 86433");
    spec.log = None;
    let ids: Vec<_> = (0..count).map(|number| id(&format!("many.{number}"))).collect();
    for launched in join_all(ids.iter().map(|id| world.engine.launch(id, &spec, ""))).await {
        launched.unwrap();
    }
    let listed = world.engine.list().await.unwrap();
    assert_eq!(listed.iter().filter(|one| one.pid.is_some()).count(), count);
    let grace = Duration::from_secs(10);
    for ended in join_all(ids.iter().map(|id| world.engine.stop(id, grace))).await {
        assert_eq!(ended.unwrap(), Exit::Signal(15));
    }
}

async fn many_one_after_the_other(world: Arc<World>) {
    let (world, count) = (&world, figure("AIRSTRIP_STARTS", 250));
    // What the first start of all leaves for later ones is no leak.
    start_and_stop(world, "first").await;
    let before = held();
    let row = |lane: usize| async move {
        for number in (lane..count).step_by(ABREAST) {
            start_and_stop(world, &format!("one.{number}")).await;
        }
    };
    join_all((0..ABREAST).map(row)).await;
    while !children(std::process::id()).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(held(), before);
}

async fn start_and_stop(world: &World, name: &str) {
    let id = id(name);
    let mut spec = world.spec("exec sleep 86434");
    spec.log = None;
    world.engine.launch(&id, &spec, "").await.unwrap();
    assert_eq!(world.engine.stop(&id, Duration::from_secs(10)).await.unwrap(), Exit::Signal(15));
    world.engine.remove(&id).await.unwrap();
}

/// How many of each kind of thing this process holds: descriptors by what they are, and mounts.
fn held() -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let kinds = links.map(|link| link.to_string_lossy().split(['[', '(']).next().unwrap().to_owned());
    for kind in kinds.chain(fs::read_to_string("/proc/self/mounts").unwrap().lines().map(|_| "mount".to_owned())) {
        *held.entry(kind).or_default() += 1;
    }
    held
}
