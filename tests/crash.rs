//! The daemon ends, is killed, or is killed in the middle of something.

use std::fs;
use std::path::Path;

use crate::harness::receive_pack::{self, HalfPush};
use crate::harness::{App, Found, Live, PATIENCE, Server, noise, skipped, wait_until};

/// Processes of the apps themselves.
fn apps(server: &Server) -> Vec<Found> {
    server.processes().into_iter().filter(|found| found.command.contains("server.py")).collect()
}

#[test]
fn instances_go_on_when_the_daemon_is_killed_and_are_taken_up_again() {
    instances_outlive_the_daemon(&mut Server::start(), Server::crash);
}

#[test]
fn instances_go_on_when_the_daemon_is_told_to_end() {
    instances_outlive_the_daemon(&mut Server::start(), |server| assert_eq!(server.terminate(), Some(0)));
}

pub fn instances_outlive_the_daemon(server: &mut Server, end: impl Fn(&mut Server)) {
    App::probe(server.client(), "blog").push().ok();
    server.client().airstrip("ps:scale blog web=2").ok();
    let instance = |server: &Server, number: u32| {
        let ask = "python -c 'import os, urllib.request as u; print(u.urlopen(\"http://127.0.0.1:\" + os.environ[\"PORT\"] + \"/instance\").read())'";
        server.client().ssh(&format!("blog+web.{number}"), &[ask]).ok().line()
    };
    let before = (apps(server), instance(server, 1), instance(server, 2));
    for _ in 0..2 {
        end(server);
        assert_eq!(apps(server), before.0, "they run without the daemon");
        server.start_again();
        assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
        assert_eq!((apps(server), instance(server, 1), instance(server, 2)), before, "they are the same");
    }
    server.http.get("blog.localhost", "/say?text=after-the-crash").ok();
    wait_until("their output is still logged", PATIENCE, || {
        server.client().airstrip("logs blog -n 20").ok().out().contains("after-the-crash")
    });
    server.client().airstrip("restart blog").ok();
    assert_ne!(instance(server, 1), before.1, "the new daemon can replace them");
    assert_ne!(instance(server, 2), before.2);
}

/// Freezes the control group of a process, as a daemon that then dies may have done.
fn freeze(pid: u64) -> Result<(), String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let ours = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        path.contains("/airstrip-").then(|| (controllers.to_owned(), path.to_owned()))
    };
    for (controllers, path) in groups.lines().filter_map(ours) {
        let (kind, option, file, word) = match controllers.as_str() {
            "" => ("cgroup2", "", "cgroup.freeze", "1"),
            "freezer" => ("cgroup", "freezer", "freezer.state", "FROZEN"),
            _ => continue,
        };
        let mounted = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let at = mounted.into_iter().find(|words| words[2] == kind && (option.is_empty() || words[3].contains(option)));
        let Some(directory) = at.map(|words| format!("{}{path}", words[1])) else { continue };
        if fs::write(Path::new(&directory).join(file), word).is_ok() {
            return Ok(());
        }
    }
    Err(format!("no group of this process can be frozen: {groups}"))
}

#[test]
fn an_instance_that_is_frozen_when_the_daemon_is_killed_goes_on_afterwards() {
    let mut server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let before = server.http.get("blog.localhost", "/instance").ok().body;
    let pid = server.client().airstrip("ps blog --json").ok().json()[0]["pid"].as_u64().unwrap();
    server.crash();
    if let Err(reason) = freeze(pid) {
        skipped(&reason);
        return;
    }
    server.start_again();
    assert_eq!(server.http.get("blog.localhost", "/instance").ok().body, before);
}

#[test]
fn an_instance_that_dies_while_the_daemon_is_away_is_replaced() {
    let mut server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server.crash();
    apps(&server).iter().for_each(Found::kill);
    server.start_again();
    wait_until("it is started again", PATIENCE, || server.http.get("blog.localhost", "/").status == 200);
}

#[test]
fn stop_all_ends_everything_and_the_next_start_launches_the_apps_again() {
    let mut server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    App::probe(server.client(), "paused").push().ok();
    server.client().airstrip("ps:stop paused").ok();
    server.stop_all().ok();
    wait_until("nothing runs", PATIENCE, || server.processes().is_empty());
    server.start_again();
    wait_until("the app serves again", PATIENCE, || server.http.get("blog.localhost", "/").status == 200);
    assert_eq!(server.http.get("paused.localhost", "/").status, 503, "what was stopped stays stopped");
}

/// `blog` serves "one"; what a killed push must not change.
struct Before {
    commit: String,
    directories: Vec<String>,
    processes: usize,
}

impl Before {
    fn new(server: &Server) -> Self {
        let app = App::probe(server.client(), "blog");
        app.push().ok();
        Self { commit: app.head(), directories: server.directories(), processes: server.processes().len() }
    }

    /// After a crash and a new start everything is as it was, and the next push works.
    fn is_restored(&self, server: &mut Server) {
        server.start_again();
        let app = App::opened(server.client(), "blog");
        wait_until("the old release serves", PATIENCE, || server.http.get("blog.localhost", "/").body == "one");
        assert_eq!(app.branch_on_server("main").as_ref(), Some(&self.commit));
        wait_until("no process is left over", PATIENCE, || server.processes().len() == self.processes);
        wait_until("no directory is left over", PATIENCE, || server.directories() == self.directories);
        app.git(&["reset", "-q", "--hard", &self.commit]).ok();
        app.push_file("message", "after").ok();
        assert_eq!(server.http.get("blog.localhost", "/").ok().body, "after");
    }
}

