//! Python apps, with packages from an index.

use std::time::Instant;

use crate::harness::{App, Server};

#[test]
fn a_wsgi_app_without_procfile_is_served() {
    let server = Server::start();
    let wsgi = "def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'by wsgi']\n";
    let app = App::new(server.client(), "plain", &[("requirements.txt", "# nothing\n"), ("wsgi.py", wsgi)]);
    let push = app.push().ok();
    assert_eq!(server.http.get("plain.localhost", "/").ok().body, "by wsgi");
    assert!(push.reply.err().contains("gunicorn"), "{}", push.reply);
}

#[test]
fn unchanged_requirements_cost_nothing() {
    let server = Server::start();
    let app = App::copy_of(server.client(), "hello", "examples/hello");
    let first = app.push().ok();
    let begin = Instant::now();
    let second = app.push_file("note", "a change").ok();
    let took = begin.elapsed();
    assert!(server.http.get("hello.localhost", "/").ok().body.contains("Hello from v2"));
    assert!(second.remote.len() <= first.remote.len(), "{}", second.reply);
    assert!(took.as_secs() < 20, "{took:?}: {}", second.reply);
}

#[test]
fn a_new_requirement_is_installed() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let has = || server.client().ssh("blog", &["python -c 'import itsdangerous'"]).status == 0;
    assert!(!has());
    app.push_file("requirements.txt", "itsdangerous==2.2.0\n").ok();
    assert!(has());
    server.client().airstrip("rollback blog").ok();
    assert!(!has(), "a rollback brings the old packages back");
}
