//! The server is killed at each step of a push; the next start finds the repository as before the push or as after it.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gitd::{Limits, Repository};
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::harness::{Conversation, PATIENCE, World, run, serve, url};

/// Where the other server's home is.
const HOME: &str = "GITD_TEST_HOME";
/// After how many packs it makes one.
const PACKS: &str = "GITD_TEST_PACKS";

/// The server that the tests kill: a process of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests here start it"]
async fn server() {
    let home = PathBuf::from(std::env::var_os(HOME).unwrap());
    let packs = std::env::var(PACKS).unwrap().parse().unwrap();
    let (server, state) = serve(&home, Limits { packs, ..Limits::default() }).await;
    state.allow(&home.join("key.pub"));
    println!("\nport {}", server.address().port());
    // Whoever started it has gone.
    let mut input = Vec::new();
    let _end = tokio::io::stdin().read_to_end(&mut input).await;
}

pub(crate) struct Other {
    conversation: Conversation,
    pub(crate) port: u16,
}

impl Other {
    /// Starts it; it dies when it comes to `point`.
    pub(crate) async fn start(world: &World, point: &str, packs: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "crash::server", "--ignored", "--nocapture"]);
        command.env("GITD_CRASH_AT", point).env(HOME, world.home.path()).env(PACKS, packs.to_string());
        let mut conversation = Conversation::start(command.stdin(Stdio::piped()).kill_on_drop(true));
        let line = conversation.stdout_until("port ").await;
        Self { conversation, port: line.strip_prefix("port ").unwrap().parse().unwrap() }
    }

    /// The most memory that it has had, in MB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.conversation.process.id().unwrap());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Pushes, and waits until it is dead.
    async fn dies(mut self, world: &World, work: &Path, app: &str, arguments: &[&str]) {
        let address = url(self.port, app);
        run(world.git(work).args(["push", "-q"]).arg(address).args(arguments)).await;
        // Waiting closes it otherwise, and that tells the server to end.
        let _open = self.conversation.process.stdin.take();
        let ended = timeout(PATIENCE, self.conversation.process.wait()).await.expect("it does not die").unwrap();
        assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32), "{ended}");
    }
}

/// All refs.
async fn refs(world: &World, app: &str) -> Vec<String> {
    let listed = world.git_ok(&world.repository(app), &["for-each-ref", "--format=%(refname) %(objectname)"]).await;
    listed.lines().map(str::to_owned).collect()
}

