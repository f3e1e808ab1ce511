//! Disks that are full, processes that are stopped, records that lie, clocks that jump.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::native::Native;
use engine::{Engine, EngineError, Exit, LogFile};
use futures_util::future::join_all;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

use crate::world::{World, cases, children, command, direct_children, id, root, send, until, with_command_line};

cases![
    a_full_disk_under_the_records,
    no_room_for_another_file,
    a_full_disk_under_the_log,
    a_log_that_is_taken_away,
    a_stopped_shim_does_not_hang_the_engine,
    a_shim_that_was_stopped_for_a_while,
    a_stopped_first_process_delays_every_connection_once,
    more_waiters_than_a_shim_admits,
    a_stopped_program_is_stopped_nonetheless,
    hundreds_of_orphans,
    signals_reach_the_whole_group,
    records_that_lie,
    a_clock_that_was_set_back,
];

const FULL: &str = "No space left on device";

/// A file system of its own in a case's directory.
struct Disk(PathBuf);

impl Disk {
    /// `None`, with the reason printed, where that cannot be made.
    fn new(world: &World, options: &str) -> Option<Self> {
        if !root() {
            println!("skipped: only root can mount a small disk");
            return None;
        }
        let path = world.path("disk");
        fs::create_dir(&path).unwrap();
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
        Some(Self(path))
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.0.join("ballast")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }

