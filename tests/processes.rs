//! Process types, workers, the release command, and processes that die.

use std::time::Duration;

use crate::harness::{App, PATIENCE, Server, wait_until};

const WORKER: &str = "\
import os, signal, sys, time
from pathlib import Path
events = Path.home() / 'data' / 'events'
def note(what):
    with events.open('a') as file:
        file.write(f\"{what} {os.environ['AIRSTRIP_RELEASE']} {os.environ['AIRSTRIP_PROCESS']}\\n\")
def stop(*_):
    time.sleep(0.3)
    note('stopped')
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note('started')
while True:
    time.sleep(1)
";

fn events(server: &Server) -> Vec<String> {
    server.client().ssh("blog", &["cat data/events"]).out().lines().map(str::to_owned).collect()
}

#[test]
fn workers_of_the_old_release_stop_before_those_of_the_new_one_start() {
    let server = Server::start();
    let client = server.client();
    let app = App::probe(client, "blog");
    app.write("Procfile", "web: python -u server.py\nworker: exec python -u worker.py\n");
    app.push_file("worker.py", WORKER).ok();
    assert_eq!(events(&server), Vec::<String>::new(), "only web runs at first");
    client.airstrip("ps:scale blog worker=2").ok();
    wait_until("both workers run", PATIENCE, || events(&server).len() == 2);
    app.push_file("message", "two").ok();
    wait_until("both new workers run", PATIENCE, || events(&server).len() == 6);
    let mut seen = events(&server);
    seen[..2].sort();
    seen[2..4].sort();
    seen[4..].sort();
    let expected = [
        "started v1 worker.1",
        "started v1 worker.2",
        "stopped v1 worker.1",
        "stopped v1 worker.2",
        "started v2 worker.1",
        "started v2 worker.2",
    ];
    assert_eq!(seen, expected);
    client.airstrip("ps:scale blog worker=0").ok();
    wait_until("they stop", PATIENCE, || events(&server).len() == 8);
}

#[test]
fn a_worker_that_dies_at_once_is_reported_and_does_not_reject_the_push() {
    let server = Server::start();
    let client = server.client();
    let app = App::probe(client, "blog");
    app.push_file("Procfile", "web: python -u server.py\nworker: exec sleep 86390\n").ok();
    client.airstrip("ps:scale blog worker=1").ok();
    app.write("Procfile", "web: python -u server.py\nworker: exit 9\n");
    let push = app.push_file("message", "two").ok();
    assert!(push.reply.err().contains("worker.1 exited with status 9"), "{}", push.reply);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
}

#[test]
fn a_procfile_without_web_has_no_route_and_is_live_when_it_runs() {
    let server = Server::start();
    let client = server.client();
    let app = App::new(
        client,
        "bot",
        &[("requirements.txt", ""), ("Procfile", "worker: exec sleep 86389\r\n\r\n# a remark\r\n")],
    );
    app.push().ok();
    client.airstrip("ps:scale bot worker=1").ok();
    wait_until("it runs", PATIENCE, || server.processes().iter().any(|found| found.command == "sleep 86389"));
    assert_eq!(server.http.get("bot.localhost", "/").status, 503);
}

#[test]
fn the_release_command_runs_once_before_the_switch() {
    let server = Server::start();
    let client = server.client();
    let app = App::probe(client, "blog");
    let command = "release: echo preparing $AIRSTRIP_RELEASE; cat message >> ~/data/prepared";
    app.push_file("Procfile", format!("{command}\nweb: python -u server.py\n")).ok();
    client.airstrip("ps:scale blog web=3").ok();
    let push = app.push_file("message", "two").ok();
    assert!(push.reply.err().contains("preparing v2"), "{}", push.reply);
    assert_eq!(client.ssh("blog", &["cat data/prepared"]).ok().line(), "one\ntwo");

    app.write("Procfile", "release: echo cannot prepare; exit 4\nweb: python -u server.py\n");
    let pushed = app.head();
    let rejected =
        app.push_file("message", "three").rejected(&["cannot prepare", "release command exited with status 4"]);
    assert_eq!(app.branch_on_server("main"), Some(pushed), "{}", rejected.reply);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
}

#[test]
fn six_instances_all_answer_and_one_remains() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    client.airstrip("ps:scale blog web=6").ok();
    let mut answered = std::collections::BTreeSet::new();
    wait_until("all six answer", PATIENCE, || {
        answered.insert(server.http.get("blog.localhost", "/instance").ok().body);
        answered.len() == 6
    });
    client.airstrip("ps:scale blog web=1").ok();
    let last = server.http.get("blog.localhost", "/instance").ok().body;
    assert!((0..10).all(|_| server.http.get("blog.localhost", "/instance").ok().body == last));
    client.airstrip("ps:scale blog web=0").ok();
    assert_eq!(server.http.get("blog.localhost", "/").status, 503);
    client.airstrip("ps:scale blog web=1").ok();
    server.http.get("blog.localhost", "/").ok();
}

#[test]
fn a_process_that_dies_is_started_again() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let old = server.http.get("blog.localhost", "/instance").ok().body;
    server.http.get("blog.localhost", "/exit?status=7");
    wait_until("another instance serves", PATIENCE, || {
        let page = server.http.get("blog.localhost", "/instance");
        page.status == 200 && page.body != old
    });
    let logs = server.client().airstrip("logs blog").ok().out();
    assert!(logs.contains("airstrip[web.1]: exited with status 7"), "{logs}");
}

#[test]
fn five_quick_deaths_are_a_crash_and_are_tried_again_slowly() {
    let server = Server::start();
    let client = server.client();
    let app = App::probe(client, "blog");
    app.push_file("Procfile", "web: test ! -e ~/data/broken && exec python -u server.py\n").ok();
    server.http.get("blog.localhost", "/write?name=broken&text=yes").ok();
    server.http.get("blog.localhost", "/exit?status=1");
    let state = || client.airstrip("ps blog --json").ok().json()[0]["state"].as_str().unwrap().to_owned();
    wait_until("it is reported as crashed", Duration::from_secs(60), || state() == "crashed");
    let page = server.http.get("blog.localhost", "/");
    assert_eq!(page.status, 503);
    assert!(page.body.contains("crashed"), "{page:?}");
    let logs = client.airstrip("logs blog").ok().out();
    assert!(logs.contains("crashed"), "{logs}");
    client.ssh("blog", &["rm data/broken"]).ok();
    wait_until("it is tried again", Duration::from_secs(120), || server.http.get("blog.localhost", "/").status == 200);
    wait_until("it is up", PATIENCE, || state() == "up");
}

#[test]
fn a_process_that_ignores_sigterm_is_killed() {
    let server = Server::start();
    let client = server.client();
    let app = App::probe(client, "blog");
    app.push_file("Procfile", "web: trap '' TERM; python -u server.py; true\n").ok();
    client.airstrip("ps:stop blog").ok();
    assert!(server.processes().is_empty(), "{:?}", server.processes());
}
