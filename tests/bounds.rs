//! What a build is given, what it may take, and what hostile ones do not get: their buildpack is a shell script.

mod files;
mod neighbours;
mod processes;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{App, INTERNET, PATIENCE, Push, Server, skipped, wait_until, with_outside};

/// A worker that needs nothing.
const PROCFILE: &str = "worker: exec sleep 86361\n";
/// What an app of its own keeps: a word that nobody else may see.
const TREASURE: &str = "treasure-4713";

fn with_blog() -> Server {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server
}

/// From now on these scripts are what recognises Python apps, and what builds them: `$1` is the directory of layers.
fn builds_by(server: &Server, detect: &str, build: &str) {
    let versions = server.home().join("buildpacks/airstrip_python");
    let version = fs::read_dir(versions).unwrap().next().unwrap().unwrap().path();
    for (program, script) in [("detect", detect), ("build", build)] {
        let path = version.join("bin").join(program);
        fs::remove_file(&path).unwrap();
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// What must be as before when a build came to nothing.
fn state(server: &Server, app: &App<'_>) -> (Vec<String>, Option<String>, String) {
    let page = server.http.get("blog.localhost", "/instance").ok().body;
    (server.directories(), app.branch_on_server("main"), page)
}

/// Pushes anew, which must fail with these words and leave nothing.
#[track_caller]
fn comes_to_nothing(server: &Server, words: &[&str]) -> Push {
    let app = App::opened(server.client(), "blog");
    let (before, processes) = (state(server, &app), server.processes().len());
    app.commit("Again");
    let push = app.push();
    push.check_rejected(words);
    assert_eq!(state(server, &app), before, "{}", push.reply);
    wait_until("the build's shims end", PATIENCE, || server.processes().len() <= processes);
    push
}

/// Every file below a directory that has `text` in it.
fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().filter_map(Result::ok) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files_with(&path, text));
        } else if kind.is_file() && fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path);
        }
    }
    found
}

#[test]
fn variables_for_builds_are_given_to_builds_alone() {
    let server = with_blog();
    let client = server.client();
    client.airstrip("config:set blog OF_THE_APP=app-4711").ok();
    let instance = || server.http.get("blog.localhost", "/instance").ok().body;
    let releases = || client.airstrip("releases blog --json").ok().json().as_array().unwrap().len();
    let before = (instance(), releases());
    let said = client.airstrip("config:set blog --build TOKEN=build-4712 EMPTY=").ok().out();
    assert!(said.contains("TOKEN, EMPTY for builds") && said.contains("Counts from the next build"), "{said}");
    client.ssh_with("airstrip", &["config:set blog - --build"], b"# a file\nLINES=\"one\\ntwo\"\n").ok();
    assert_eq!((instance(), releases()), before, "it is no release and restarts nothing");
    assert_eq!(client.airstrip("config:get blog TOKEN --build").ok().line(), "build-4712");
    client.airstrip("config:get blog TOKEN").fails(1, &["no variable TOKEN"]);
    let listed = client.airstrip("config blog --build --json").ok().json();
    let keys: Vec<_> = listed.as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["EMPTY", "LINES", "TOKEN"]);
    assert!(!client.airstrip("config blog").ok().out().contains("TOKEN"));

    let tell = "echo \"found $TOKEN, ${EMPTY-none}, $(cat /platform/env/LINES | tr '\\n' +), ${OF_THE_APP-nothing of the app}\"";
    builds_by(
        &server,
        &format!("{tell} > /tmp/detected"),
        &format!("cat /tmp/detected; {tell}; until test -e go; do sleep 0.1; done"),
    );
    let app = App::opened(client, "blog");
    app.write("Procfile", PROCFILE);
    app.commit("Tell");
    let mut push = app.start_push();
    push.wait_for("found build-4712, , one+two, nothing of the app", PATIENCE);
    push.wait_for("found build-4712, , one+two, nothing of the app", PATIENCE);
    let titles: Vec<_> = server.processes().into_iter().map(|found| found.command).collect();
    let code = fs::read_dir(server.home().join("apps/blog/releases")).unwrap().filter_map(Result::ok);
    let code = code.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains(".build-")).unwrap();
    fs::write(code.join("code/go"), "").unwrap();
    push.wait_for("=====> blog", PATIENCE);
    assert_eq!(push.finish(PATIENCE).status, 0);
    assert!(!titles.iter().any(|title| title.contains("build-4712")), "{titles:?}");
    assert!(!server.log().contains("build-4712"));
    let environment = client.airstrip("run blog env").ok().out();
    assert!(environment.contains("app-4711") && !environment.contains("build-4712"), "{environment}");
    for left in ["layers", "apps/blog/releases", "apps/blog/cache", "apps/blog/logs"] {
        assert_eq!(files_with(&server.home().join(left), "build-4712"), Vec::<PathBuf>::new());
    }

    client.airstrip("config:unset blog TOKEN --build").ok();
    client
        .airstrip("config:unset blog TOKEN --build")
        .fails(1, &["gives its builds no variable TOKEN", "config blog --build"]);
    builds_by(&server, "true", "echo now ${TOKEN-none}");
    app.commit("Tell again");
    assert!(app.push().ok().reply.err().contains("now none"));
}