    fn names(&self, below: &str) -> Vec<PathBuf> {
        fs::read_dir(self.0.join(below)).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

async fn a_full_disk_under_the_records(world: Arc<World>) {
    let Some(disk) = Disk::new(&world, "size=256k") else { return };
    let engine = Native::new(disk.0.join("run")).unwrap();
    let script = "trap 'exit 12' TERM; echo ready; while ! [ -e /tmp/go ]; do sleep 0.01; done; echo went on; while :; do sleep 0.01; done";
    engine.launch(&id("a"), &world.spec(script), "").await.unwrap();
    world.logged("ready").await;
    disk.fill();
    let before = children(std::process::id()).len();
    let error = engine.launch(&id("b"), &world.spec("sleep 86440"), "").await.unwrap_err().to_string();
    assert_eq!(error, format!("sandbox of b: write into {}: {FULL}", disk.0.join("run/b").display()));
    assert_eq!(disk.names("run"), [disk.0.join("run/a")]);
    until(|| with_command_line("sleep 86440").is_empty() && children(std::process::id()).len() <= before).await;
    let went = engine.exec(&id("a"), &command("touch /tmp/go"), None).await.unwrap();
    assert_eq!(went.control.wait().await.unwrap(), Exit::Status(0));
    world.logged("went on").await;
    assert_eq!(engine.stop(&id("a"), Duration::from_secs(20)).await.unwrap(), Exit::Status(12));
    // Whoever did not wait for the end learns that it ended.
    assert!(engine.list().await.unwrap()[0].exit.is_some());
    engine.remove(&id("a")).await.unwrap();
    disk.free();
    engine.launch(&id("a"), &world.spec("exit 3"), "").await.unwrap();
    assert_eq!(engine.wait(&id("a")).await.unwrap(), Exit::Status(3));
}

async fn no_room_for_another_file(world: Arc<World>) {
    let Some(disk) = Disk::new(&world, "size=1m,nr_inodes=40") else { return };
    let engine = Native::new(disk.0.join("run")).unwrap();
    engine.launch(&id("a"), &world.spec("exec sleep 86441"), "").await.unwrap();
    let mut errors = Vec::new();
    // Every start but the last finds one file fewer in its way.
    let fillers = (0..100).take_while(|number| File::create(disk.0.join(format!("filler.{number}"))).is_ok()).count();
    for number in 0..fillers {
        match engine.launch(&id("b"), &world.spec("exec sleep 86442"), "").await {
            Err(error) => errors.push(error.to_string()),
            Ok(()) => break,
        }
        assert_eq!(disk.names("run"), [disk.0.join("run/a")], "{errors:?}");
        fs::remove_file(disk.0.join(format!("filler.{number}"))).unwrap();
    }
    assert!((3..9).contains(&errors.len()) && errors.iter().all(|error| error.contains(FULL)), "{errors:?}");
    // How they end is a file of its own, too.
    (errors.len()..fillers).for_each(|number| fs::remove_file(disk.0.join(format!("filler.{number}"))).unwrap());
    for name in ["a", "b"] {
        assert_eq!(engine.stop(&id(name), Duration::from_secs(20)).await.unwrap(), Exit::Signal(15));
    }
}

/// Lines that find no space are lost. Those before and after are whole, and the program does not notice.
async fn a_full_disk_under_the_log(world: Arc<World>) {
    let Some(disk) = Disk::new(&world, "size=1m") else { return };
    let path = disk.0.join("log");
    let mut spec = world
        .spec("i=0; while :; do i=$((i+1)); echo line $i is not short at all; echo $i > /tmp/n; sleep 0.001; done");
    spec.log = Some(LogFile { path: path.clone(), tag: "app[web.1]:".to_owned(), max_bytes: 1 << 30 });
    world.engine.launch(&id("a"), &spec, "").await.unwrap();
    let last = || whole_lines(&path).last().copied().unwrap_or_default();
    for _ in 0..3 {
        until(|| last() > 0).await;
        disk.fill();
        let full = count(&world).await;
        while count(&world).await < full + 100 {}
        let error = world.engine.launch(&id("b"), &spec, "").await.err().map(|error| error.to_string());
        assert!(error.as_ref().is_none_or(|error| error.contains(FULL)), "{error:?}");
        if error.is_none() {
            world.engine.stop(&id("b"), Duration::ZERO).await.unwrap();
            world.engine.remove(&id("b")).await.unwrap();
        }
        disk.free();
        let begin = count(&world).await;
        until(|| last() > begin).await;
    }
    world.engine.stop(&id("a"), Duration::ZERO).await.unwrap();
}

/// By somebody who tidies up: a new one is begun.
async fn a_log_that_is_taken_away(world: Arc<World>) {
    let id = world.launch("a", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.001; done").await;
    for _ in 0..3 {
        world.logged("line").await;
        fs::remove_file(world.path("log")).unwrap();
    }
    world.logged("line").await;
    fs::remove_file(world.path("log")).unwrap();
    fs::create_dir(world.path("log")).unwrap();
    assert_eq!(world.exec(&id, "echo here").await.stdout, "here\n");
    fs::remove_dir(world.path("log")).unwrap();
    world.logged("line").await;
    world.engine.stop(&id, Duration::ZERO).await.unwrap();
}

/// How far the program has come.
async fn count(world: &World) -> u64 {
    world.exec(&id("a"), "cat /tmp/n").await.stdout.trim().parse().unwrap_or_default()
}

/// The numbers in the log's lines, every one of which must be whole.
fn whole_lines(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = |line: &str| {
        let (time, text) = line.split_once(" app[web.1]: line ")?;
        text.strip_suffix(" is not short at all").filter(|_| time.len() == 24)?.parse().ok()
    };
    let end = text.rfind('\n').map_or(0, |at| at + 1);
    text[..end].lines().map(|line| whole(line).unwrap_or_else(|| panic!("torn: {line:?}"))).collect()
}

/// The shim of the only instance whose first process is `first`.
fn shim_of(first: u32) -> u32 {
    children(std::process::id()).into_iter().find(|pid| direct_children(*pid).contains(&first)).unwrap()
}

async fn a_stopped_shim_does_not_hang_the_engine(world: Arc<World>) {
    let stopped = world.launch("a", "trap '' TERM; while :; do sleep 86443; done").await;
    let first = world.engine.list().await.unwrap()[0].pid.unwrap();
    send(shim_of(first), Signal::SIGSTOP);
    let begin = Instant::now();
    let other = Native::new(world.path("run")).unwrap();
    for engine in [&*world.engine as &dyn Engine, &other] {
        let listed = engine.list().await.unwrap();
        assert_eq!((listed.len(), listed[0].pid, listed[0].exit), (1, Some(first), None));
    }
    let well = world.launch("b", "exit 4").await;
    assert_eq!(other.wait(&well).await.unwrap(), Exit::Status(4));
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let nothing = command("true");
    let (refused, ended) =
        tokio::join!(other.exec(&stopped, &nothing, None), world.engine.stop(&stopped, Duration::from_millis(10)),);
    assert!(matches!(refused, Err(EngineError::Io { .. } | EngineError::NotRunning(_))));
    assert_eq!(ended.unwrap(), Exit::Lost);
    assert_eq!(with_command_line("sleep 86443"), Vec::<u32>::new());
}

async fn a_shim_that_was_stopped_for_a_while(world: Arc<World>) {
    let id = world.launch("a", "trap 'exit 12' TERM; echo ready; while :; do sleep 0.01; done").await;
    world.logged("ready").await;
    let shim = shim_of(world.engine.list().await.unwrap()[0].pid.unwrap());
    send(shim, Signal::SIGSTOP);
    let (ended, ()) = tokio::join!(world.engine.stop(&id, Duration::from_secs(30)), async {
        // Let the request wait.
        tokio::time::sleep(Duration::from_millis(50)).await;
        send(shim, Signal::SIGCONT);
    });
    assert_eq!(ended.unwrap(), Exit::Status(12));
}

async fn a_stopped_first_process_delays_every_connection_once(world: Arc<World>) {
    let id = world.launch("a", "exec sleep 86450").await;
    let refused = async || world.engine.connect(&id, 5000).await.unwrap_err().kind();
    assert_eq!(refused().await, ErrorKind::ConnectionRefused);
    let first = world.engine.list().await.unwrap()[0].pid.unwrap();
    send(first, Signal::SIGSTOP);
    let begin = Instant::now();
    // Twice as many as there are sockets made beforehand: the later ones have to ask.
    let kinds = join_all((0..40).map(|_| refused())).await;
    assert!(kinds.contains(&ErrorKind::TimedOut), "{kinds:?}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    send(first, Signal::SIGCONT);
    assert_eq!(refused().await, ErrorKind::ConnectionRefused);
}

async fn more_waiters_than_a_shim_admits(world: Arc<World>) {
    let id = world.launch("a", "exec sleep 86451").await;
    let mut waiting: Vec<_> = (0..300).map(|_| world.engine.wait(&id)).collect();
    for waiter in &mut waiting {
        let answer = tokio::time::timeout(Duration::from_millis(1), waiter).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let listed = world.engine.list().await.unwrap();
    assert_eq!((listed.len(), listed[0].exit), (1, None), "it goes on");
    let waiting = tokio::spawn({
        let (world, id) = (Arc::clone(&world), id.clone());
        async move { join_all((0..300).map(|_| world.engine.wait(&id))).await }
    });
    send(listed[0].pid.unwrap(), Signal::SIGKILL);
    let seen = waiting.await.unwrap();
    assert!(seen.iter().all(|exit| matches!(exit, Ok(Exit::Signal(9)))), "{seen:?}");
}

async fn a_stopped_program_is_stopped_nonetheless(world: Arc<World>) {
    let id = world.launch("a", "trap 'exit 12' TERM; echo ready; kill -STOP $$; while :; do sleep 0.01; done").await;
    world.logged("ready").await;
    assert_eq!(world.engine.stop(&id, Duration::from_secs(30)).await.unwrap(), Exit::Status(12));
    let id = world.launch("b", "trap '' TERM; echo deaf; while :; do kill -STOP $$; done").await;
    world.logged("deaf").await;
    assert_eq!(world.engine.stop(&id, Duration::ZERO).await.unwrap(), Exit::Signal(9));
}

/// Children of the program and of joined programs alike, whose parents have gone: the dead are reaped, the living end.
async fn hundreds_of_orphans(world: Arc<World>) {
    let make = |what: &str| format!("i=0; while [ $i -lt 300 ]; do i=$((i+1)); (setsid {what} &); done");
    let id =
        world.launch("a", &format!("{}; {}; echo ready; exec sleep 86444", make("true"), make("sleep 86445"))).await;
    world.logged("ready").await;
    assert_eq!(world.exec(&id, &make("true")).await.exit, Exit::Status(0));
    let first = world.engine.list().await.unwrap()[0].pid.unwrap();
    // The program, and the orphans that live.
    until(|| direct_children(first).len() == 301).await;
    assert_eq!(world.engine.stop(&id, Duration::from_secs(20)).await.unwrap(), Exit::Signal(15));
    assert_eq!(with_command_line("sleep 86445"), Vec::<u32>::new());
}

async fn signals_reach_the_whole_group(world: Arc<World>) {
    let script = "sleep 86446 & sleep 86446 & (sleep 86446 & wait) & wait";
    let id = world.launch("a", "exec sleep 86447").await;
    let one_off = world.engine.attach(&crate::world::id("b"), &world.spec(script), None).await.unwrap();
    let joined = world.engine.exec(&id, &command(script), None).await.unwrap();
    for process in [one_off, joined] {
        until(|| with_command_line("sleep 86446").iter().filter(|pid| direct_children(**pid).is_empty()).count() >= 3)
            .await;
        process.control.signal(15).unwrap();
        assert_eq!(process.control.wait().await.unwrap(), Exit::Signal(15));
    }
    until(|| with_command_line("sleep 86446").is_empty()).await;
}

/// Someone who has the pid of a recorded first process.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("sleep").arg("86448").spawn().unwrap())
    }

    fn since(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// What a crash of the machine, a reboot, or people leave in the directory of the records.
async fn records_that_lie(world: Arc<World>) {
    let run = world.path("run");
    let well = world.launch("well", "exec sleep 86449").await;
    let mut bystander = Bystander::new();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned();
    let (pid, since) = (bystander.0.id(), bystander.since());
    let record = |since: u64, boot: &str| {
        format!(r#"{{"labels":"","started_at_ms":5,"pid":{pid},"pid_started":{since},"boot":"{boot}"}}"#)
    };
    let other = "5a5ec2ea-0000-4000-8000-000000000000";
    let records = [
        ("another-boot", record(since, other)),
        ("another-process", record(since + 1, &boot)),
        ("cut-short", record(since, &boot)[..40].to_owned()),
        ("empty", String::new()),
        ("not-ours", "[1, 2]".to_owned()),
    ];
    for (name, text) in &records {
        fs::create_dir(run.join(name)).unwrap();
        fs::write(run.join(name).join("instance.json"), text).unwrap();
        // Nobody listens any more.
        drop(UnixListener::bind(run.join(name).join("control")).unwrap());
    }
    fs::write(run.join("another-boot/exit.json"), "{\"Sta").unwrap();
    fs::write(run.join("a-file"), "").unwrap();
    std::os::unix::fs::symlink("a-link", run.join("a-link")).unwrap();
    let engine = Native::new(run.clone()).unwrap();
    let listed = engine.list().await.unwrap();
    let seen: Vec<_> = listed.iter().map(|one| (one.id.as_str(), one.exit)).collect();
    assert_eq!(seen, [("another-boot", Some(Exit::Lost)), ("another-process", Some(Exit::Lost)), ("well", None)]);
    for name in ["another-boot", "another-process"] {
        assert_eq!(engine.stop(&id(name), Duration::from_secs(20)).await.unwrap(), Exit::Lost);
        engine.remove(&id(name)).await.unwrap();
    }
    assert!(bystander.lives(), "it was killed for another's record");
    for name in ["a-file", "a-link"] {
        fs::remove_file(run.join(name)).unwrap();
    }
    assert_eq!(engine.stop(&well, Duration::from_secs(20)).await.unwrap(), Exit::Signal(15));
}

/// The wall clock is only told: an instance from the future is like any other.
async fn a_clock_that_was_set_back(world: Arc<World>) {
    let id = world.launch("a", "trap 'exit 12' TERM; echo ready; while :; do sleep 0.01; done").await;
    world.logged("ready").await;
    let path = world.path("run/a/instance.json");
    let text = fs::read_to_string(&path).unwrap();
    let started = world.engine.list().await.unwrap()[0].started_at_ms;
    let future = started + 10 * 365 * 86_400_000;
    fs::write(&path, text.replace(&started.to_string(), &future.to_string())).unwrap();
    let engine = Native::new(world.path("run")).unwrap();
    let listed = engine.list().await.unwrap();
    assert_eq!((listed[0].started_at_ms, listed[0].exit), (future, None));
    assert_eq!(
        engine.exec(&id, &command("exit 4"), None).await.unwrap().control.wait().await.unwrap(),
        Exit::Status(4)
    );
    assert_eq!(engine.stop(&id, Duration::from_secs(20)).await.unwrap(), Exit::Status(12));
}