#[test]
fn killed_while_receiving() {
    let mut server = Server::start();
    let before = Before::new(&server);
    let app = App::opened(server.client(), "blog");
    app.write("noise", noise(4_000_000));
    app.commit("Much");
    let mut bytes = receive_pack::move_main(&app);
    let pack = receive_pack::pack(server.client(), &app);
    bytes.extend(&pack[..pack.len() / 2]);
    let push = HalfPush::start(server.client(), "blog", bytes);
    wait_until("a part of the pack has arrived", PATIENCE, || server.directories() != before.directories);
    server.crash();
    drop(push);
    before.is_restored(&mut server);
}

#[test]
fn killed_while_building() {
    let server = Server::start();
    let before = Before::new(&server);
    let app = App::opened(server.client(), "blog");
    for (path, content) in SLOW_PACKAGE {
        app.write(path, content);
    }
    app.commit("Builds for ever");
    let push = app.start_push();
    wait_until("the build runs", PATIENCE * 2, || {
        server.processes().iter().any(|found| found.command == "sleep 86393")
    });
    killed(server, push, &before);
}

/// A package that needs no index, and whose build never ends.
const SLOW_PACKAGE: [(&str, &str); 3] = [
    ("requirements.txt", "./slow\n"),
    ("slow/pyproject.toml", "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n"),
    ("slow/backend.py", "import os\ndef build_wheel(*_):\n    os.execvp(\"sleep\", [\"sleep\", \"86393\"])\n"),
];

#[test]
fn killed_while_launching() {
    let server = Server::start();
    let before = Before::new(&server);
    let app = App::opened(server.client(), "blog");
    app.write("Procfile", "web: exec sleep 86392\n");
    app.commit("Never listens");
    let push = app.start_push();
    wait_until("the new release starts", PATIENCE, || {
        server.processes().iter().any(|found| found.command == "sleep 86392")
    });
    killed(server, push, &before);
}

#[test]
fn killed_while_the_release_command_runs() {
    let server = Server::start();
    let before = Before::new(&server);
    let app = App::opened(server.client(), "blog");
    app.write("Procfile", "release: exec sleep 86391\nweb: python -u server.py\n");
    app.commit("Never released");
    let push = app.start_push();
    wait_until("the command runs", PATIENCE, || server.processes().iter().any(|found| found.command == "sleep 86391"));
    killed(server, push, &before);
}

fn killed(mut server: Server, push: Live, before: &Before) {
    server.crash();
    assert_ne!(push.finish(PATIENCE).status, 0);
    before.is_restored(&mut server);
}

#[test]
fn killed_while_switching() {
    let mut server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    for round in 1..=3 {
        killed_while_draining(&mut server, &format!("round {round}"));
    }
}

/// The old release has a request in flight, so that the switch takes its time; the daemon is killed when the new one serves.
fn killed_while_draining(server: &mut Server, message: &str) {
    let http = server.http;
    std::thread::scope(|scope| {
        let slow = scope.spawn(move || http.get("blog.localhost", "/slow?seconds=20"));
        wait_until("the request is in the app", PATIENCE, || http.get("blog.localhost", "/sleepers").body == "1");
        let app = App::opened(server.client(), "blog");
        app.write("message", message);
        app.commit(message);
        let push = app.start_push();
        wait_until("the new release serves", PATIENCE, || http.get("blog.localhost", "/").body == message);
        server.crash();
        let _cut = push.finish(PATIENCE);
        let _cut = slow.join().unwrap();
    });
    agrees_with_itself(server, message);
}

/// Ref, releases and page tell of the same commit, nothing is left over, and the push can be made again.
fn agrees_with_itself(server: &mut Server, message: &str) {
    server.start_again();
    wait_until("the app serves", PATIENCE, || server.http.get("blog.localhost", "/").status == 200);
    let app = App::opened(server.client(), "blog");
    let on_server = app.branch_on_server("main").unwrap();
    let page = server.http.get("blog.localhost", "/").ok().body;
    assert_eq!(app.git(&["show", &format!("{on_server}:message")]).ok().line(), page);
    assert_eq!(server.http.get("blog.localhost", "/environ").ok().json()["GIT_REV"], on_server);
    wait_until("one instance is left", PATIENCE, || {
        apps(server).iter().filter(|found| !found.command.starts_with("sh ")).count() == 1
    });
    app.push().ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, message);
}

#[test]
fn killed_at_any_moment_of_a_push() {
    let mut server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    // A push takes about half a second: these moments lie in all of its phases.
    for milliseconds in (20..=620).step_by(60) {
        let message = format!("after {milliseconds} ms");
        let app = App::opened(server.client(), "blog");
        app.write("message", &message);
        app.commit(&message);
        let push = app.start_push();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        server.crash();
        let _cut_or_done = push.finish(PATIENCE);
        agrees_with_itself(&mut server, &message);
    }
}
