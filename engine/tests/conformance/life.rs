//! Instances: launched, listed, waited for, stopped, removed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{EngineError, Exit};

use crate::world::{SIZE, World, alive, cases, command, id, output, until, with_command_line};

cases![
    exits_are_kept_until_removed,
    programs_that_cannot_be_executed,
    failed_launches_leave_nothing,
    names_are_used_once,
    unknown_names,
    ended_instances,
    running_instances_are_not_removed,
    labels_and_pids_are_listed,
    another_daemon_takes_over,
    many_waiters,
    stopping_asks_first,
    stopping_kills_what_does_not_listen,
    stopping_a_shell_asks_what_it_started,
    the_end_of_the_program_ends_all,
    orphans_are_reaped,
];

async fn exits_are_kept_until_removed(world: Arc<World>) {
    for (script, expected) in [
        ("exit 3", Exit::Status(3)),
        ("exit 0", Exit::Status(0)),
        ("exit 143", Exit::Status(143)),
        ("kill -9 $$", Exit::Signal(9)),
        ("kill -40 $$", Exit::Signal(40)),
    ] {
        let id = world.launch("a", script).await;
        assert_eq!(world.engine.wait(&id).await.unwrap(), expected, "{script}");
        assert_eq!(world.engine.wait(&id).await.unwrap(), expected, "{script}, once more");
        assert_eq!(world.engine.stop(&id, Duration::ZERO).await.unwrap(), expected, "{script}, stopped");
        world.engine.remove(&id).await.unwrap();
        assert!(matches!(world.engine.wait(&id).await, Err(EngineError::Unknown(_))));
    }
}

async fn programs_that_cannot_be_executed(world: Arc<World>) {
    let running = world.launch("running", "exec sleep 1000").await;
    for (program, path, reason) in [
        ("no-such-program", "/usr/bin", "No such file or directory"),
        ("/etc/passwd", "/usr/bin", "Permission denied"),
        ("/no/such", "", "No such file or directory"),
        ("with\0nul", "", "Invalid argument"),
    ] {
        let mut spec = world.spec("");
        spec.command.argv = vec![program.to_owned()];
        spec.command.env = vec![("PATH".to_owned(), path.to_owned())];
        let expected = format!("{program}: {reason}");
        let error = world.engine.launch(&id("a"), &spec, "").await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(matches!(error, EngineError::Program { .. }));
        assert_eq!(world.engine.attach(&id("a"), &spec, None).await.unwrap_err().to_string(), expected);
        for terminal in [None, Some(SIZE)] {
            let error = world.engine.exec(&running, &spec.command, terminal).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
    assert_eq!(world.engine.list().await.unwrap().len(), 1, "only what runs");
}

async fn failed_launches_leave_nothing(world: Arc<World>) {
    let mut without_cwd = world.spec("true");
    without_cwd.command.cwd = "/no/such".into();
    let mut without_source = world.spec("true");
    without_source.mounts = vec![crate::world::mount("/no/such", "/x", engine::MountKind::ReadOnly)];
    let mut without_log = world.spec("true");
    without_log.log.as_mut().unwrap().path = world.path("missing/log");
    for spec in [without_cwd, without_source, without_log] {
        let error = world.engine.launch(&id("a"), &spec, "").await.unwrap_err();
        assert!(matches!(error, EngineError::Setup { .. }), "{error}");
        assert!(error.to_string().starts_with("sandbox of a: "), "{error}");
        assert_eq!(world.engine.list().await.unwrap(), []);
    }
    // The name is free again.
    world.launch("a", "true").await;
}

async fn names_are_used_once(world: Arc<World>) {
    let id = world.launch("a", "exec sleep 1000").await;
    for _ in 0..2 {
        let error = world.engine.launch(&id, &world.spec("true"), "").await.unwrap_err();
        assert_eq!(error.to_string(), "instance a exists already");
        world.engine.stop(&id, Duration::from_secs(9)).await.unwrap();
    }
}

async fn unknown_names(world: Arc<World>) {
    let id = id("nobody-knows");
    assert!(matches!(world.engine.wait(&id).await, Err(EngineError::Unknown(_))));
    assert!(matches!(world.engine.stop(&id, Duration::ZERO).await, Err(EngineError::Unknown(_))));
    assert!(matches!(world.engine.remove(&id).await, Err(EngineError::Unknown(_))));
    assert!(matches!(world.engine.listening(&id).await, Err(EngineError::Unknown(_))));
    assert!(matches!(world.engine.exec(&id, &command("true"), None).await, Err(EngineError::Unknown(_))));
    assert!(world.engine.connect(&id, 1).await.is_err());
}

async fn ended_instances(world: Arc<World>) {
    let id = world.launch("a", "true").await;
    world.engine.wait(&id).await.unwrap();
    assert!(matches!(world.engine.exec(&id, &command("true"), None).await, Err(EngineError::NotRunning(_))));
    assert!(matches!(world.engine.listening(&id).await, Err(EngineError::NotRunning(_))));
    assert!(world.engine.connect(&id, 1).await.is_err());
}

async fn running_instances_are_not_removed(world: Arc<World>) {
    let id = world.launch("a", "exec sleep 1000").await;
    let busy = world.engine.remove(&id).await.unwrap_err();
    assert!(busy.to_string().starts_with("remove "), "{busy}");
    assert_eq!(world.exec(&id, "echo lives").await.stdout, "lives\n");
}

async fn labels_and_pids_are_listed(world: Arc<World>) {
    let running = world.launch("b", "exec sleep 1000").await;
    let ended = world.launch("a", "exit 4").await;
    world.engine.wait(&ended).await.unwrap();
    let listed = world.engine.list().await.unwrap();
    assert_eq!(listed.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), [ended, running.clone()]);
    assert!(listed.iter().all(|one| one.labels == "labels" && one.started_at_ms > 1_700_000_000_000));
    assert_eq!((listed[0].pid, listed[0].exit), (None, Some(Exit::Status(4))));
    let pid = listed[1].pid.unwrap();
    assert!(alive(pid) && listed[1].exit.is_none());
    assert_eq!(world.engine.stop(&running, Duration::from_secs(9)).await.unwrap(), Exit::Signal(15));
    assert!(!alive(pid));
}

async fn another_daemon_takes_over(world: Arc<World>) {
    let id = world.launch("a", "echo ready; trap 'exit 12' TERM; while :; do sleep 0.01; done").await;
    world.logged("ready").await;
    let before = world.engine.list().await.unwrap();
    let other = world.reopened().await;
    assert_eq!(other.list().await.unwrap(), before);
    let process = other.exec(&id, &command("exit 4"), None).await.unwrap();
    assert_eq!(process.control.wait().await.unwrap(), Exit::Status(4));
    let waiting = tokio::spawn(async move { (other.wait(&id).await, other, id) });
    assert_eq!(world.engine.stop(&before[0].id, Duration::from_secs(20)).await.unwrap(), Exit::Status(12));
    let (seen, other, id) = waiting.await.unwrap();
    assert_eq!(seen.unwrap(), Exit::Status(12));
    drop(other);
    let third = world.reopened().await;
    assert_eq!(third.list().await.unwrap()[0].exit, Some(Exit::Status(12)));
    third.remove(&id).await.unwrap();
    assert_eq!(world.engine.list().await.unwrap(), []);
}

async fn many_waiters(world: Arc<World>) {
    let id = world.launch("a", "while ! [ -e /tmp/go ]; do sleep 0.01; done; exit 9").await;
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let (world, id) = (Arc::clone(&world), id.clone());
            tokio::spawn(async move { world.engine.wait(&id).await.unwrap() })
        })
        .collect();
    // The end that it brings about may kill it, before it has even been heard to run.
    if let Ok(touching) = world.engine.exec(&id, &command("touch /tmp/go"), None).await {
        output(touching).await;
    }
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Exit::Status(9));
    }
}

