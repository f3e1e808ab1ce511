//! What a build starts, and takes its own permission for, ends with it.

use super::{DAEMON, PROCFILE, builds_by, comes_to_nothing, with_blog};
use crate::harness::{App, PATIENCE, Server, skipped, wait_until};

#[test]
fn a_fork_bomb_in_a_build() {
    let server = with_blog();
    let client = server.client();
    let row = client.airstrip("resource blog --json").ok().json()[0].clone();
    if row["not_enforced"].as_array().unwrap().contains(&"pids".into()) {
        return skipped("processes are not counted on this machine");
    }
    client.airstrip("resource:limit blog build pids=40").ok();
    for bomb in ["bomb() { bomb | bomb & bomb; }; bomb", "for n in {1..100}; do sleep 86362 & done"] {
        builds_by(&server, "true", &format!("{DAEMON}\n{bomb}\nexit 1"));
        comes_to_nothing(
            &server,
            &["more processes and threads than its limit pids=40", "resource:limit blog build pids=80"],
        );
    }
}

#[test]
fn what_a_build_started_ends_with_it() {
    let server = with_blog();
    let app = App::opened(server.client(), "blog");
    let before = server.processes().len();
    builds_by(&server, &format!("{DAEMON}\n{DAEMON}"), &format!("{DAEMON}\n{DAEMON}\necho built"));
    app.write("Procfile", "worker: exec sleep 86361\n");
    app.commit("Leave daemons");
    let push = app.push().ok();
    assert!(push.reply.err().contains("built"), "{}", push.reply);
    wait_until("only instances run", PATIENCE, || server.processes().len() <= before);
    let titles: Vec<_> = server.processes().into_iter().map(|found| found.command).collect();
    assert!(!titles.iter().any(|title| title.contains("RANDOM")), "{titles:?}");
}

#[test]
fn what_a_build_took_its_own_permission_for_is_removed() {
    let server = with_blog();
    locked_directories_are_removed(&server);
}

#[test]
fn for_an_ordinary_user_what_a_build_took_its_own_permission_for_is_removed() {
    let Some(server) = Server::as_ordinary_user() else { return };
    App::probe(server.client(), "blog").push().ok();
    locked_directories_are_removed(&server);
}

fn locked_directories_are_removed(server: &Server) {
    let lock = "for d in /tmp $1 .; do mkdir -p $d/locked/below/deep; : > $d/locked/below/deep/file; chmod 0 $d/locked/below; chmod 500 $d/locked; done";
    builds_by(server, "true", &format!("{lock}\nexit 1"));
    comes_to_nothing(server, &["build failed"]);
    builds_by(
        server,
        "true",
        "mkdir -p /tmp/modules/one; : > /tmp/modules/one/file; chmod 555 /tmp/modules /tmp/modules/one",
    );
    App::opened(server.client(), "blog").push_file("Procfile", PROCFILE).ok();
    assert!(!server.directories().iter().any(|directory| directory.contains(".build-")));
}
