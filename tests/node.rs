//! Node.js apps, with packages from a registry.

use std::process::Command;

use crate::harness::{App, Server, skipped};

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
