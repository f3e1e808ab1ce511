//! What is spoken through the router, with clients of other people: gRPC, WebSocket, HTTP/2, git.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{App, Https, Live, PATIENCE, Server, noise, run, skipped, wait_until};

/// A push that installs packages may run beside it.
const LONG: Duration = Duration::from_secs(300);

/// `tests/clients/SCRIPT` in a Python that has `module`. None, with the reason printed, where there is none.
fn python(script: &str, module: &str) -> Option<Command> {
    let python = std::env::var("AIRSTRIP_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !Command::new(&python).args(["-c", &format!("import {module}")]).output().is_ok_and(|done| done.status.success())
    {
        skipped(&format!("{python} has no {module} (pip install, and AIRSTRIP_TEST_PYTHON=PATH)"));
        return None;
    }
    let mut command = Command::new(python);
    command.arg(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients")).join(script));
    Some(command)
}

#[test]
fn grpc_calls_of_every_kind_pass_and_none_fails_in_a_deploy() {
    let Some(mut client) = python("grpc_calls.py", "grpc") else { return };
    let server = Server::start();
    let app = App::copy_of(server.client(), "blog", "tests/apps/grpc");
    server.client().airstrip("apps:create blog").ok();
    let said = server.client().airstrip("http:set blog protocol=h2c").ok().out();
    assert!(said.contains("instances that start from now on"), "{said}");
    assert_eq!(server.client().airstrip("http blog --json").ok().json()["protocol"], "h2c");
    app.push().ok();
    let mut calls = Live::start(client.arg(server.http.0.to_string()));
    calls.wait_for("calling", LONG);
    app.push_file("message", "two").ok();
    calls.wait_for(" calls", PATIENCE);
    let reply = calls.finish(PATIENCE).ok();
    assert!(reply.err().ends_with("done"), "{reply}");
    other_protocol_is_refused(&server, &app);
}

/// Code that does not speak what is set does not replace what serves.
fn other_protocol_is_refused(server: &Server, app: &App<'_>) {
    server.client().airstrip("checks:set blog timeout=5").ok();
    server.client().airstrip("http:set blog protocol=http1").ok();
    server.client().airstrip("restart blog").fails(1, &["did not answer"]);
    app.push_file("message", "three").rejected(&["did not answer"]);
    assert_eq!(server.client().airstrip("ps blog --json").ok().json()[0]["release"], "v2");
}

fn live<'s>(server: &'s Server, settings: &str) -> App<'s> {
    let app = App::copy_of(server.client(), "blog", "tests/apps/live");
    server.client().airstrip("apps:create blog").ok();
    server.client().airstrip(&format!("http:set blog {settings}")).ok();
    app.push().ok();
    app
}

/// `websocket_session.py`, told to do this.
fn websockets(server: &Server, what: &str) -> Option<Command> {
    let mut client = python("websocket_session.py", "websockets")?;
    client.args([&server.http.0.to_string(), "blog.localhost", what]);
    Some(client)
}

#[test]
fn websockets_talk_through_the_router() {
    let server = Server::start();
    let Some(mut conversation) = websockets(&server, "conversation") else { return };
    let _app = live(&server, "drain=off");
    let reply = run(&mut conversation, b"", LONG).ok();
    assert_eq!(reply.line(), "done", "{reply}");
    wait_until("the app is told why", PATIENCE, || server.http.get("blog.localhost", "/closed").ok().body == "4321");
}

#[test]
fn a_websocket_outlives_a_deploy_and_is_closed_with_a_word() {
    let mut server = Server::start();
    let Some(mut numbers) = websockets(&server, "numbers") else { return };
    let app = live(&server, "drain=1h");
    assert_eq!(server.client().airstrip("http blog --json").ok().json()["drain"], 3600);
    let mut socket = Live::start(&mut numbers);
    socket.wait_for("counted 50", PATIENCE);
    app.push_file("message", "two").ok();
    assert_eq!(server.http.get("blog.localhost", "/message").ok().body, "two");
    let counted = socket.wait_for("counted ", PATIENCE);
    let last: u32 = counted.rsplit(' ').next().unwrap().parse().unwrap();
    socket.wait_for(&format!("counted {}", last + 100), PATIENCE);
    // It does not hold up an upgrade.
    server.upgrade().ok();
    socket.wait_for("closed 1001 after ", PATIENCE);
    socket.finish(PATIENCE).ok();
    assert_eq!(server.http.get("blog.localhost", "/message").ok().body, "two");
    server.wait_for_replaced();
}

