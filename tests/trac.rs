//! The story of Trac: a large app from outside, with its own installer, repositories and protocol.

use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{App, PATIENCE, Reply, Server, noise, run, tool, wait_until};

const LONG: Duration = Duration::from_secs(300);

#[test]
fn trac_and_its_repositories_live_on_airstrip() {
    the_story(&Server::start());
}

pub fn the_story(server: &Server) {
    let client = server.client();
    let app = App::copy_of(client, "trac", "examples/trac");
    app.push().ok();
    let page = server.http.get("trac.localhost", "/");
    assert_eq!((page.status, page.body.trim()), (503, "not installed yet: run install.py first"));

    install(server);
    client.airstrip("restart trac").ok();
    let start = server.http.get("trac.localhost", "/").ok().body;
    assert!(start.contains("Welcome to Trac"), "{start}");

    // Mercurial resolves names by itself, and not every machine knows *.localhost.
    client.airstrip("domains:add trac localhost").ok();
    let directory = client.key().with_file_name("clone");
    let hg = Hg { server, directory: directory.clone() };
    push_with_mercurial(&hg);
    bazaar_is_readable(server);

    let version = hg.id();
    app.push_file("note", "a change of the code").ok();
    assert!(server.http.get("trac.localhost", "/").ok().body.contains("Welcome to Trac"), "Trac is untouched");
    assert_eq!(hg.id(), version, "the repository is untouched");
    client.airstrip("rollback trac").ok();
    assert!(server.http.get("trac.localhost", "/").ok().body.contains("Welcome to Trac"));
    assert_eq!(hg.id(), version);
    all_six_answer(server);
}

/// `ssh trac@…` at a terminal, and the installer's questions.
fn install(server: &Server) {
    let mut shell = server.client().terminal("trac", &[]);
    shell.enter("cd code");
    shell.enter("./install.py");
    shell.expect("username:");
    shell.enter("admin");
    shell.expect("password:");
    shell.enter("open sesame");
    let shown = shell.expect("installed; admin may log in and push");
    assert!(!shown.contains("open sesame"), "the password is not echoed: {shown}");
    shell.enter("exit");
    assert_eq!(shell.status(PATIENCE), 0);
    let again = server.client().ssh("trac", &["cd code && ./install.py </dev/null"]);
    assert_eq!(again.status, 1, "{again}");
    again.says(&["installed already"]);
}

/// The real client on a clone.
struct Hg<'a> {
    server: &'a Server,
    directory: PathBuf,
}

impl Hg<'_> {
    fn url(&self, user: &str) -> String {
        format!("http://{user}localhost:{}/hg/main", self.server.http.0.port())
    }

    fn run(&self, arguments: &[&str]) -> Reply {
        let mercurial = tool("hg", "mercurial").expect("Mercurial can be had from the package index");
        let mut hg = self.server.client().command(&mercurial.to_string_lossy());
        hg.env("HGPLAIN", "1").env("HGUSER", "Story <story@example.com>").args(["--noninteractive"]).args(arguments);
        run(&mut hg, b"", LONG)
    }

    /// The id of the newest changeset on the server.
    fn id(&self) -> String {
        self.run(&["id", "-i", "-r", "tip", &self.url("")]).ok().line()
    }
}

fn push_with_mercurial(hg: &Hg) {
    let directory = hg.directory.to_str().unwrap();
    hg.run(&["clone", "-q", &hg.url(""), directory]).ok();
    std::fs::write(hg.directory.join("large"), noise(5_000_000)).unwrap();
    hg.run(&["-R", directory, "add", "-q", &format!("{directory}/large")]).ok();
    hg.run(&["-R", directory, "commit", "-q", "-m", "Five megabytes"]).ok();
    assert_ne!(hg.run(&["-R", directory, "push", "-q"]).status, 0, "pushing needs the password");
    hg.run(&["-R", directory, "push", "-q", &hg.url("admin:open%20sesame@")]).ok();
    let local = hg.run(&["-R", directory, "id", "-i"]).ok().line();
    assert_eq!(hg.id(), local);
    let second = hg.directory.with_file_name("second-clone");
    hg.run(&["clone", "-q", &hg.url(""), second.to_str().unwrap()]).ok();
    assert_eq!(std::fs::metadata(second.join("large")).unwrap().len(), 5_000_000);
}

fn bazaar_is_readable(server: &Server) {
    let page = server.http.get("trac.localhost", "/bzr/").ok();
    assert!(page.body.contains("main"), "{page:?}");
}

fn all_six_answer(server: &Server) {
    let client = server.client();
    client.airstrip("ps:scale trac web=6").ok();
    for number in 1..=6 {
        let ask = "python -c 'import os, urllib.request as u; print(\"Welcome to Trac\" in u.urlopen(\"http://127.0.0.1:\" + os.environ[\"PORT\"]).read().decode())'";
        let answer = client.ssh(&format!("trac+web.{number}"), &[ask]).ok();
        assert_eq!(answer.line(), "True", "web.{number}: {answer}");
    }
    wait_until("the router answers", PATIENCE, || server.http.get("trac.localhost", "/").status == 200);
}
