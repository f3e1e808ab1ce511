//! What visitors see while an app does not answer.

use std::os::unix::fs::symlink;

use crate::harness::{App, Page, Server};

/// As a browser asks.
fn browse(server: &Server) -> Page {
    server.http.ask("blog.localhost", "/", &["-H", "Accept: text/html"])
}

#[test]
fn an_app_has_pages_of_its_own() {
    let server = Server::start();
    let client = server.client();
    let app = App::probe(client, "blog");
    app.push().ok();
    client.airstrip("maintenance:on blog").ok();
    let plain = browse(&server);
    assert_eq!(plain.status, 503);
    assert!(plain.body.contains("down for maintenance"), "{plain:?}");
    client.airstrip("maintenance:off blog").ok();

    app.write("maintenance.html", "<h1>We are painting</h1>");
    app.write("errors/503.html", "<h1>Not now</h1>");
    symlink("/etc/passwd", app.directory.join("errors/502.html")).unwrap();
    app.commit("Pages");
    app.push().ok();
    assert_eq!(browse(&server).ok().body, "one");
    client.airstrip("maintenance:on blog").ok();
    let painting = browse(&server);
    assert_eq!((painting.status, painting.body.as_str()), (503, "<h1>We are painting</h1>"));
    let program = server.http.ask("blog.localhost", "/", &["-H", "Accept: application/json"]);
    assert!(program.body.contains("down for maintenance"), "{program:?}");
    client.airstrip("maintenance:off blog").ok();
    client.airstrip("ps:stop blog").ok();
    let stopped = browse(&server);
    assert_eq!((stopped.status, stopped.body.as_str()), (503, "<h1>Not now</h1>"));
    client.airstrip("ps:start blog").ok();

    client.airstrip("rollback blog v1").ok();
    client.airstrip("maintenance:on blog").ok();
    assert!(browse(&server).body.contains("down for maintenance"), "a rollback takes its pages along");
}
