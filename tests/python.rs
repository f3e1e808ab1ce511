//! Python apps, with packages from an index.

use std::path::PathBuf;
use std::time::Instant;

use crate::harness::{App, Server, skipped};

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

/// pyenv's directory, and a version in it that is not that of `python3`.
fn another_python() -> Option<(PathBuf, String)> {
    let root =
        std::env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".pyenv")))?;
    let default = std::process::Command::new("python3").arg("--version").output().ok()?;
    let default = String::from_utf8(default.stdout).ok()?;
    let minor = |version: &str| Some(version.rsplit_once('.')?.0.to_owned());
    let versions =
        root.join("versions").read_dir().ok()?.flatten().filter_map(|entry| minor(entry.file_name().to_str()?));
    let mut others: Vec<_> = versions.filter(|minor| !default.contains(&format!(" {minor}."))).collect();
    others.retain(|minor| {
        minor.strip_prefix("3.").and_then(|minor| minor.parse().ok()).is_some_and(|minor: u32| minor > 8)
    });
    Some((root, others.pop()?))
}

#[test]
fn another_python_of_the_machine_is_used() {
    let Some((root, minor)) = another_python() else {
        return skipped("pyenv has no other Python here");
    };
    let server = Server::start_with_variables(&[("PYENV_ROOT", root.to_str().unwrap())]);
    let wsgi = "import sys\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return [sys.version.encode()]\n";
    let files = [(".python-version", minor.as_str()), ("wsgi.py", wsgi)];
    let app = App::new(server.client(), "other", &files);
    app.push().ok();
    let version = |server: &Server| server.http.get("other.localhost", "/").ok().body;
    assert!(version(&server).starts_with(&minor), "{}", version(&server));
    // Without the file the minor version stays.
    std::fs::remove_file(app.directory.join(".python-version")).unwrap();
    let push = app.push_file("note", "a change").ok();
    push.reply.says(&["As in the previous release", "Using the environment of the previous release"]);
    assert!(version(&server).starts_with(&minor));
}