#[test]
fn variables_for_builds_have_the_same_rules() {
    let server = Server::start();
    let client = server.client();
    client.airstrip("apps:create blog").ok();
    client.airstrip("config:set blog --build 1K=secret").fails(2, &["1K"]);
    client.airstrip("config:set blog --build").fails(2, &["usage"]);
    let wrong = client.ssh_with("airstrip", &["config:set blog --build -"], b"GOOD=1\nnot a line\n");
    wrong.fails(1, &["line 2"]);
    assert_eq!(client.airstrip("config blog --build --json").ok().json(), Value::Array(Vec::new()), "all or nothing");
    let deployer = server.client_with_key("deployer", &["--app", "blog", "--role", "deploy"]);
    deployer.airstrip("config blog --build").fails(1, &["may not"]);
    deployer.airstrip("config:set blog --build A=1").fails(1, &["may not"]);
    client.airstrip("config:set blog --build A=1").ok();
    client.airstrip("apps:rename blog shop").ok();
    assert_eq!(client.airstrip("config:get shop A --build").ok().line(), "1");
    client.airstrip("apps:destroy shop --force").ok();
    client.airstrip("apps:create shop").ok();
    client.airstrip("config:get shop A --build").fails(1, &["no variable A"]);
}

#[test]
fn what_recognises_an_app_has_no_network() {
    with_outside(|_outside| {
        let server = with_blog();
        wait_until("the other machine serves", PATIENCE, || TcpStream::connect((INTERNET, 80)).is_ok());
        let ask =
            format!("(exec 3<>/dev/tcp/{INTERNET}/80) 2> /tmp/why && echo reached || echo refused: $(cat /tmp/why)");
        builds_by(&server, &format!("{ask}; exit 1"), "exit 1");
        comes_to_nothing(&server, &["refused: ", "unreachable"]);
        builds_by(&server, "true", &format!("{ask}; exit 1"));
        let push = comes_to_nothing(&server, &["build failed"]);
        if push.reply.err().contains("refused: ") {
            return skipped("this machine lets builds connect to nowhere");
        }
        assert!(push.reply.err().contains("reached"), "{}", push.reply);
    });
}

#[test]
fn bounds_are_shown_and_are_of_builds_alone() {
    let server = Server::start();
    let client = server.client();
    client.airstrip("apps:create blog").ok();
    let row = |process: &str| {
        let all = client.airstrip("resource blog --json").ok().json();
        all.as_array().unwrap().iter().find(|row| row["process"] == process).unwrap().clone()
    };
    let expected = serde_json::json!({"time": 900, "detect_time": 60, "memory": 2_u64 << 30, "pids": 512, "disk": 10_u64 << 30,
        "inodes": 1_000_000, "log": 16 << 20});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&row("build")[key], value, "{key}");
    }
    assert_eq!((&row("web")["time"], &row("web")["disk"]), (&Value::Null, &Value::Null));
    let said = client.airstrip("resource:limit blog build time=20m detect-time=90s disk=1G").ok().out();
    assert!(said.contains("build of blog: time=20m detect-time=90s disk=1G"), "{said}");
    assert_eq!((&row("build")["time"], &row("build")["disk"]), (&1200.into(), &(1 << 30).into()));
    assert!(client.airstrip("resource blog").ok().out().contains("20m"));
    client.airstrip("resource:limit-clear blog build time").ok();
    assert_eq!(row("build")["time"], 900);
    for words in ["time=20m", "web inodes=5000"] {
        let remedy = format!("resource:limit blog build {}", words.rsplit(' ').next().unwrap());
        client.airstrip(&format!("resource:limit blog {words}")).fails(1, &["only builds", &remedy]);
    }
    client.airstrip("resource:limit blog build time=15").fails(2, &["from 1s to 24h"]);
}

