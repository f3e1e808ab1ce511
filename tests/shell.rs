//! `ssh APP@server`: inside the running app.

use std::collections::BTreeMap;

use crate::harness::{App, Live, PATIENCE, Server, run, wait_until};

#[test]
fn ssh_to_an_app_is_inside_it() {
    inside(&Server::start());
}

pub fn inside(server: &Server) {
    let client = server.client();
    let app = App::probe(client, "blog");
    client.airstrip("apps:create blog").ok();
    client.airstrip("config:set blog GREETING=hello").ok();
    app.push().ok();
    let says = |command: &str| client.ssh("blog", &[command]).ok().line();
    assert_eq!(says("pwd"), "/home/app");
    assert_eq!(says("whoami; id -u; echo $HOME"), "app\n1000\n/home/app");
    assert_eq!(says("command -v python"), "/home/app/env/bin/python");
    assert_eq!(says("python -c 'import sys; print(sys.prefix)'"), "/home/app/env");
    assert_eq!(says("cat code/message"), "one");
    check_environment(&variables(&says("env")), &app.head());
    let at_web = server.http.get("blog.localhost", "/environ").ok().json();
    assert_eq!(at_web["cwd"], "/home/app/code");
    assert_eq!(at_web["uid"], 1000);
    let at_web: BTreeMap<String, String> = at_web
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    check_environment(&at_web, &app.head());
}

fn variables(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn check_environment(found: &BTreeMap<String, String>, commit: &str) {
    let expected = [
        ("GREETING", "hello"),
        ("GIT_REV", commit),
        ("PYTHONUNBUFFERED", "1"),
        ("AIRSTRIP_APP", "blog"),
        ("AIRSTRIP_RELEASE", "v1"),
        ("AIRSTRIP_PROCESS", "web.1"),
        ("HOME", "/home/app"),
    ];
    for (key, value) in expected {
        assert_eq!(found.get(key).map(String::as_str), Some(value), "{key} in {found:#?}");
    }
    assert!(found["PATH"].starts_with("/home/app/env/bin:"), "{found:#?}");
    assert!(found["PORT"].parse::<u16>().unwrap() > 0);
    assert!(found["WEB_CONCURRENCY"].parse::<u32>().unwrap() > 0);
}

#[test]
fn the_exit_status_and_both_outputs_are_the_commands_own() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    let reply = client.ssh("blog", &["echo out; echo err >&2; exit 7"]);
    assert_eq!((reply.status, reply.line(), reply.err().trim_end()), (7, "out".to_owned(), "err"));
    assert_eq!(client.ssh("blog", &["no-such-command"]).status, 127);
    // OpenSSH reports a command that a signal ended as 255.
    assert_eq!(client.ssh("blog", &["kill -KILL $$"]).status, 255);
}

#[test]
fn every_byte_passes_in_both_directions() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let reply = server.client().ssh_with("blog", &["cat; cat /dev/null >&2"], &bytes).ok();
    assert!(reply.stdout == bytes, "{} of {} bytes came back", reply.stdout.len(), bytes.len());
}

#[test]
fn a_terminal_has_a_size_and_ctrl_c() {
    terminal(&Server::start());
}

pub fn terminal(server: &Server) {
    App::probe(server.client(), "blog").push().ok();
    let mut shell = server.client().terminal("blog", &[]);
    // Commands are typed so that what is waited for is not the echo of what is typed.
    shell.enter("echo ready-$((40+2))");
    shell.expect("ready-42");
    shell.enter("stty size; pwd; command -v python");
    shell.expect("24 80");
    shell.expect("/home/app");
    shell.expect("/home/app/env/bin/python");
    shell.resize(50, 132);
    shell.enter("until stty size | grep '50 132'; do sleep 0.1; done; echo resized-$((1+1))");
    shell.expect("50 132");
    shell.expect("resized-2");
    // What says so has the terminal already.
    shell.enter("sh -c 'echo sleeping-$((2+1)); exec sleep 86398'");
    shell.expect("sleeping-3");
    shell.press("\x03");
    shell.enter("echo status-$?");
    shell.expect("status-130");
    shell.enter("tty; exit 5");
    shell.expect("/dev/pts/");
    assert_eq!(shell.status(PATIENCE), 5);
}

#[test]
fn a_command_at_a_terminal_keeps_its_status() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let mut command = server.client().terminal("blog", &["stty size; read answer; exit $answer"]);
    command.expect("24 80");
    command.enter("9");
    assert_eq!(command.status(PATIENCE), 9);
}

#[test]
fn another_instance_is_named_by_a_plus() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    client.airstrip("ps:scale blog web=2").ok();
    assert_eq!(client.ssh("blog", &["echo $AIRSTRIP_PROCESS"]).ok().line(), "web.1");
    assert_eq!(client.ssh("blog+web.2", &["echo $AIRSTRIP_PROCESS"]).ok().line(), "web.2");
    assert_ne!(client.ssh("blog+web.3", &["true"]).says(&["web.3"]).status, 0);
    assert_ne!(client.ssh("blog+nonsense", &["true"]).status, 0);
}

