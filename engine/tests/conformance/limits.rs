//! Bounds, and standing still. What this machine does not let an ordinary user bound is not tried.

use std::sync::Arc;
use std::time::Duration;

use engine::{EngineError, Exit, Limits};

use crate::world::{World, cases, command, id, lacks, limited, output, until, with_command_line};

cases![
    open_files_and_core_dumps,
    open_files_are_what_is_asked,
    private_space_is_bounded,
    want_of_memory_ends_the_whole,
    want_of_memory_in_a_one_off,
    processes_are_bounded,
    processor_time_is_bounded,
    frozen_and_thawed,
    frozen_and_stopped,
    what_cannot_be_frozen,
];

const MEGABYTE: u64 = 1 << 20;
/// Long enough for a loop that turns every few milliseconds to be noticed.
const WHILE: Duration = Duration::from_millis(200);
const COUNTS: &str = "trap 'exit 12' TERM; while :; do echo turn; sleep 0.005; done";

async fn open_files_and_core_dumps(world: Arc<World>) {
    let seen = world.run(&world.spec("ulimit -n; ulimit -Hn; ulimit -Hc")).await;
    let numbers: Vec<u64> = seen.stdout.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers[0] >= 1024 && numbers[0] == numbers[1] && numbers[1] <= 65_536 && numbers[2] == 0, "{numbers:?}");
}

async fn open_files_are_what_is_asked(world: Arc<World>) {
    let limits = Limits { open_files: 100, ..Limits::default() };
    let asked = "ulimit -n; ulimit -Hn; ulimit -Hc";
    assert_eq!(world.run(&limited(&world, asked, limits)).await.stdout, "100\n100\n0\n");
    world.engine.launch(&id("a"), &limited(&world, "exec sleep 86470", limits), "").await.unwrap();
    assert_eq!(world.exec(&id("a"), asked).await.stdout, "100\n100\n0\n");
    let seen = output(world.reopened().await.exec(&id("a"), &command(asked), None).await.unwrap()).await;
    assert_eq!(seen.stdout, "100\n100\n0\n", "by a later daemon, too");
}

async fn private_space_is_bounded(world: Arc<World>) {
    let limits = Limits { tmp: 8 * MEGABYTE, ..Limits::default() };
    let script = "for dir in /tmp ~ /dev/shm /var/tmp; do head -c 9M /dev/zero > $dir/file; rm $dir/file; done";
    let seen = world.run(&limited(&world, script, limits)).await;
    assert_eq!(seen.stderr.matches("No space left on device").count(), 4, "{seen:?}");
}

async fn want_of_memory_ends_the_whole(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.memory) {
        return;
    }
    let limits = Limits { memory: Some(48 * MEGABYTE), ..Limits::default() };
    world.engine.launch(&id("neighbour"), &limited(&world, "exec sleep 86471", limits), "").await.unwrap();
    let scripts = ["exec tail /dev/zero", "trap '' TERM; tail /dev/zero & while :; do sleep 86472; done"];
    for (bomb, script) in [id("itself"), id("child")].iter().zip(scripts) {
        world.engine.launch(bomb, &limited(&world, script, limits), "").await.unwrap();
        assert_eq!(world.engine.wait(bomb).await.unwrap(), Exit::OutOfMemory(48 * MEGABYTE), "{script}");
        assert_eq!(with_command_line("sleep 86472"), Vec::<u32>::new(), "{script}");
        assert_eq!(world.reopened().await.wait(bomb).await.unwrap(), Exit::OutOfMemory(48 * MEGABYTE), "it is on disk");
    }
    assert_eq!(world.exec(&id("neighbour"), "exit 3").await.exit, Exit::Status(3));
}

async fn want_of_memory_in_a_one_off(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.memory) {
        return;
    }
    let limits = Limits { memory: Some(48 * MEGABYTE), ..Limits::default() };
    // By itself, by a child, and by files in memory.
    for script in ["exec tail /dev/zero", "tail /dev/zero; exec sleep 86476", "head -c 100M /dev/zero > /tmp/file"] {
        let seen = world.run(&limited(&world, &format!("echo begin; {script}"), limits)).await;
        assert_eq!((seen.stdout.as_str(), seen.exit), ("begin\n", Exit::OutOfMemory(48 * MEGABYTE)), "{script}");
    }
    assert_eq!(world.run(&limited(&world, "exit 5", limits)).await.exit, Exit::Status(5));
}