/// Something that goes on after a build's own program, out of its session, and would write into its directory for ever.
const DAEMON: &str =
    "(setsid bash -c 'trap \"\" TERM HUP INT; while :; do date > /tmp/$RANDOM; sleep 0.01; done' &) > /dev/null 2>&1";

#[test]
fn a_build_that_passes_a_bound_ends_with_its_name_and_leaves_nothing() {
    let server = with_blog();
    passes_each_bound(&server);
}

#[test]
fn for_an_ordinary_user_a_build_that_passes_a_bound_ends() {
    let Some(server) = Server::as_ordinary_user() else { return };
    App::probe(server.client(), "blog").push().ok();
    passes_each_bound(&server);
}

fn passes_each_bound(server: &Server) {
    let fill =
        |directory: &str| format!("cd {directory} && n=0; while :; do n=$((n+1)); head -c 1M /dev/zero > $n; done");
    let touch = "mkdir $1/l && cd $1/l && for n in {1..1000000}; do : > $n; done; sleep 86362".to_owned();
    let cases = [
        ("time=2s", "time=4s", "trap '' TERM; sleep 86362".to_owned()),
        ("disk=20M", "disk=40M", fill("/tmp")),
        ("disk=20M", "disk=40M", fill("$1")),
        ("disk=20M", "disk=40M", fill(".")),
        ("disk=20M", "disk=40M", "truncate -s 1T hole && sleep 86362".to_owned()),
        ("inodes=3000", "inodes=6000", touch),
        ("log=64K", "log=128K", "yes".to_owned()),
        ("log=64K", "log=128K", "tr -d '\\n' < /dev/zero".to_owned()),
    ];
    let client = server.client();
    for (limit, more, script) in cases {
        client.airstrip("resource:limit-clear blog build").ok();
        client.airstrip(&format!("resource:limit blog build {limit}")).ok();
        builds_by(server, "true", &format!("{DAEMON}\n{script}"));
        let command = format!("resource:limit blog build {more}");
        comes_to_nothing(server, &["build failed: ", &format!("than its limit {limit}"), &command]);
    }
    client.airstrip("resource:limit-clear blog build").ok();
    client.airstrip("resource:limit blog build detect-time=2s").ok();
    builds_by(server, &format!("{DAEMON}\nsleep 86362"), "true");
    comes_to_nothing(server, &["than its limit detect-time=2s", "resource:limit blog build detect-time=4s"]);
    client.airstrip("resource:limit blog build detect-time=1m").ok();
    builds_by(server, "true", "echo fine");
    App::opened(client, "blog").push_file("Procfile", PROCFILE).ok();
}

#[test]
fn a_cache_that_has_become_too_large_is_dropped() {
    let server = with_blog();
    let client = server.client();
    let app = App::opened(client, "blog");
    app.write("Procfile", PROCFILE);
    let cached = |more: &str| format!("ls $1; mkdir -p $1/c; {more}; printf '[types]\\ncache = true\\n' > $1/c.toml");
    builds_by(&server, "true", &cached("echo first > $1/c/first"));
    app.commit("Fill the cache");
    app.push().ok();
    client.airstrip("resource:limit blog build disk=20M").ok();
    builds_by(&server, "true", &cached("head -c 30M /dev/zero > $1/c/large; sleep 86362"));
    app.commit("Fill it more");
    app.push().rejected(&["than its limit disk=20M"]);
    builds_by(&server, "true", &cached("ls $1/c; echo listed"));
    app.commit("Begin anew");
    let said = app.push().ok().reply.err();
    assert!(said.contains("listed") && !said.contains("large") && !said.contains("first"), "{said}");
}
