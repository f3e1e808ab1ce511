//! The server is replaced by another, and nobody notices. See [`steady`](crate::steady) for upgrades under load.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{App, Live, Load, PATIENCE, Server, wait_until};
use crate::router;

#[test]
fn what_was_begun_before_an_upgrade_goes_on_after_it() {
    let mut server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let http = server.http;
    let before = http.get("blog.localhost", "/instance").ok().body;
    let mut socket = router::open_websocket(http);
    let mut shell = server.client().terminal("blog", &[]);
    shell.enter("echo before-$((1 + 1))");
    shell.expect("before-2");
    let mut log = Live::start(&mut server.client().ssh_command("airstrip", &["logs", "blog", "-f"]));
    http.get("blog.localhost", "/say?text=before").ok();
    log.wait_for("before", PATIENCE);
    std::thread::scope(|scope| {
        let slow = scope.spawn(move || http.get("blog.localhost", "/slow?seconds=3"));
        wait_until("the request is in the app", PATIENCE, || http.get("blog.localhost", "/sleepers").body == "1");
        server.upgrade().ok();
        http.get("blog.localhost", "/say?text=after-it").ok();
        log.wait_for("after-it", PATIENCE);
        router::echo(&mut socket, "after");
        shell.enter("echo after-$((1 + 1)); exit 7");
        assert_eq!(shell.status(PATIENCE), 7);
        server.client().airstrip("restart blog").ok();
        assert_eq!(slow.join().unwrap().ok().body, before);
    });
    drop((log, socket));
    assert_ne!(http.get("blog.localhost", "/instance").ok().body, before);
    server.wait_for_replaced();
}

#[test]
fn a_program_that_is_none_changes_nothing() {
    let mut server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let daemon = server.daemon_pid();
    server.replace_program("#!/bin/sh\necho broken >&2\nexit 3\n");
    server.upgrade().fails(1, &[" !     ", "exit status: 3"]);
    kill(Pid::from_raw(daemon), Signal::SIGHUP).unwrap();
    wait_until("the signal is answered in the log", PATIENCE, || server.log().matches("not upgraded").count() == 2);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
    App::opened(server.client(), "blog").push_file("message", "two").ok();
    server.restore_program();
    server.upgrade().ok();
    assert_ne!(server.daemon_pid(), daemon);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
}

#[test]
fn a_program_that_fails_when_the_home_is_free_gives_it_back() {
    let mut server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let daemon = server.daemon_pid();
    let other = server.home().with_file_name("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("airstrip.db"), "no database").unwrap();
    let (binary, other) = (server.binary().display(), other.display());
    server.replace_program(&format!("#!/bin/sh\nexec {binary} serve --home {other}\n"));
    let load = Load::start(server.http, "blog.localhost", "/instance", 4);
    server.upgrade().fails(1, &[" !     the new program cannot serve: database"]);
    load.goes_on();
    assert_eq!(server.daemon_pid(), daemon);
    App::opened(server.client(), "blog").push_file("message", "two").ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
    server.restore_program();
    server.upgrade().ok();
    assert_ne!(server.daemon_pid(), daemon);
    assert_eq!(load.stop().failures, Vec::<String>::new());
}