async fn processes_are_bounded(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.pids) {
        return;
    }
    let limits = Limits { pids: Some(20), ..Limits::default() };
    let script = "n=86473; ( while :; do sleep $n & done ); exec sleep 1$n";
    world.engine.launch(&id("bomb"), &limited(&world, script, limits), "").await.unwrap();
    // The other two: the program itself, and the shell that could not fork any more.
    until(|| with_command_line("sleep 86473").len() == 18 && with_command_line("sleep 186473").len() == 1).await;
    let error = world.engine.exec(&id("bomb"), &command("exit 0"), None).await.unwrap_err();
    assert!(matches!(error, EngineError::Setup { .. }), "{error}");
    assert_eq!(world.engine.stop(&id("bomb"), Duration::from_secs(20)).await.unwrap(), Exit::Signal(15));
    assert_eq!(with_command_line("sleep 86473"), Vec::<u32>::new());
}

/// A fifth of a processor for a second is 20 hundredths; without a bound it would be about 100.
async fn processor_time_is_bounded(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.cpu) {
        return;
    }
    let limits = Limits { cpu: Some(200), ..Limits::default() };
    let script = "timeout 1 sh -c 'while :; do :; done'; cut -d' ' -f16,17 /proc/$$/stat";
    let seen = world.run(&limited(&world, script, limits)).await;
    let used: u64 = seen.stdout.split_whitespace().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    assert!(used < 45, "{used} hundredths of a second in one");
}

async fn frozen_and_thawed(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.freeze) {
        return;
    }
    let id = world.launch("a", COUNTS).await;
    world.logged("turn").await;
    world.engine.thaw(&id).await.unwrap();
    // The second time by a daemon that the first one outlives.
    for engine in [Arc::clone(&world.engine), world.reopened().await] {
        engine.freeze(&id).await.unwrap();
        engine.freeze(&id).await.unwrap();
        // What it wrote before may still be on its way into the log.
        tokio::time::sleep(WHILE).await;
        let before = world.log().len();
        tokio::time::sleep(WHILE).await;
        assert_eq!(world.log().len(), before);
        let refused = world.engine.exec(&id, &command("true"), None).await.unwrap_err();
        assert!(refused.to_string().contains("frozen"), "{refused}");
        assert!(world.engine.list().await.unwrap()[0].pid.is_some());
        drop(engine);
        world.engine.thaw(&id).await.unwrap();
        world.engine.thaw(&id).await.unwrap();
        until(|| world.log().len() > before).await;
        assert_eq!(world.exec(&id, "exit 7").await.exit, Exit::Status(7));
    }
    world.engine.freeze(&id).await.unwrap();
    world.reopened().await.thaw(&id).await.unwrap();
    assert_eq!(world.exec(&id, "exit 7").await.exit, Exit::Status(7));
}

async fn frozen_and_stopped(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.freeze) {
        return;
    }
    let gentle = world.launch("gentle", COUNTS).await;
    world.logged("turn").await;
    let stubborn = world.launch("stubborn", "trap '' TERM; echo ready; while :; do sleep 0.01; done").await;
    world.logged("ready").await;
    for id in [&gentle, &stubborn] {
        world.engine.freeze(id).await.unwrap();
    }
    assert_eq!(world.engine.stop(&gentle, Duration::from_secs(20)).await.unwrap(), Exit::Status(12));
    assert_eq!(world.engine.stop(&stubborn, Duration::ZERO).await.unwrap(), Exit::Signal(9));
}

async fn what_cannot_be_frozen(world: Arc<World>) {
    let able = world.engine.abilities().freeze.is_ok();
    let unknown = world.engine.freeze(&id("nobody")).await.unwrap_err();
    assert!(matches!(unknown, EngineError::Unknown(_)) == able, "{unknown}");
    let id = world.launch("a", "exit 0").await;
    world.engine.wait(&id).await.unwrap();
    let ended = world.engine.freeze(&id).await.unwrap_err();
    assert!(matches!(ended, EngineError::NotRunning(_)) == able, "{ended}");
    assert!(matches!(world.engine.thaw(&id).await, Err(EngineError::NotRunning(_))));
    if !able {
        assert!(matches!(ended, EngineError::Unsupported(_)), "{ended}");
    }
}
