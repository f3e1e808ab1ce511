//! Who may do what.

use std::process::Command;

use crate::harness::{App, Live, PATIENCE, Server, public_key, run, wait_until};

#[test]
fn without_a_known_key_nobody_comes_in() {
    let server = Server::start();
    let stranger = server.stranger("stranger");
    for user in ["airstrip", "root", "blog"] {
        stranger.ssh(user, &["apps"]).fails(255, &["Permission denied (publickey)"]);
    }
    stranger.use_key(None);
    stranger.ssh("airstrip", &["apps"]).fails(255, &["Permission denied (publickey)"]);
    let app = App::probe(&stranger, "blog");
    assert_ne!(app.push().reply.status, 0);
    assert!(!server.client().airstrip("apps").ok().out().contains("blog"));
}

#[test]
fn every_usual_kind_of_key_is_known() {
    let server = Server::start();
    for (name, kind) in
        [("rsa", &["rsa", "-b", "3072"][..]), ("ecdsa", &["ecdsa", "-b", "256"]), ("ecdsa384", &["ecdsa", "-b", "384"])]
    {
        let client = server.stranger(name);
        let key = client.key().with_file_name(name);
        let mut keygen = Command::new("ssh-keygen");
        run(keygen.args(["-q", "-N", "", "-f"]).arg(&key).arg("-t").args(kind), b"", PATIENCE).ok();
        server.local_with(&["keys:add", name], &public_key(&key)).ok();
        client.use_key(Some(&key));
        client.airstrip("version").ok();
    }
}

#[test]
fn a_deploy_key_pushes_and_looks_and_nothing_else() {
    let server = Server::start();
    let admin = server.client();
    App::probe(admin, "blog").push().ok();
    App::probe(admin, "secret").push().ok();
    let deployer = server.client_with_key("deployer", &["--app", "blog", "--role", "deploy"]);

    let app = App::probe(&deployer, "blog");
    app.write("message", "deployed");
    app.commit("Deployed");
    app.push_with(&["--force", "airstrip", "main"]).ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "deployed");
    for allowed in ["logs blog -n 5", "ps blog", "releases blog", "rollback blog", "restart blog", "help"] {
        deployer.airstrip(allowed).ok();
    }
    let forbidden = [
        "config blog",
        "config:set blog A=1",
        "config:get blog A",
        "run blog true",
        "enter blog",
        "keys:add other",
        "apps:create other",
        "apps:destroy blog --confirm blog",
        "ps:scale blog web=2",
        "domains:add blog example.com",
        "apps:rename blog glob",
    ];
    for line in forbidden {
        let reply = deployer.airstrip(line);
        assert_eq!(reply.status, 1, "{reply}");
        reply.says(&[" !     ", "may not"]);
    }
    let shell = deployer.ssh("blog", &["true"]);
    assert_ne!(shell.status, 0, "{shell}");
    assert_ne!(deployer.ssh("blog", &[]).status, 0);
}

#[test]
fn another_app_is_invisible_to_a_scoped_key() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    App::probe(server.client(), "secret").push().ok();
    let owner = server.client_with_key("owner", &["--app", "blog", "--role", "admin"]);
    owner.airstrip("config:set blog A=1").ok();
    assert_eq!(owner.ssh("blog", &["echo $A"]).ok().line(), "1");
    assert!(!owner.airstrip("apps").ok().out().contains("secret"));
    for line in ["logs secret", "ps secret", "config secret", "releases secret", "restart secret", "apps:info secret"] {
        let (there, not_there) = (owner.airstrip(line), owner.airstrip(&line.replace("secret", "nowhere")));
        assert_eq!(
            there.err().replace("secret", "nowhere"),
            not_there.err(),
            "what exists must not differ from what does not"
        );
        assert_eq!((there.status, not_there.status), (1, 1));
    }
    let (there, not_there) = (owner.ssh("secret", &["true"]), owner.ssh("nowhere", &["true"]));
    assert_eq!((there.status, there.err().replace("secret", "nowhere")), (not_there.status, not_there.err()));
    let app = App::probe(&owner, "secret");
    assert_ne!(app.push_with(&["--force", "airstrip", "main"]).reply.status, 0);
    assert_ne!(App::probe(&owner, "fresh").push().reply.status, 0, "only admins of everything create apps");
    assert_ne!(owner.airstrip("keys:add another").status, 0);
    assert!(!server.client().airstrip("apps").ok().out().contains("fresh"));
}

#[test]
fn a_key_removed_while_connected_does_nothing_more() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let guest = server.client_with_key("guest", &[]);
    // One connection, held open by a first session and used by the next.
    let path = guest.key().with_file_name("m");
    let (socket, persist) = (format!("ControlPath={}", path.display()), "ControlPersist=no");
    let shared = |more: &[&'static str]| -> Vec<String> {
        ["-o", &socket, "-o", persist].iter().chain(more).map(|word| (*word).to_owned()).collect()
    };
    let master = shared(&["-o", "ControlMaster=yes", "echo connected; exec sleep 86394"]);
    let mut session = Live::start(&mut guest.ssh_command("blog", &words(&master)));
    session.wait_for("connected", PATIENCE);
    let second = shared(&["-o", "ControlMaster=no", "pwd"]);
    assert_eq!(guest.ssh("blog", &words(&second)).ok().line(), "/home/app");

    server.client().airstrip("keys:remove guest").ok();
    let refused = guest.ssh("blog", &words(&second));
    assert_ne!(refused.status, 0, "{refused}");
    assert_eq!(refused.line(), "");
    guest.ssh("airstrip", &["apps"]).fails(255, &["Permission denied (publickey)"]);
    drop(session);
    wait_until("its session is gone", PATIENCE, || {
        !server.processes().iter().any(|found| found.command.contains("86394"))
    });
}

fn words(owned: &[String]) -> Vec<&str> {
    owned.iter().map(String::as_str).collect()
}

#[test]
fn keys_are_listed_and_wrong_ones_are_refused() {
    let server = Server::start();
    let client = server.client();
    server.client_with_key("bob", &[]);
    let listed = client.airstrip("keys").ok().out();
    assert!(listed.contains("admin") && listed.contains("bob") && listed.contains("SHA256:"), "{listed}");
    let refused = [
        ("keys:add carol", b"not a key".to_vec()),
        ("keys:add bob", public_key(&client.key())),
        ("keys:add carol", Vec::new()),
    ];
    for (line, key) in refused {
        let reply = client.ssh_with("airstrip", &[line], &key);
        assert_eq!(reply.status, 1, "{reply}");
        reply.says(&[" !     "]);
    }
    client.airstrip("keys:remove nobody").fails(1, &["nobody"]);
}
