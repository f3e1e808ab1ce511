//! Builds of an app stand in line.

use crate::harness::{App, Live, PATIENCE, Server, wait_until};

/// Releases of this wait in their release command until `data/go` is there.
const WAITS: &str =
    "release: echo waiting for go; until test -e ~/data/go; do sleep 0.1; done\nweb: python -u server.py\n";

fn go(server: &Server) {
    server.http.get("blog.localhost", "/write?name=go&text=yes").ok();
}

/// Pushes a change, which waits for [`go`] if it is built.
fn push_waiting(app: &App, message: &str) -> Live {
    app.write("Procfile", WAITS);
    app.write("message", message);
    app.commit(message);
    app.start_push()
}

/// State, release and reason of each build, newest first.
fn builds(server: &Server) -> Vec<(String, String, String)> {
    let listed = server.client().airstrip("builds blog --json").ok().json();
    let text = |build: &serde_json::Value, name: &str| build[name].as_str().unwrap_or("-").to_owned();
    let builds = listed.as_array().unwrap().iter();
    builds.map(|build| (text(build, "state"), text(build, "release"), text(build, "reason"))).collect()
}

fn expected(builds: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    builds.iter().map(|(state, release, reason)| ((*state).into(), (*release).into(), (*reason).into())).collect()
}

#[test]
fn a_second_push_says_for_whom_it_waits_and_then_deploys() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let mut first = push_waiting(&app, "two");
    first.wait_for("waiting for go", PATIENCE);
    let commit = app.head();
    let mut second = push_waiting(&app, "three");
    second.wait_for(&format!("Waiting for build 2 of admin (Deploy {}) to finish", &commit[..7]), PATIENCE);
    assert_eq!(builds(&server), expected(&[("waiting", "-", "-"), ("running", "-", "-"), ("live", "v1", "-")]));
    let listed = server.client().airstrip("builds blog --json").ok().json();
    assert_eq!((listed[1]["actor"].as_str(), listed[1]["commit"].as_str()), (Some("admin"), Some(&*commit)));
    go(&server);
    first.wait_for("=====> blog v2 is live", PATIENCE);
    assert_eq!(first.finish(PATIENCE).status, 0);
    second.wait_for("=====> blog v3 is live", PATIENCE);
    assert_eq!(second.finish(PATIENCE).status, 0);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "three");
    assert_eq!(app.branch_on_server("main"), Some(app.head()));
}

#[test]
fn a_newer_push_supersedes_one_that_still_waits() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let mut first = push_waiting(&app, "two");
    first.wait_for("waiting for go", PATIENCE);
    let mut second = push_waiting(&app, "three");
    second.wait_for("Waiting for build 2", PATIENCE);
    let mut third = push_waiting(&app, "four");
    let commit = app.head();
    let superseded = format!("superseded by build 4 of admin (Deploy {})", &commit[..7]);
    second.wait_for(&format!("[remote rejected] main -> main ({superseded}"), PATIENCE);
    assert_ne!(second.finish(PATIENCE).status, 0);
    third.wait_for("Waiting for build 2", PATIENCE);
    go(&server);
    assert_eq!(first.finish(PATIENCE).status, 0);
    assert_eq!(third.finish(PATIENCE).status, 0);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "four");
    let told =
        expected(&[("live", "v3", "-"), ("superseded", "-", &superseded), ("live", "v2", "-"), ("live", "v1", "-")]);
    assert_eq!(builds(&server), told);
}

#[test]
fn a_push_that_would_undo_what_it_waited_for_is_refused() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let mut first = push_waiting(&app, "two");
    first.wait_for("waiting for go", PATIENCE);
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
    let mut second = push_waiting(&app, "another two");
    second.wait_for("Waiting for build 2", PATIENCE);
    go(&server);
    assert_eq!(first.finish(PATIENCE).status, 0);
    second.wait_for("incorrect old value provided", PATIENCE);
    assert_ne!(second.finish(PATIENCE).status, 0);
    assert_eq!(builds(&server)[0], ("failed".into(), "-".into(), "refused before anything was built".into()));
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
}

#[test]
fn a_build_is_cancelled_and_nothing_changes() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    server.client().airstrip("builds:cancel blog").fails(1, &["nothing is being built"]);
    let before = (app.branch_on_server("main"), server.directories(), server.processes().len());
    let mut running = push_waiting(&app, "two");
    running.wait_for("waiting for go", PATIENCE);
    let mut rebuild = Live::start(&mut server.client().ssh_command("airstrip", &["ps:rebuild", "blog"]));
    rebuild.wait_for("Waiting for build 2", PATIENCE);
    let bob = server.client_with_key("bob", &["--app", "blog", "--role", "deploy"]);
    let said = bob.airstrip("builds:cancel blog 3").ok().out();
    assert!(said.contains("Cancelled build 3 of admin (Rebuild "), "{said}");
    assert_eq!(rebuild.finish(PATIENCE).status, 1);
    assert!(running.runs());
    let said = bob.airstrip("builds:cancel blog").ok().out();
    assert!(said.contains("Cancelled build 2 of admin (Deploy "), "{said}");
    let now = (app.branch_on_server("main"), server.directories(), server.processes().len());
    assert_eq!(now, before, "nothing of it is left once the command has returned");
    running.wait_for("[remote rejected] main -> main (cancelled by bob)", PATIENCE);
    assert_ne!(running.finish(PATIENCE).status, 0);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
    let reason = "cancelled by bob";
    let told = expected(&[("cancelled", "-", reason), ("cancelled", "-", reason), ("live", "v1", "-")]);
    assert_eq!(builds(&server), told);
}

#[test]
fn no_turn_outlives_a_crash() {
    let mut server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let app = App::opened(server.client(), "blog");
    let mut running = push_waiting(&app, "two");
    running.wait_for("waiting for go", PATIENCE);
    let mut waiting = push_waiting(&app, "three");
    waiting.wait_for("Waiting for build 2", PATIENCE);
    server.crash();
    drop((running, waiting));
    server.start_again();
    let ended = ("interrupted", "-", "the server ended");
    wait_until("it is told of", PATIENCE, || builds(&server) == expected(&[ended, ended, ("live", "v1", "-")]));
    let app = App::opened(server.client(), "blog");
    app.write("Procfile", "web: python -u server.py\n");
    app.push_file("message", "four").ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "four");
}
