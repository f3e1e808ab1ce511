//! Where an app's connections may go.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use crate::harness::{App, HOST, INTERNET, PATIENCE, PRIVATE, Server, run, skipped, wait_until, with_outside};

fn with_blog() -> Server {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server
}

fn instance(server: &Server) -> String {
    server.http.get("blog.localhost", "/instance").ok().body
}

fn egress(server: &Server) -> String {
    let shown = server.client().airstrip("network blog --json").ok().json();
    shown["egress"].as_str().unwrap().to_owned()
}

#[test]
fn where_connections_go_is_set_shown_and_kept() {
    let mut server = with_blog();
    assert_eq!(egress(&server), "internet");
    let first = instance(&server);
    server.client().airstrip("network:set blog egress=none").ok();
    let second = instance(&server);
    assert_ne!(first, second, "an instance has the network that it was started with");
    assert_eq!(egress(&server), "none");
    let people = server.client().airstrip("network blog").ok().out();
    assert!(people.contains("blog network") && people.contains("none"), "{people}");
    server.client().airstrip("network:set blog egress=none").ok();
    assert_eq!(instance(&server), second, "nothing changes, nothing is restarted");
    server.crash();
    server.start_again();
    assert_eq!((instance(&server), egress(&server)), (second, "none".to_owned()));
    App::opened(server.client(), "blog").push_file("message", "two").ok();
    server.client().airstrip("rollback blog").ok();
    assert_eq!(egress(&server), "none", "it belongs to the app, not to a release");
}

#[test]
fn networks_that_there_are_not_are_refused() {
    let server = with_blog();
    let before = instance(&server);
    for wrong in ["egress=everything", "egress=", "none", "ingress=none"] {
        server.client().airstrip(&format!("network:set blog {wrong}")).fails(2, &["internet", "private", "none"]);
    }
    server.client().airstrip("network:set nowhere egress=none").fails(1, &["nowhere"]);
    let deployer = server.client_with_key("deployer", &["--app", "blog", "--role", "deploy"]);
    deployer.airstrip("network blog").ok();
    deployer.airstrip("network:set blog egress=private").fails(1, &["may not"]);
    assert_eq!((instance(&server), egress(&server)), (before, "internet".to_owned()));
}

/// Whether a connection can be made from inside.
fn reaches(server: &Server, host: &str, port: u16) -> bool {
    let line = format!("run blog python -c 'import socket; socket.create_connection((\"{host}\", {port}), 5)'");
    server.client().airstrip(&line).status == 0
}

/// Whether this machine lets connections out of an app at all; says so if it does not.
pub fn may_connect(server: &Server) -> bool {
    let shown = server.client().airstrip("network blog --json").ok().json();
    if let Some(why) = shown["unavailable"].as_str() {
        skipped(why);
    }
    shown["unavailable"].is_null()
}

#[test]
fn connections_go_where_they_may() {
    with_outside(|_outside| {
        let server = with_blog();
        if !may_connect(&server) {
            return;
        }
        wait_until("the other machine serves", PATIENCE, || TcpStream::connect((INTERNET, 80)).is_ok());
        let (loopback, all) =
            (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), std::net::TcpListener::bind("0.0.0.0:0").unwrap());
        let [loopback_port, port] = [&loopback, &all].map(|listener| listener.local_addr().unwrap().port());
        for (setting, expected) in [("internet", [true, false]), ("private", [true, true]), ("none", [false, false])] {
            server.client().airstrip(&format!("network:set blog egress={setting}")).ok();
            assert_eq!([INTERNET, PRIVATE].map(|host| reaches(&server, host, 80)), expected, "{setting}");
            assert!(!reaches(&server, "127.0.0.1", loopback_port), "{setting}: the host's loopback");
            assert!(!reaches(&server, HOST, port), "{setting}: the host itself");
            assert!(!reaches(&server, HOST, server.http.0.port()), "{setting}: the server");
            assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
        }
    });
}

#[test]
fn apps_do_not_reach_each_other() {
    let server = with_blog();
    App::probe(server.client(), "shop").push().ok();
    let port = server.http.get("shop.localhost", "/environ").ok().json()["PORT"].as_str().unwrap().to_owned();
    let inside = |app: &str| {
        let ask = format!(
            "import urllib.request; print(urllib.request.urlopen(\"http://127.0.0.1:{port}/environ\", timeout=5).read().decode())"
        );
        server.client().ssh(app, &[&format!("python -c '{ask}'")])
    };
    assert_eq!(inside("shop").ok().json()["AIRSTRIP_APP"], "shop");
    let other = inside("blog");
    assert!(other.status != 0 || other.json()["AIRSTRIP_APP"] == "blog", "{other}");
}