async fn stopping_asks_first(world: Arc<World>) {
    let id = world.launch("a", "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.01; done").await;
    world.logged("ready").await;
    assert_eq!(world.engine.stop(&id, Duration::from_secs(30)).await.unwrap(), Exit::Status(7));
    assert_eq!(world.texts(), ["ready", "asked"]);
    assert_eq!(world.engine.stop(&id, Duration::ZERO).await.unwrap(), Exit::Status(7));
}

async fn stopping_kills_what_does_not_listen(world: Arc<World>) {
    let id = world.launch("a", "trap '' TERM; echo ready; while :; do sleep 100; done").await;
    world.logged("ready").await;
    let begin = Instant::now();
    assert_eq!(world.engine.stop(&id, Duration::from_millis(300)).await.unwrap(), Exit::Signal(9));
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

/// The shell dies of the signal at once; the server it started still gets its time.
async fn stopping_a_shell_asks_what_it_started(world: Arc<World>) {
    let server = "trap 'sleep 0.2; echo drained; exit' TERM; echo ready; while :; do sleep 0.01; done";
    let id = world.launch("a", &format!("sh -c \"{server}\"; echo never")).await;
    world.logged("ready").await;
    assert_eq!(world.engine.stop(&id, Duration::from_secs(30)).await.unwrap(), Exit::Signal(15));
    let texts = world.texts();
    assert!(texts.contains(&"drained".to_owned()) && !texts.contains(&"never".to_owned()), "{texts:?}");
}

async fn the_end_of_the_program_ends_all(world: Arc<World>) {
    let id = world.launch("a", "setsid sleep 86440 & sleep 86440 & echo ready; read line < /tmp/no; exit 5").await;
    assert_eq!(world.engine.wait(&id).await.unwrap(), Exit::Status(5));
    until(|| with_command_line("sleep 86440").is_empty()).await;
}

async fn orphans_are_reaped(world: Arc<World>) {
    let script = "i=0; while [ $i -lt 50 ]; do (sh -c 'exit 1' &); i=$((i+1)); done; echo ready; sleep 1000";
    let id = world.launch("a", script).await;
    world.logged("ready").await;
    while world.exec(&id, "cat /proc/[0-9]*/stat | grep -c ') Z ' || true").await.stdout.trim() != "0" {}
}
