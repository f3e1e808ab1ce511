//! What is spoken through the router, with clients of other people: gRPC, WebSocket, HTTP/2, git.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::harness::{App, Live, PATIENCE, Server, skipped};

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