/// What an app gets from another by its internal name: the status, and the body.
fn ask(server: &Server, from: &str, to: &str) -> (u16, String) {
    let script = format!(
        "import urllib.request, urllib.error\ntry: r=urllib.request.urlopen(\"http://{to}.internal/\", timeout=10); print(r.status, r.read().decode())\nexcept urllib.error.HTTPError as e: print(e.code)\nexcept OSError: print(0)"
    );
    let said = server.client().ssh_with(from, &["python -"], script.as_bytes()).ok().out();
    let (status, body) = said.trim().split_once(' ').unwrap_or((said.trim(), ""));
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn apps_reach_each_other_by_name_if_both_allow_it() {
    let mut server = with_blog();
    App::probe(server.client(), "shop").push().ok();
    let set = |server: &Server, app: &str, to: &str| {
        server.client().airstrip(&format!("network:set {app} internal={to}")).ok();
    };
    assert_eq!(ask(&server, "blog", "shop").0, 0, "neither allows it");
    set(&server, "blog", "on");
    assert_eq!(ask(&server, "blog", "shop").0, 404, "one of them allows it");
    assert_eq!(ask(&server, "blog", "blog"), (200, "one".to_owned()));
    assert_eq!(ask(&server, "shop", "blog").0, 0);
    set(&server, "shop", "on");
    assert_eq!(ask(&server, "blog", "shop"), (200, "one".to_owned()));
    assert_eq!(ask(&server, "shop", "blog"), (200, "one".to_owned()));
    assert_eq!(server.http.get("shop.internal", "/").status, 404, "not from outside");
    App::opened(server.client(), "shop").push_file("message", "two").ok();
    assert_eq!(ask(&server, "blog", "shop"), (200, "two".to_owned()), "as it is served to everybody");

    let before = instance(&server);
    server.crash();
    server.start_again();
    assert_eq!(instance(&server), before);
    assert_eq!(
        ask(&server, "blog", "shop"),
        (200, "two".to_owned()),
        "instances outlive the daemon, and find it again"
    );

    server.client().airstrip("network:set shop egress=none internal=on").ok();
    assert_eq!(ask(&server, "blog", "shop").0, 200);
    assert_eq!(ask(&server, "shop", "blog").0, 0, "nothing is nothing");
    set(&server, "shop", "off");
    assert_eq!(ask(&server, "blog", "shop").0, 404);
}

/// A wheel that can be imported and does nothing.
const WHEEL: &str = "
import os, sys, zipfile
os.makedirs('simple/needy')
with zipfile.ZipFile('simple/needy/needy-1.0-py3-none-any.whl', 'w') as wheel:
    info = 'needy-1.0.dist-info'
    wheel.writestr('needy.py', '')
    wheel.writestr(info + '/METADATA', 'Metadata-Version: 2.1\\nName: needy\\nVersion: 1.0\\n')
    wheel.writestr(info + '/WHEEL', 'Wheel-Version: 1.0\\nGenerator: story\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + '/RECORD', 'needy.py,,\\n' + ''.join(info + name + ',,\\n' for name in ('/METADATA', '/WHEEL', '/RECORD')))
";

#[test]
fn builds_reach_the_operators_own_index_and_apps_do_not() {
    with_outside(|outside| {
        let mut python = Command::new("python3");
        run(python.args(["-c", WHEEL]).current_dir(outside.directory.path()), b"", PATIENCE).ok();
        assert!(fs::exists(outside.directory.path().join("simple/needy")).unwrap());
        let index = format!("http://{PRIVATE}/simple");
        let server = Server::start_with_variables(&[
            ("PIP_INDEX_URL", &index),
            ("UV_DEFAULT_INDEX", &index),
            ("UV_INDEX_URL", &index),
        ]);
        server.client().airstrip("apps:create blog").ok();
        if !may_connect(&server) {
            return;
        }
        let app = App::probe(server.client(), "blog");
        app.write("requirements.txt", "needy\n");
        app.commit("Need a package of the operator's");
        app.push().ok();
        server.client().airstrip("run blog python -c 'import needy'").ok();
        assert!(!reaches(&server, PRIVATE, 80));
    });
}