/// The server starts again: `before` or `after` holds, nothing is left over, and the same push succeeds.
async fn check(world: &World, work: &Path, app: &str, arguments: &[&str], either: [&[String]; 2]) {
    if world.repository(app).exists() {
        Repository::open(&world.repository(app)).unwrap();
        let found = refs(world, app).await;
        assert!(either.contains(&found.as_slice()), "{found:?} is none of {either:?}");
        world.assert_clean(app).await;
    }
    let address = world.url(app);
    world.git_ok(work, &[["push", "-q", &address].as_slice(), arguments].concat()).await;
    assert_eq!(refs(world, app).await, either[1]);
    world.assert_clean(app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_first_push() {
    let world = World::new().await;
    let work = world.work_tree("work").await;
    let after = [format!("refs/heads/main {}", world.head(&work).await)];
    for (number, point) in
        ["repository made aside", "repository renamed", "file written", "file renamed", "request read", "pack received"]
            .into_iter()
            .enumerate()
    {
        let app = format!("app{number}");
        let other = Other::start(&world, point, 50).await;
        other.dies(&world, &work, &app, &["main"]).await;
        check(&world, &work, &app, &["main"], [&[], &after]).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_of_a_push() {
    let world = World::new().await;
    let work = world.work_tree("work").await;
    let first = world.head(&work).await;
    let second = world.commit(&work, "file", "two\n").await;
    let before = [format!("refs/heads/main {first}")];
    let after = [format!("refs/heads/a/b {second}"), format!("refs/heads/main {first}")];
    let arguments = ["main:refs/heads/a/b"];
    for (number, point) in [
        "request read",
        "quarantine made",
        "pack received",
        "objects checked",
        "file written",
        "ref prepared",
        "agreed",
        "pack moved",
        "index moved",
        "objects kept",
        "directories made",
        "file renamed",
        "refs moved",
        "before the report",
    ]
    .into_iter()
    .enumerate()
    {
        let app = format!("app{number}");
        world.git_ok(&work, &["push", "-q", &world.url(&app), &format!("{first}:refs/heads/main")]).await;
        let other = Other::start(&world, point, 50).await;
        other.dies(&world, &work, &app, &arguments).await;
        check(&world, &work, &app, &arguments, [&before, &after]).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_an_atomic_push_or_a_deletion() {
    let world = World::new().await;
    let work = world.work_tree("work").await;
    let first = world.head(&work).await;
    let second = world.commit(&work, "file", "two\n").await;
    let line = |name: &str, id: &str| format!("refs/heads/{name} {id}");
    let before = [line("main", &first), line("old", &first)];
    let after = [line("main", &second), line("new/one", &second), line("new/two", &first)];
    let two = format!("{first}:refs/heads/new/two");
    let all = ["--atomic", "main:new/one", ":old", &two, "main"];
    let deleted = [line("main", &first)];
    for (number, (point, arguments, after)) in [
        ("journal begun", all.as_slice(), after.as_slice()),
        ("one of several refs moved", &all, &after),
        ("ref removed", &all, &after),
        ("refs moved", &all, &after),
        ("ref removed", &[":old"], &deleted),
    ]
    .into_iter()
    .enumerate()
    {
        let app = format!("app{number}");
        let [main, old] = ["main", "old"].map(|name| format!("{first}:refs/heads/{name}"));
        world.git_ok(&work, &["push", "-q", &world.url(&app), &main, &old]).await;
        let other = Other::start(&world, point, 50).await;
        other.dies(&world, &work, &app, arguments).await;
        Repository::open(&world.repository(&app)).unwrap();
        let found = refs(&world, &app).await;
        assert!(found == before || found == after, "{point}: {found:?}");
        // From the note on everything happens.
        assert_eq!(found, after, "{point}");
        world.assert_clean(&app).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_many_packs_become_one() {
    let world = World::new().await;
    let work = world.work_tree("work").await;
    for (number, point) in ["packs written as one", "one pack kept", "old index removed"].into_iter().enumerate() {
        let app = format!("app{number}");
        for round in 0..3 {
            world.commit(&work, "file", &format!("{number} {round}\n")).await;
            world.git_ok(&work, &["push", "-q", &world.url(&app), "main"]).await;
        }
        let after = [format!("refs/heads/main {}", world.commit(&work, "file", point).await)];
        let other = Other::start(&world, point, 2).await;
        other.dies(&world, &work, &app, &["main"]).await;
        check(&world, &work, &app, &["main"], [&after, &after]).await;
        let copy = world.path(&format!("copy{number}"));
        world.git_ok(&work, &["clone", "-q", &world.url(&app), copy.to_str().unwrap()]).await;
        world.git_ok(&copy, &["fsck", "--full", "--strict"]).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_time() {
    let world = World::new().await;
    let work = world.work_tree("work").await;
    let mut before = Vec::new();
    for round in 0..12 {
        let after = [format!("refs/heads/main {}", world.commit(&work, "file", &format!("{round}\n")).await)];
        let mut other = Other::start(&world, "", 4).await;
        let (mut git, address) = (world.git(&work), url(other.port, "app"));
        let pushing = git.args(["push", "-q"]).arg(address).arg("main").status();
        let killing = async {
            // From before its connection to after its report.
            sleep(Duration::from_millis(20 * round)).await;
            other.conversation.process.kill().await.unwrap();
        };
        let (pushed, ()) = tokio::join!(timeout(PATIENCE, pushing), killing);
        if pushed.unwrap().unwrap().success() {
            before = after.to_vec();
        }
        check(&world, &work, "app", &["main"], [&before, &after]).await;
        before = after.to_vec();
    }
    world.stop().await;
}
