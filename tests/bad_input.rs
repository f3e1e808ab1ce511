//! What does not work is said clearly, and changes nothing.

use crate::harness::{App, Client, PATIENCE, Push, Server, receive_pack, wait_until};

/// A server where `blog` serves "one".
struct Scene {
    server: Server,
    /// How many processes it takes to serve that.
    processes: usize,
}

impl Scene {
    fn new() -> Self {
        let server = Server::start();
        App::probe(server.client(), "blog").push().ok();
        let processes = server.processes().len();
        Self { server, processes }
    }

    fn client(&self) -> &Client {
        self.server.client()
    }

    /// The working copy of `blog` that was pushed.
    fn app(&self) -> App<'_> {
        App::opened(self.client(), "blog")
    }

    /// A push of these files is rejected with these words, and nothing is different afterwards.
    fn rejects(&self, files: &[(&str, &str)], words: &[&str]) {
        let app = self.app();
        let pushed = app.branch_on_server("main").unwrap();
        for (path, content) in files {
            app.write(path, content);
        }
        app.commit("Something bad");
        let push = app.push();
        self.nothing_changed(&push, &pushed, words);
        app.git(&["reset", "-q", "--hard", &pushed]).ok();
    }

    fn nothing_changed(&self, push: &Push, pushed: &str, words: &[&str]) {
        push.check_rejected(words);
        assert!(push.remote.iter().any(|line| line.starts_with(" !     ")), "an error line: {}", push.reply);
        assert_eq!(self.app().branch_on_server("main").as_deref(), Some(pushed));
        assert_eq!(self.server.http.get("blog.localhost", "/").ok().body, "one");
        assert_eq!(self.client().airstrip("releases blog --json").ok().json().as_array().unwrap().len(), 1);
        wait_until("only the old instance is left", PATIENCE, || self.server.processes().len() == self.processes);
    }
}

#[test]
fn a_tree_without_anything_to_detect() {
    let server = Server::start();
    let app = App::new(server.client(), "blog", &[("README", "just words")]);
    app.push().rejected(&["no buildpack recognises this app", "requirements.txt"]);
    let empty = App::new(server.client(), "empty", &[]);
    empty.push().rejected(&["no buildpack recognises this app"]);
}

#[test]
fn requirements_that_cannot_be_installed() {
    let scene = Scene::new();
    scene.rejects(
        &[("requirements.txt", "no-such-package-of-airstrip-stories==1\n")],
        &["no-such-package-of-airstrip-stories"],
    );
    scene.rejects(&[("requirements.txt", "flask ===== 1\n")], &["requirements.txt"]);
    let wrong_hash = format!("itsdangerous==2.2.0 --hash=sha256:{}\n", "0".repeat(64));
    scene.rejects(&[("requirements.txt", &wrong_hash)], &["hash", "itsdangerous"]);
}

#[test]
fn a_procfile_with_nonsense() {
    let scene = Scene::new();
    scene.rejects(&[("Procfile", "web: python server.py\nthis is no process\n")], &["Procfile", "line 2"]);
    scene.rejects(&[("Procfile", "web:\n")], &["Procfile", "line 1"]);
}

#[test]
fn an_app_that_exits_at_once() {
    let scene = Scene::new();
    let exits = "print('reading the settings')\nraise SystemExit(3)\n";
    scene.rejects(&[("server.py", exits)], &["reading the settings", "web.1", "exited with status 3"]);
}

#[test]
fn an_app_whose_module_is_missing() {
    let scene = Scene::new();
    scene.rejects(&[("server.py", "import flask_of_tomorrow\n")], &["flask_of_tomorrow", "requirements.txt"]);
}

#[test]
fn an_app_with_a_syntax_error() {
    let scene = Scene::new();
    scene.rejects(&[("server.py", "def broken(:\n    pass\n")], &["SyntaxError", "server.py"]);
}

#[test]
fn an_app_killed_by_a_signal() {
    let scene = Scene::new();
    let killed = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n";
    scene.rejects(&[("server.py", killed)], &["killed by signal 9"]);
}

#[test]
fn an_app_whose_command_does_not_exist() {
    let scene = Scene::new();
    scene.rejects(&[("Procfile", "web: gunicornn app:app\n")], &["gunicornn", "not found"]);
}

#[test]
fn an_app_that_never_listens() {
    let scene = Scene::new();
    scene.client().airstrip("checks:set blog timeout=2").ok();
    scene.rejects(&[("Procfile", "web: echo thinking; exec sleep 86396\n")], &["thinking", "$PORT", "within 2 s"]);
}

#[test]
fn an_app_that_listens_on_another_port() {
    let scene = Scene::new();
    scene.client().airstrip("checks:set blog timeout=3").ok();
    let elsewhere = "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\nprint('at', s.getsockname()[1])\ntime.sleep(86395)\n";
    scene.rejects(&[("server.py", elsewhere)], &["it listens on 127.0.0.1:", "not on $PORT"]);
}

