//! Logs of instances.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use engine::Exit;

use crate::world::{World, cases, id};

cases![lines_are_dated_and_tagged, bounded_and_rotated, shared_by_several, long_lines_and_odd_bytes, private, no_log];

async fn lines_are_dated_and_tagged(world: Arc<World>) {
    let id = world.launch("a", "echo out; echo err >&2; printf unfinished").await;
    assert_eq!(world.engine.wait(&id).await.unwrap(), Exit::Status(0));
    assert_eq!(world.texts(), ["out", "err", "unfinished"]);
    let first = world.log().lines().next().unwrap().to_owned();
    let (time, rest) = first.split_once(' ').unwrap();
    assert_eq!((time.len(), &time[10..11], &time[19..20], &time[23..]), (24, "T", ".", "Z"), "{first}");
    assert_eq!(rest, "app[web.1]: out");
}

async fn bounded_and_rotated(world: Arc<World>) {
    let mut spec = world.spec("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    spec.log.as_mut().unwrap().max_bytes = 100_000;
    let id = id("a");
    world.engine.launch(&id, &spec, "").await.unwrap();
    assert_eq!(world.engine.wait(&id).await.unwrap(), Exit::Status(0));
    let (old, new) = (fs::read_to_string(world.path("log.1")).unwrap(), world.log());
    assert!(old.len() <= 100_000 && new.len() <= 100_000, "{} {}", old.len(), new.len());
    assert!(old.len() + new.len() > 100_000);
    let numbers: Vec<u32> =
        format!("{old}{new}").lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1) && numbers.last() == Some(&19_999));
}

async fn shared_by_several(world: Arc<World>) {
    let ids: Vec<_> = (0..4).map(|number| id(&format!("a{number}"))).collect();
    for (number, id) in ids.iter().enumerate() {
        let mut spec = world.spec("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done");
        spec.log.as_mut().unwrap().tag = format!("app[web.{number}]:");
        world.engine.launch(id, &spec, "").await.unwrap();
    }
    for id in &ids {
        world.engine.wait(id).await.unwrap();
    }
    let log = world.log();
    for number in 0..4 {
        let tag = format!("app[web.{number}]:");
        let own: Vec<u32> = log.lines().filter_map(|line| line.split_once(&tag)?.1.trim().parse().ok()).collect();
        assert_eq!(own, (0..2000).collect::<Vec<_>>(), "{tag}");
    }
    assert_eq!(log.lines().count(), 8000);
}

async fn long_lines_and_odd_bytes(world: Arc<World>) {
    let id = world.launch("a", "head -c 40000 /dev/zero | tr '\\0' x; echo; printf '\\377\\376\\n'").await;
    world.engine.wait(&id).await.unwrap();
    let log = fs::read(world.path("log")).unwrap();
    let lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
    let lengths: Vec<usize> = lines.iter().map(|line| String::from_utf8_lossy(line).matches('x').count()).collect();
    assert_eq!(lengths, [16_384, 16_384, 7_232, 0, 0]);
    assert!(lines[3].ends_with(b" \xff\xfe"));
}

async fn private(world: Arc<World>) {
    let id = world.launch("a", "echo x").await;
    world.engine.wait(&id).await.unwrap();
    assert_eq!(fs::metadata(world.path("log")).unwrap().permissions().mode() & 0o777, 0o600);
}

async fn no_log(world: Arc<World>) {
    let mut spec = world.spec("head -c 1000000 /dev/zero; exit 2");
    spec.log = None;
    let id = id("a");
    world.engine.launch(&id, &spec, "").await.unwrap();
    assert_eq!(world.engine.wait(&id).await.unwrap(), Exit::Status(2));
}