#[test]
fn a_websocket_to_what_was_replaced_ends_in_time() {
    let server = Server::start();
    let Some(mut numbers) = websockets(&server, "numbers") else { return };
    let _app = live(&server, "drain=2s");
    let mut socket = Live::start(&mut numbers);
    socket.wait_for("counted 0", PATIENCE);
    let begin = Instant::now();
    server.client().airstrip("restart blog").ok();
    socket.wait_for("closed 1001 after ", PATIENCE);
    assert!(begin.elapsed() >= Duration::from_secs(2), "it lived for {:?}", begin.elapsed());
    server.client().airstrip("http:set blog drain=1h").ok();
    let mut socket = Live::start(&mut websockets(&server, "numbers").unwrap());
    socket.wait_for("counted 0", PATIENCE);
    server.client().airstrip("restart blog").ok();
    server.client().airstrip("ps:stop blog").ok();
    socket.wait_for("closed 1001 after ", PATIENCE);
}

/// Its client comes again by itself; so it does not hold what was replaced for as long as requests do.
#[test]
fn a_stream_of_events_to_what_was_replaced_ends_in_time() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server.client().airstrip("http:set blog drain=2s").ok();
    let mut curl = Command::new("curl");
    curl.args(["-qsSN", "--noproxy", "*", "-H", "Host: blog.localhost", &format!("http://{}/events", server.http.0)]);
    let mut events = Live::start(&mut curl);
    events.wait_for("data: ", PATIENCE);
    let begin = Instant::now();
    server.client().airstrip("restart blog").ok();
    events.wait_for("data: ", PATIENCE);
    events.finish(PATIENCE);
    let lived = begin.elapsed();
    assert!(lived >= Duration::from_secs(2) && lived < Duration::from_secs(25), "it lived for {lived:?}");
}

/// h2load's own count of what went wrong.
fn h2load(server: &Server, https: bool) {
    let address = if https { Https::of_development(server).address } else { server.http.0 };
    let mut load = Command::new("h2load");
    load.args(["-n", "4000", "-c", "8", "-m", "10", "--connect-to", &address.to_string()]);
    let scheme = if https { "https" } else { "http" };
    let mut load = Live::start(load.arg(format!("{scheme}://blog.localhost:{}/instance", address.port())));
    server.client().airstrip("restart blog").ok();
    server.client().airstrip("ps:scale blog web=2").ok();
    server.client().airstrip("ps:scale blog web=1").ok();
    load.wait_for(
        "requests: 4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout",
        LONG,
    );
    load.wait_for("status codes: 4000 2xx, 0 3xx, 0 4xx, 0 5xx", PATIENCE);
    load.finish(PATIENCE).ok();
}

#[test]
fn h2load_fails_with_nothing_while_instances_change() {
    if !has("h2load") {
        return skipped("nghttp2-client is not installed");
    }
    let server = Server::start_with(&["--https", "127.0.0.1:0"]);
    App::probe(server.client(), "blog").push().ok();
    h2load(&server, false);
    h2load(&server, true);
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|done| done.status.success())
}

/// Bodies of a length that is not known before.
#[test]
fn git_clones_and_pushes_over_http() {
    let server = Server::start();
    App::copy_of(server.client(), "code", "tests/apps/git_http").push().ok();
    let directory = server.client().key().with_file_name("over-http");
    std::fs::create_dir(&directory).unwrap();
    let port = server.http.0.port();
    let url = format!("http://code.localhost:{port}/code.git");
    let resolve = format!("http.curloptResolve=code.localhost:{port}:127.0.0.1");
    let git = |arguments: &[&str]| {
        let options = ["-c", &resolve, "-c", "http.proxy=", "-c", "http.postBuffer=65536"];
        server.client().git(&directory, &[&options, arguments].concat()).ok()
    };
    git(&["clone", "-q", &url, "one"]);
    let content = noise(5 << 20);
    std::fs::write(directory.join("one/large"), &content).unwrap();
    let one = ["-C", "one"];
    git(&[&one[..], &["checkout", "-q", "-B", "main"]].concat());
    git(&[&one[..], &["add", "large"]].concat());
    git(&[&one[..], &["commit", "-q", "-m", "Large"]].concat());
    git(&[&one[..], &["push", "-q", "origin", "main"]].concat());
    assert_ne!(server.http.get("code.localhost", "/chunked").ok().body, "0", "the push came in chunks");
    git(&["clone", "-q", &url, "two"]);
    assert!(std::fs::read(directory.join("two/large")).unwrap() == content);
    server.client().airstrip("restart code").ok();
    std::fs::write(directory.join("two/small"), "small").unwrap();
    git(&["-C", "two", "add", "small"]);
    git(&["-C", "two", "commit", "-q", "-m", "Small"]);
    git(&["-C", "two", "push", "-q", "origin", "main"]);
    git(&[&one[..], &["pull", "-q"]].concat());
    assert_eq!(std::fs::read_to_string(directory.join("one/small")).unwrap(), "small");
}
