//! Instances: start, output, end, stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Engine, EngineError, Exit};

use crate::world::{World, alive, id, stories, until};

stories![
    output_goes_to_the_log,
    exits_are_kept,
    a_program_that_is_not_there,
    a_setup_that_fails_names_its_step,
    stopping_asks_first,
    stopping_kills_what_does_not_listen,
    stopping_a_shell_asks_what_it_started,
    the_end_of_the_program_ends_all,
    orphans_are_reaped,
    real_time_signals,
    labels_and_pids_are_listed,
    unknown_names,
    many_waiters,
    listening_addresses,
    large_environments,
];

async fn output_goes_to_the_log(world: Arc<World>) {
    let id = world.launch("a", "echo out; echo err >&2; printf unfinished").await;
    assert_eq!(world.engine.wait(&id).await.unwrap(), Exit::Status(0));
    assert_eq!(world.texts(), ["out", "err", "unfinished"]);
    let first = world.log().lines().next().unwrap().to_owned();
    let (time, rest) = first.split_once(' ').unwrap();
    assert_eq!((time.len(), &time[10..11], &time[19..20], &time[23..]), (24, "T", ".", "Z"), "{first}");
    assert_eq!(rest, "app[web.1]: out");
}

async fn exits_are_kept(world: Arc<World>) {
    for (script, expected) in
        [("exit 3", Exit::Status(3)), ("exit 0", Exit::Status(0)), ("kill -9 $$", Exit::Signal(9))]
    {
        let id = world.launch("a", script).await;
        assert_eq!(world.engine.wait(&id).await.unwrap(), expected, "{script}");
        assert_eq!(world.engine.wait(&id).await.unwrap(), expected, "{script}, once more");
        world.engine.remove(&id).await.unwrap();
        assert!(matches!(world.engine.wait(&id).await, Err(EngineError::Unknown(_))));
    }
}

async fn a_program_that_is_not_there(world: Arc<World>) {
    for (program, path, reason) in [
        ("no-such-program", "/usr/bin", "No such file or directory"),
        ("/etc/passwd", "/usr/bin", "Permission denied"),
        ("/no/such", "", "No such file or directory"),
        ("with\0nul", "", "Invalid argument"),
    ] {
        let mut spec = world.spec("");
        spec.command.argv = vec![program.to_owned()];
        spec.command.env = vec![("PATH".to_owned(), path.to_owned())];
        let error = world.engine.launch(&id("a"), &spec, "").await.unwrap_err();
        assert_eq!(error.to_string(), format!("{program}: {reason}"));
    }
    assert_eq!(world.engine.list().await.unwrap(), []);
}

async fn a_setup_that_fails_names_its_step(world: Arc<World>) {
    let mut spec = world.spec("true");
    spec.command.cwd = "/no/such".into();
    let error = world.engine.launch(&id("a"), &spec, "").await.unwrap_err();
    assert_eq!(error.to_string(), "sandbox of a: chdir(/no/such): No such file or directory");
    let mut spec = world.spec("true");
    spec.mounts = vec![crate::world::mount("/no/such", "/x", engine::MountKind::ReadOnly)];
    let error = world.engine.attach(&id("a"), &spec, None).await.unwrap_err();
    assert_eq!(error.to_string(), "sandbox of a: open_tree(/no/such): No such file or directory");
    assert_eq!(world.engine.list().await.unwrap(), []);
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
    let id = world.launch("a", "setsid sleep 1000 & sleep 1001 & echo ready; read line < /tmp/no; exit 5").await;
    assert_eq!(world.engine.wait(&id).await.unwrap(), Exit::Status(5));
}

async fn orphans_are_reaped(world: Arc<World>) {
    let script = "i=0; while [ $i -lt 50 ]; do (sh -c 'exit 1' &); i=$((i+1)); done; echo ready; sleep 1000";
    let id = world.launch("a", script).await;
    world.logged("ready").await;
    loop {
        let seen = world.exec(&id, "cat /proc/[0-9]*/stat | grep -c ') Z ' || true").await;
        if seen.stdout.trim() == "0" {
            break;
        }
    }
}

async fn real_time_signals(world: Arc<World>) {
    let id = world.launch("a", "kill -40 $$").await;
    assert_eq!(world.engine.wait(&id).await.unwrap(), Exit::Signal(40));
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
    let busy = world.engine.remove(&running).await.unwrap_err();
    assert!(busy.to_string().starts_with("remove "), "{busy}");
    let exists = world.engine.launch(&running, &world.spec("true"), "").await.unwrap_err();
    assert_eq!(exists.to_string(), "instance b exists already");
    assert_eq!(world.engine.stop(&running, Duration::from_secs(9)).await.unwrap(), Exit::Signal(15));
    assert!(!alive(pid));
}

async fn unknown_names(world: Arc<World>) {
    let id = id("nobody-knows");
    assert!(matches!(world.engine.wait(&id).await, Err(EngineError::Unknown(_))));
    assert!(matches!(world.engine.stop(&id, Duration::ZERO).await, Err(EngineError::Unknown(_))));
    assert!(matches!(world.engine.remove(&id).await, Err(EngineError::Unknown(_))));
    assert!(matches!(world.engine.listening(&id).await, Err(EngineError::Unknown(_))));
    let command = crate::world::command("true");
    assert!(matches!(world.engine.exec(&id, &command, None).await, Err(EngineError::Unknown(_))));
    let ended = world.launch("a", "true").await;
    world.engine.wait(&ended).await.unwrap();
    assert!(matches!(world.engine.exec(&ended, &command, None).await, Err(EngineError::NotRunning(_))));
}

async fn many_waiters(world: Arc<World>) {
    let id = world.launch("a", "while ! [ -e /tmp/go ]; do sleep 0.01; done; exit 9").await;
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let (world, id) = (Arc::clone(&world), id.clone());
            tokio::spawn(async move { world.engine.wait(&id).await.unwrap() })
        })
        .collect();
    // It may be killed by the end that it brings about.
    world.exec(&id, "touch /tmp/go").await;
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Exit::Status(9));
    }
}

async fn listening_addresses(world: Arc<World>) {
    let script = "import socket,time\ns=socket.create_server(('127.0.0.1',0))\nprint(s.getsockname()[1],flush=True)\nc,_=s.accept()\nc.sendall(b'hello')\ntime.sleep(1000)";
    let mut spec = world.spec("");
    if !std::path::Path::new("/usr/bin/python3").exists() {
        println!("skipped: listening_addresses: there is no /usr/bin/python3");
        return;
    }
    spec.command.argv = ["/usr/bin/python3", "-c", script].map(str::to_owned).to_vec();
    let id = id("a");
    world.engine.launch(&id, &spec, "").await.unwrap();
    until(|| !world.texts().is_empty()).await;
    let port: u16 = world.texts()[0].parse().unwrap();
    assert_eq!(world.engine.listening(&id).await.unwrap(), [std::net::SocketAddr::from(([127, 0, 0, 1], port))]);
    let mut stream = world.engine.connect(&id, port).await.unwrap();
    let mut hello = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
}

async fn large_environments(world: Arc<World>) {
    let mut spec = world.spec("echo ${#BIG1} ${#BIG9}; env | grep -c BIG");
    spec.command.env.extend((0..10).map(|number| (format!("BIG{number}"), "x".repeat(100_000))));
    let id = id("a");
    world.engine.launch(&id, &spec, "").await.unwrap();
    world.engine.wait(&id).await.unwrap();
    assert_eq!(world.texts(), ["100000 100000", "10"]);
}