#[test]
fn an_app_that_does_not_run_gets_a_one_off_instance() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    client.airstrip("ps:stop blog").ok();
    assert!(server.processes().is_empty(), "{:?}", server.processes());
    let reply = client.ssh("blog", &["pwd; cat code/message"]).ok();
    assert_eq!(reply.line(), "/home/app\none");
    reply.says(&["no running instance", "starting one"]);
    wait_until("the one-off instance is gone", PATIENCE, || server.processes().is_empty());
}

#[test]
fn a_command_ends_when_its_client_goes() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let sleeps = || server.processes().iter().any(|found| found.command == "sleep 86397");
    let session = Live::start(&mut server.client().ssh_command("blog", &["exec sleep 86397"]));
    wait_until("the command runs", PATIENCE, sleeps);
    drop(session);
    wait_until("the command ends", PATIENCE, || !sleeps());
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
}

#[test]
fn changes_of_the_code_last_until_a_restart_and_those_of_data_for_ever() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    client.ssh("blog", &["echo changed > code/message; echo kept > data/file"]).ok();
    assert_eq!(client.ssh("blog", &["cat code/message"]).ok().line(), "changed");
    client.airstrip("restart blog").ok();
    assert_eq!(client.ssh("blog", &["cat code/message data/file"]).ok().line(), "one\nkept");
}

#[test]
fn the_host_is_not_seen_from_inside() {
    the_host_is_hidden(&Server::start());
}

pub fn the_host_is_hidden(server: &Server) {
    let client = server.client();
    App::probe(client, "blog").push().ok();
    let home = server.home();
    let hidden = ["/etc/shadow", "/root/.ssh", "/home/app/env/x", home.to_str().unwrap()];
    for path in hidden {
        let reply = client.ssh("blog", &[&format!("ls {path}/ 2>&1 || cat {path}")]);
        assert_ne!(reply.status, 0, "{reply}");
    }
    assert_ne!(client.ssh("blog", &["echo x > env/x"]).status, 0, "the environment is read-only");
    assert_ne!(client.ssh("blog", &["echo x > /etc/x"]).status, 0, "the system is read-only");
    let others = client.ssh("blog", &["ls /proc | grep -c '^[0-9]'"]).ok().line();
    assert!(others.parse::<u32>().unwrap() < 12, "only the instance's own processes are seen, not {others}");
}

#[test]
fn an_app_without_release_or_that_does_not_exist_cannot_be_entered() {
    let server = Server::start();
    let client = server.client();
    client.airstrip("apps:create blog").ok();
    assert_ne!(client.ssh("blog", &["true"]).says(&["blog", "release"]).status, 0);
    assert_ne!(client.ssh("nothing", &["true"]).status, 0);
}

#[test]
fn a_forwarded_port_leads_to_the_apps_own_loopback() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    let port = client.ssh("blog", &["echo $PORT"]).ok().line();
    let socket = client.key().with_file_name("forwarded");
    let forward = format!("{}:127.0.0.1:{port}", socket.display());
    let mut ssh = client
        .ssh_command("blog", &["-o", "ExitOnForwardFailure=yes", "-L", &forward, "echo forwarding; exec sleep 86388"]);
    let mut session = Live::start(&mut ssh);
    session.wait_for("forwarding", PATIENCE);
    let mut curl = client.command("curl");
    curl.args(["-sS", "--max-time", "20", "--unix-socket"]).arg(&socket).arg("http://blog/");
    assert_eq!(run(&mut curl, b"", PATIENCE).ok().line(), "one");
    let mut elsewhere = client.command("curl");
    let closed = format!("{}:127.0.0.1:{}", socket.with_file_name("closed").display(), server.ssh.port());
    let mut ssh = client.ssh_command("blog", &["-L", &closed, "echo forwarding; exec sleep 86388"]);
    let mut other = Live::start(&mut ssh);
    other.wait_for("forwarding", PATIENCE);
    elsewhere
        .args(["-sS", "--max-time", "20", "--unix-socket"])
        .arg(socket.with_file_name("closed"))
        .arg("http://blog/");
    assert_ne!(run(&mut elsewhere, b"", PATIENCE).status, 0, "the host's own services are not reached");
}

#[test]
fn many_sessions_at_once() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let numbers = std::thread::scope(|scope| {
        let ask = |number: u32| server.client().ssh("blog", &[&format!("sleep 0.2; echo {number}")]).ok().line();
        let sessions: Vec<_> = (0..8).map(|number| scope.spawn(move || ask(number))).collect();
        sessions.into_iter().map(|session| session.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(numbers, (0..8).map(|number| number.to_string()).collect::<Vec<_>>());
}
