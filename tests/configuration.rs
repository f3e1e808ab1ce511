//! Configuration, and the releases that its changes make.

use serde_json::Value;

use crate::harness::{App, Server};

#[test]
fn configuration_is_the_apps_environment() {
    let server = Server::start();
    let client = server.client();
    let app = App::probe(client, "blog");
    client.airstrip("apps:create blog").ok();
    client.airstrip("config:set blog EARLY=bird").ok();
    app.push().ok();
    let environ = |key: &str| server.http.get("blog.localhost", "/environ").ok().json()[key].clone();
    assert_eq!(environ("EARLY"), "bird", "set before the first push");

    client.airstrip("config:set blog 'A=a b \"c\" $HOME' B=2").ok();
    // What the client's shell sends is split once more, as a POSIX shell would.
    let sent = client.airstrip("config:set blog \"A=a b 'c' \\$HOME\"").ok();
    assert_eq!(environ("A"), "a b 'c' $HOME", "{sent}");
    assert_eq!(environ("B"), "2");
    assert_eq!(client.airstrip("config:get blog A").ok().out(), "a b 'c' $HOME\n");
    let dotenv = "# from a file\nC=plain\nexport D=\"two\\nlines\"\nE='single # quoted'\n\nEMPTY=\n";
    client.ssh_with("airstrip", &["config:set blog -"], dotenv.as_bytes()).ok();
    assert_eq!(
        (environ("C"), environ("D"), environ("E"), environ("EMPTY")),
        ("plain".into(), "two\nlines".into(), "single # quoted".into(), "".into())
    );
    client.airstrip("config:unset blog B C").ok();
    assert_eq!(environ("B"), Value::Null);
    let listed = client.airstrip("config blog").ok().out();
    assert!(listed.contains("EARLY") && !listed.contains("plain"), "{listed}");
    client.airstrip("config:get blog B").fails(1, &["B"]);

    let before = server.http.get("blog.localhost", "/instance").ok().body;
    client.airstrip("config:set blog LATER=now --no-restart").ok();
    assert_eq!(server.http.get("blog.localhost", "/instance").ok().body, before);
    client.airstrip("restart blog").ok();
    app.push_file("message", "two").ok();
    assert_eq!(environ("LATER"), "now");
}

#[test]
fn a_secret_is_in_no_log_and_no_process_title() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let client = server.client();
    let secret = "correct-horse-battery";
    client.airstrip(&format!("config:set blog TOKEN={secret}")).ok();
    assert!(!server.log().contains(secret));
    assert!(!client.airstrip("releases blog").ok().out().contains(secret));
    assert!(!client.airstrip("logs blog -n 1000").ok().out().contains(secret));
    let titles: Vec<_> = server.processes().into_iter().map(|found| found.command).collect();
    assert!(!titles.iter().any(|title| title.contains(secret)), "{titles:?}");
}

#[test]
fn a_rollback_brings_back_code_and_configuration() {
    let server = Server::start();
    let client = server.client();
    let app = App::probe(client, "blog");
    app.push().ok();
    app.push_file("message", "two").ok();
    client.airstrip("config:set blog A=3").ok();
    app.push_file("message", "four").ok();
    let now = || {
        let environ = server.http.get("blog.localhost", "/environ").ok().json();
        (server.http.get("blog.localhost", "/").ok().body, environ["A"].clone(), environ["AIRSTRIP_RELEASE"].clone())
    };
    assert_eq!(now(), ("four".into(), "3".into(), "v4".into()));
    client.airstrip("rollback blog").ok();
    assert_eq!(now(), ("two".into(), "3".into(), "v5".into()), "v5 has what v3 had");
    client.airstrip("rollback blog").ok();
    assert_eq!(now(), ("two".into(), Value::Null, "v6".into()), "twice in a row goes back two");
    client.airstrip("rollback blog v1").ok();
    assert_eq!(now(), ("one".into(), Value::Null, "v7".into()));
    client.airstrip("rollback blog v99").fails(1, &[" !     ", "v99"]);
    assert_eq!(app.branch_on_server("main"), Some(app.head()), "a rollback does not move the ref");
    let releases = client.airstrip("releases blog --json").ok().json();
    assert_eq!(releases.as_array().unwrap().len(), 7);
    assert_eq!(releases[0]["release"], "v7");
    client.airstrip("ps:rebuild blog").ok();
    assert_eq!(now(), ("four".into(), Value::Null, "v8".into()), "the deploy branch's tip, built anew");
}
