//! Apps that sleep while nobody asks.

use crate::harness::{App, Live, PATIENCE, Server, skipped, wait_until};

const WORKER: &str = "web: python -u server.py\nworker: exec sleep 86388\n";

/// State and process id of `web.1`.
fn web(server: &Server) -> (String, Option<u64>) {
    let listed = server.client().airstrip("ps blog --json").ok().json();
    let web = listed.as_array().unwrap().iter().find(|one| one["process"] == "web.1").unwrap().clone();
    (web["state"].as_str().unwrap().to_owned(), web["pid"].as_u64())
}

/// Its process. Where nothing can be frozen it is stopped at once: None, with the reason printed.
fn wait_until_frozen(server: &Server) -> Option<u64> {
    if let Some(reason) = server.log().lines().find(|line| line.contains("instances cannot be frozen")) {
        skipped(&format!("freezing: {reason}"));
        wait_until_stopped(server);
        return None;
    }
    let mut pid = None;
    wait_until("it is frozen", PATIENCE, || {
        let (state, now) = web(server);
        pid = now;
        state == "asleep" && pid.is_some()
    });
    pid
}

fn wait_until_stopped(server: &Server) {
    wait_until("it is stopped", PATIENCE, || web(server) == ("asleep".to_owned(), None) && !runs(server, "server.py"));
}

fn runs(server: &Server, what: &str) -> bool {
    server.processes().iter().any(|found| found.command.contains(what))
}

fn instance(server: &Server) -> String {
    server.http.get("blog.localhost", "/instance").ok().body
}

/// An app that sleeps after so long.
fn sleeper<'s>(server: &'s Server, after: &str) -> App<'s> {
    let app = App::probe(server.client(), "blog");
    app.push_file("Procfile", WORKER).ok();
    let said = server.client().airstrip(&format!("ps:sleep blog after={after}")).ok().out();
    assert!(said.contains("sleeps after") && said.contains("wakes it"), "{said}");
    app
}

#[test]
fn an_app_without_requests_is_frozen_then_stopped_and_woken_by_the_next() {
    let server = Server::start();
    let _app = sleeper(&server, "2s");
    server.client().airstrip("ps:scale blog worker=1").ok();
    let (first, (state, pid)) = (instance(&server), web(&server));
    assert_eq!(state, "up");
    let frozen = wait_until_frozen(&server);
    if frozen.is_some() {
        assert_eq!(frozen, pid);
        assert_eq!(instance(&server), first, "it goes on where it was");
        assert_eq!(web(&server), ("up".to_owned(), pid));
    }
    wait_until_stopped(&server);
    assert!(runs(&server, "sleep 86388"), "workers do not sleep");
    assert_eq!(server.client().airstrip("apps:info blog --json").ok().json()["state"], "asleep");
    let woken: Vec<String> = std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..20).map(|_| scope.spawn(|| instance(&server))).collect();
        visitors.into_iter().map(|visitor| visitor.join().unwrap()).collect()
    });
    assert_ne!(woken[0], first, "a new instance");
    assert!(woken.iter().all(|one| *one == woken[0]), "one for all who waited");
    assert_eq!(web(&server).0, "up");
    let said = server.client().airstrip("logs blog -p web").ok().out();
    assert_eq!(said.contains("asleep: frozen until the next request"), frozen.is_some(), "{said}");
    assert!(said.contains("asleep: stopped until the next request"), "{said}");
}

#[test]
fn what_is_under_way_keeps_an_app_awake() {
    let server = Server::start();
    let _app = sleeper(&server, "1s");
    let slow = server.http.ask("blog.localhost", "/slow?seconds=4", &["--max-time", "30"]).ok();
    assert_eq!(slow.body, instance(&server));
    wait_until_frozen(&server);
    let inside = server.client().ssh("blog", &["sleep 4; echo still here"]).ok();
    assert_eq!(inside.line(), "still here", "{inside}");
    wait_until_stopped(&server);
    let mut shell = Live::start(&mut server.client().ssh_command("blog", &["echo one-off"]));
    shell.wait_for("has no running instance", PATIENCE);
    assert_eq!(shell.finish(PATIENCE).status, 0);
}

#[test]
fn a_sleeping_app_sleeps_on_when_the_server_is_started_anew() {
    let mut server = Server::start();
    drop(sleeper(&server, "3s"));
    let first = instance(&server);
    let pid = wait_until_frozen(&server);
    server.crash();
    server.start_again();
    assert_eq!(web(&server), ("asleep".to_owned(), pid));
    assert_eq!(instance(&server) == first, pid.is_some());
    wait_until_stopped(&server);
    server.crash();
    server.start_again();
    assert_eq!(web(&server), ("asleep".to_owned(), None));
    assert!(!runs(&server, "server.py"));
    assert_ne!(instance(&server), first);
    let frozen = wait_until_frozen(&server).is_some();
    let freezes = |server: &Server| {
        server.client().airstrip("logs blog -p web -n 1000").ok().out().matches("frozen until").count()
    };
    let before = freezes(&server);
    server.upgrade().ok();
    // The old server may have had to answer for it.
    wait_until("it is frozen anew", PATIENCE, || !frozen || freezes(&server) > before);
    server.wait_for_replaced();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
}

#[test]
fn whatever_changes_what_runs_wakes_an_app() {
    let server = Server::start();
    let client = server.client();
    let app = sleeper(&server, "1s");
    wait_until_stopped(&server);
    app.push_file("message", "two").ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
    for command in ["restart blog", "ps:scale blog web=2", "config:set blog A=1", "ps:scale blog web=1"] {
        wait_until_stopped(&server);
        client.airstrip(command).ok();
        // It may have fallen asleep again by now, but it has run.
        assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two", "{command}");
    }
    wait_until_stopped(&server);
    client.airstrip("ps:stop blog").ok();
    assert_eq!(server.http.get("blog.localhost", "/").status, 503, "stopped is not asleep");
    client.airstrip("ps:start blog").ok();
    wait_until_stopped(&server);
    client.airstrip("ps:sleep blog off").ok();
    wait_until("it is awake", PATIENCE, || web(&server).0 == "up");
    assert_eq!(client.airstrip("ps:sleep blog --json").ok().json()["after"], serde_json::Value::Null);
    client.airstrip("ps:sleep blog after=0s").fails(2, &["from 1s to 720h"]);
}