#[test]
fn an_app_that_needs_61_seconds_is_rejected_after_60_and_accepted_with_a_longer_check() {
    let scene = Scene::new();
    let slow = "web: sleep 61; exec python -u server.py\n";
    scene.rejects(&[("Procfile", slow)], &["within 60 s", "checks:set"]);
    scene.client().airstrip("checks:set blog timeout=90").ok();
    let app = scene.app();
    app.write("Procfile", slow);
    app.push_file("message", "late").ok();
    assert_eq!(scene.server.http.get("blog.localhost", "/").ok().body, "late");
}

#[test]
fn a_health_check_of_the_app_that_fails() {
    let scene = Scene::new();
    scene.client().airstrip("checks:set blog timeout=2").ok();
    let checks = r#"{"healthchecks": {"web": [{"type": "startup", "path": "/nowhere"}]}}"#;
    scene.rejects(&[("app.json", checks)], &["404"]);
    scene.rejects(&[("app.json", "{")], &["app.json"]);
}

#[test]
fn a_submodule() {
    let scene = Scene::new();
    let app = scene.app();
    let pushed = app.head();
    app.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{pushed},vendored/library")]).ok();
    app.git(&["commit", "-q", "-m", "A submodule"]).ok();
    let push = app.push();
    scene.nothing_changed(&push, &pushed, &["vendored/library", "submodule"]);
}

#[test]
fn names_of_apps_outside_the_rules() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    for name in ["Blog", "2blog", "blog-", "git", "a_b", "..", "blog/../other", "x2345678901234567890123456789012"] {
        let push = app.push_with(&[&Client::remote(name), "main"]);
        assert_ne!(push.reply.status, 0, "{name}");
        assert!(push.reply.err().contains("is not an app name"), "{name}: {}", push.reply);
        let created = server.client().airstrip(&format!("apps:create {name}"));
        assert_ne!(created.status, 0, "{name}");
        created.says(&[" !     "]);
    }
    assert_eq!(server.client().airstrip("apps --json").ok().json().as_array().unwrap().len(), 0);
}

#[test]
fn not_a_git_repository_on_the_other_side() {
    let server = Server::start();
    let client = server.client();
    let reply = client.git(client.key().parent().unwrap(), &["clone", "-q", &Client::remote("nothing")]);
    reply.fails(128, &["app nothing does not exist"]);
    let reply = client.git(client.key().parent().unwrap(), &["clone", "-q", &Client::remote("etc/passwd")]);
    reply.fails(128, &["is not an app name"]);
    let reply = client.ssh("airstrip", &["git-receive-pack"]);
    assert_ne!(reply.status, 0, "{reply}");
    assert_eq!(client.airstrip("apps --json").ok().json().as_array().unwrap().len(), 0);
}

#[test]
fn an_empty_push() {
    let scene = Scene::new();
    receive_pack::send(scene.client(), "blog", b"0000").ok();
    assert_eq!(scene.server.http.get("blog.localhost", "/").ok().body, "one");
}

#[test]
fn a_broken_pack() {
    let scene = Scene::new();
    let app = scene.app();
    let pushed = app.head();
    app.write("message", "two");
    app.commit("Two");
    let (begin, mut pack) = (receive_pack::move_main(&app), receive_pack::pack(scene.client(), &app));
    let middle = pack.len() / 2;
    pack[middle] ^= 0xff;
    let garbage = b"PACK\0\0\0\x02 this is not a pack".to_vec();
    for broken in [pack.clone(), pack[..middle].to_vec(), garbage, Vec::new()] {
        let reply = receive_pack::send(scene.client(), "blog", &[begin.clone(), broken].concat());
        let (said, length) = (reply.out() + &reply.err(), reply.stdout.len());
        assert!(!said.contains("unpack ok"), "{length} bytes: {reply}");
        assert!(!said.contains("ok refs/heads/main"), "{reply}");
        assert_eq!(app.branch_on_server("main"), Some(pushed.clone()));
    }
    assert_eq!(scene.server.http.get("blog.localhost", "/").ok().body, "one");
    app.push().ok();
    assert_eq!(scene.server.http.get("blog.localhost", "/").ok().body, "two");
}

#[test]
fn words_that_are_no_command() {
    let server = Server::start();
    let client = server.client();
    let reply = client.airstrip("ps:retsart blog");
    assert_ne!(reply.status, 0);
    reply.says(&[" !     ", "ps:retsart", "ps:restart"]);
    assert_eq!(client.airstrip("apps:create").status, 2);
    assert_eq!(client.airstrip("ps:scale blog --sideways").status, 2);
    assert_ne!(client.airstrip("apps 'unfinished").says(&["quote"]).status, 0);
    client.airstrip("logs nothing").fails(1, &[" !     ", "nothing", "does not exist"]);
}

#[test]
fn a_config_key_that_is_no_valid_name() {
    let scene = Scene::new();
    for pair in ["1A=x", "A-B=x", "=x", "É=x"] {
        let reply = scene.client().airstrip(&format!("config:set blog {pair}"));
        assert_ne!(reply.status, 0, "{reply}");
        reply.says(&["is not a variable name"]);
    }
    assert_ne!(scene.client().airstrip("config:set blog NOTHING").status, 0);
    assert_eq!(scene.client().airstrip("releases blog --json").ok().json().as_array().unwrap().len(), 1);
}
