//! Every command, over ssh and on the server itself.

use serde_json::Value;

use crate::harness::{App, Live, PATIENCE, Reply, Server, wait_until};

/// A server on which `blog` serves "one".
fn with_blog() -> Server {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server
}

#[test]
fn help_names_every_command() {
    let server = Server::start();
    let help = server.client().airstrip("help").ok().out();
    for command in COMMANDS {
        assert!(help.contains(command), "{command} in {help}");
        let one = server.client().airstrip(&format!("help {command}")).ok().out();
        assert!(one.contains(command), "{one}");
    }
    assert!(server.client().airstrip("version").ok().line().starts_with("airstrip 0."));
    assert_ne!(server.client().airstrip("help nonsense").status, 0);
    assert_eq!(server.client().ssh("airstrip", &[]).out(), help, "no command at all gets the help");
}

const COMMANDS: &[&str] = &[
    "help",
    "version",
    "apps",
    "apps:create",
    "apps:destroy",
    "apps:info",
    "apps:rename",
    "ps",
    "ps:scale",
    "ps:restart",
    "restart",
    "ps:stop",
    "ps:start",
    "ps:rebuild",
    "logs",
    "run",
    "enter",
    "config",
    "config:get",
    "config:set",
    "config:unset",
    "releases",
    "rollback",
    "keys",
    "keys:add",
    "keys:remove",
    "domains",
    "domains:add",
    "domains:remove",
    "url",
    "checks:set",
    "engine:set",
    "network",
    "network:set",
    "http",
    "http:set",
    "resource",
    "resource:limit",
    "resource:limit-clear",
    "ssh-config",
];

#[test]
fn listings_for_programs_have_the_columns_for_people() {
    let server = with_blog();
    let client = server.client();
    client.airstrip("domains:add blog example.com").ok();
    client.airstrip("config:set blog GREETING=hello").ok();
    for line in ["apps", "ps blog", "releases blog", "keys", "domains blog"] {
        let (people, programs) = (client.airstrip(line).ok(), client.airstrip(&format!("{line} --json")).ok().json());
        let rows = programs.as_array().unwrap_or_else(|| panic!("{line}: {programs}"));
        assert!(!rows.is_empty(), "{line}");
        for row in rows {
            assert_eq!(keys(row), columns(&people), "{line}: {row}");
        }
    }
    let limits = client.airstrip("resource blog --json").ok().json();
    let people = client.airstrip("resource blog").ok().out();
    for key in keys(&limits[0]).iter().filter(|key| *key != "process") {
        assert!(people.lines().any(|line| line.starts_with(&key.replace('_', " "))), "{key}: {people}");
    }
    let info = client.airstrip("apps:info blog --json").ok().json();
    assert!(info.is_object(), "{info}");
    assert!(info["disk_releases"].as_u64().unwrap() > 0 && info["disk_data"].is_u64(), "{info}");
    let people = client.airstrip("apps:info blog").ok().out();
    assert!(people.contains("disk releases:") && people.contains("disk cache:"), "{people}");
    let config = client.airstrip("config blog --json").ok().json();
    assert!(config.to_string().contains("GREETING"), "{config}");
    let created = client.airstrip("releases blog --json").ok().json()[0]["created_at"].as_str().unwrap().to_owned();
    assert!(is_time(&created), "{created}");
}

fn keys(row: &Value) -> Vec<String> {
    let mut keys: Vec<String> = row.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

/// The titles over a table: words in capitals, two blanks apart.
fn columns(table: &Reply) -> Vec<String> {
    let text = table.out();
    let line = text.lines().find(|line| !line.starts_with("=====> ")).unwrap_or_else(|| panic!("{table}"));
    assert_eq!(line.to_uppercase(), line, "{table}");
    let titles = line.split("  ").map(str::trim).filter(|title| !title.is_empty());
    let mut names: Vec<String> = titles.map(|title| title.to_lowercase().replace(' ', "_")).collect();
    names.sort();
    names
}

/// `2026-11-20T21:00:00.000Z`
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

#[test]
fn apps_are_made_listed_renamed_and_destroyed() {
    let server = with_blog();
    let client = server.client();
    client.airstrip("apps:create shop").ok();
    client.airstrip("apps:create shop").fails(1, &[" !     ", "shop"]);
    let listed = client.airstrip("apps:list").ok().out();
    assert!(listed.contains("blog") && listed.contains("shop"), "{listed}");
    server.http.get("blog.localhost", "/write?name=kept&text=treasure").ok();

    client.airstrip("apps:rename blog journal").ok();
    assert_eq!(server.http.get("journal.localhost", "/read?name=kept").ok().body, "treasure");
    assert_eq!(server.http.get("journal.localhost", "/environ").ok().json()["AIRSTRIP_APP"], "journal");
    assert_eq!(server.http.get("blog.localhost", "/").status, 404);
    client.airstrip("apps:rename journal shop").fails(1, &["shop"]);

    client.airstrip("apps:destroy journal").fails(1, &["journal"]);
    client.airstrip("apps:destroy journal --confirm shop").fails(1, &["journal"]);
    server.http.get("journal.localhost", "/").ok();
    client.airstrip("apps:destroy journal --confirm journal").ok();
    assert_eq!(server.http.get("journal.localhost", "/").status, 404);
    client.airstrip("apps:destroy shop --force").ok();
    assert_eq!(client.airstrip("apps --json").ok().json(), Value::Array(Vec::new()));
    assert!(server.processes().is_empty(), "{:?}", server.processes());
    // A new app of the name begins with nothing.
    App::opened(client, "blog").push().ok();
    assert_eq!(server.http.get("blog.localhost", "/read?name=kept").ok().body, "nothing");
}

#[test]
fn instances_are_listed_scaled_restarted_stopped_and_started() {
    let server = with_blog();
    let client = server.client();
    let instance = || server.http.get("blog.localhost", "/instance").ok().body;
    let first = instance();
    let ps = client.airstrip("ps blog --json").ok().json();
    assert_eq!((&ps[0]["process"], &ps[0]["state"], &ps[0]["release"]), (&"web.1".into(), &"up".into(), &"v1".into()));
    client.airstrip("restart blog").ok();
    let second = instance();
    assert_ne!(first, second);
    client.airstrip("ps:restart blog web.1").ok();
    assert_ne!(instance(), second);
    client.airstrip("ps:scale blog web=3").ok();
    assert_eq!(client.airstrip("ps blog --json").ok().json().as_array().unwrap().len(), 3);
    client.airstrip("ps:scale blog worker=1").fails(1, &[" !     ", "worker"]);
    for wrong in ["ps:scale blog web=many", "ps:scale blog web", "ps:scale blog web=-1"] {
        assert_ne!(client.airstrip(wrong).status, 0, "{wrong}");
    }
    client.airstrip("ps:restart blog web.9").fails(1, &["web.9"]);
    client.airstrip("ps:stop blog").ok();
    assert!(server.processes().is_empty(), "{:?}", server.processes());
    client.airstrip("ps:start blog").ok();
    assert_eq!(client.airstrip("ps blog --json").ok().json().as_array().unwrap().len(), 3);
    server.http.get("blog.localhost", "/").ok();
}

#[test]
fn a_restart_that_fails_leaves_what_runs() {
    let server = Server::start();
    let client = server.client();
    let app = App::probe(client, "blog");
    app.push_file("Procfile", "web: test ! -e ~/data/broken && exec python -u server.py\n").ok();
    let before = server.http.get("blog.localhost", "/instance").ok().body;
    server.http.get("blog.localhost", "/write?name=broken&text=yes").ok();
    for line in ["restart blog", "config:set blog A=1", "ps:scale blog web=2", "rollback blog v1"] {
        let reply = client.airstrip(line);
        assert_eq!(reply.status, 1, "{reply}");
        reply.says(&["exited with status 1"]);
    }
    assert_eq!(server.http.get("blog.localhost", "/instance").ok().body, before);
    assert_eq!(client.airstrip("releases blog --json").ok().json().as_array().unwrap().len(), 1);
    assert_eq!(client.airstrip("config:get blog A").status, 1);
}

#[test]
fn logs_show_what_was_printed() {
    let server = with_blog();
    let client = server.client();
    client.airstrip("ps:scale blog web=2").ok();
    for number in 1..=30 {
        server.http.get("blog.localhost", &format!("/say?text=line-{number}-end")).ok();
    }
    wait_until("all is logged", PATIENCE, || client.airstrip("logs blog -n 100").ok().out().contains("line-30-end"));
    let all = client.airstrip("logs blog -n 1000").ok().out();
    for line in all.lines() {
        let (time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(is_time(time), "{line}");
        assert!(rest.starts_with("app[web.") || rest.starts_with("airstrip["), "{line}");
        assert!(rest.contains("]: "), "{line}");
    }
    assert!(all.contains("]: line-1-end"), "{all}");
    assert_eq!(client.airstrip("logs blog -n 5").ok().out().lines().count(), 5);
    let second = client.airstrip("logs blog -n 1000 -p web.2").ok().out();
    assert!(second.lines().count() > 0 && second.lines().all(|line| line.contains("[web.2]: ")), "{second}");
    assert_eq!(client.airstrip("logs blog -p worker").ok().out(), "");

    App::opened(client, "blog").push_file("message", "two").ok();
    let old = client.airstrip("logs blog -n 1000 --release v1").ok().out();
    assert!(old.contains("line-30-end"), "logs survive a deploy: {old}");
}

#[test]
fn logs_can_be_followed_also_over_a_deploy() {
    let server = with_blog();
    let mut logs = Live::start(&mut server.client().ssh_command("airstrip", &["logs blog -f -n 0"]));
    // The follower is there when it shows the first of these.
    let mut said = 0;
    let seen = || {
        said += 1;
        server.http.get("blog.localhost", &format!("/say?text=hello-{said}")).ok();
    };
    follow(&mut logs, seen);
    App::opened(server.client(), "blog").push_file("message", "two").ok();
    server.http.get("blog.localhost", "/say?text=from-v2").ok();
    logs.wait_for("app[web.1]: from-v2", PATIENCE);
    logs.interrupt();
    logs.finish(PATIENCE);
}

fn follow(logs: &mut Live, mut say: impl FnMut()) {
    wait_until("a line is shown", PATIENCE, || {
        say();
        logs.has_shown("app[web.1]: hello-")
    });
}

#[test]
fn run_runs_the_words_as_they_are() {
    let server = with_blog();
    let client = server.client();
    let line = |command: &str| client.airstrip(command).ok().line();
    assert_eq!(line("run blog pwd"), "/home/app/code");
    assert_eq!(line("run blog python -c 'print(\"a  b\", 1+1)'"), "a  b 2");
    assert_eq!(line("run blog echo '$HOME' '*' ';' 'x y'"), "$HOME * ; x y");
    assert_eq!(line("run blog -- echo -n --json"), "--json");
    assert_eq!(client.airstrip("run blog sh -c 'exit 6'").status, 6);
    let environment = line("run blog env");
    for expected in ["AIRSTRIP_APP=blog", "AIRSTRIP_RELEASE=v1", "AIRSTRIP_PROCESS=run.", "HOME=/home/app"] {
        assert!(environment.contains(expected), "{expected} in {environment}");
    }
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    assert!(client.ssh_with("airstrip", &["run blog cat"], &bytes).ok().stdout == bytes);
    let before = server.processes().len();
    let mut terminal = client.terminal("airstrip", &["run blog sh -c 'stty size; read x; exit $x'"]);
    terminal.expect("24 80");
    terminal.enter("3");
    assert_eq!(terminal.status(PATIENCE), 3);
    wait_until("no one-off is left", PATIENCE, || server.processes().len() == before);
    assert_ne!(client.airstrip("run blog no-such-program").status, 0);
    assert_eq!(client.airstrip("run blog").status, 2);
}

#[test]
fn enter_is_a_shell_in_a_running_instance() {
    let server = with_blog();
    let client = server.client();
    client.airstrip("ps:scale blog web=2").ok();
    let mut shell = client.terminal("airstrip", &["enter blog web.2"]);
    shell.enter("echo in-$AIRSTRIP_PROCESS; pwd");
    shell.expect("in-web.2");
    shell.expect("/home/app");
    shell.enter("exit 4");
    assert_eq!(shell.status(PATIENCE), 4);
}

#[test]
fn the_app_may_be_named_by_an_option() {
    let server = with_blog();
    let client = server.client();
    let expected = client.airstrip("url blog").ok().line();
    assert_eq!(expected, format!("http://blog.localhost:{}", server.http.0.port()));
    for line in ["url -a blog", "url --app blog", "url --app=blog"] {
        assert_eq!(client.airstrip(line).ok().line(), expected, "{line}");
    }
    client.airstrip("config:set -a blog A=1").ok();
    assert_eq!(client.airstrip("config:get --app blog A").ok().line(), "1");
}

#[test]
fn on_the_server_itself_the_same_commands_work() {
    let server = with_blog();
    for words in [&["apps", "--json"][..], &["url", "blog"], &["keys"], &["releases", "blog", "--json"], &["help"]] {
        assert_eq!(server.local(words).ok().out(), server.client().airstrip(&words.join(" ")).ok().out(), "{words:?}");
    }
    assert_eq!(
        server.local(&["run", "blog", "sh", "-c", "echo \"$0  x\"; exit 5", "a  b"]).fails(5, &[]).out(),
        "a  b  x\n"
    );
    assert_eq!(server.local_with(&["run", "blog", "cat"], b"through the socket").ok().line(), "through the socket");
    server.local(&["config:set", "blog", "A=a b"]).ok();
    assert_eq!(server.local(&["config:get", "blog", "A"]).ok().line(), "a b");
    server.local(&["logs", "nothing"]).fails(1, &[" !     "]);
    assert_eq!(server.local(&["apps:create"]).status, 2);
    assert_ne!(server.local(&["ps:retsart"]).says(&["ps:restart"]).status, 0);
}

#[test]
fn ssh_config_makes_the_short_form_work() {
    let server = with_blog();
    let client = server.client();
    let printed = client.airstrip("ssh-config").ok().out();
    assert!(printed.contains("Host blog") && printed.contains(&server.ssh.port().to_string()), "{printed}");
    let file = client.key().with_file_name("printed");
    let known = client.key().with_file_name("known_hosts_of_printed");
    let mine = format!(
        "Host *\n  StrictHostKeyChecking accept-new\n  UserKnownHostsFile {}\n  IdentityAgent none\n  IdentityFile {}\n  HostName 127.0.0.1\n",
        known.display(),
        client.key().display()
    );
    std::fs::write(&file, mine + &printed).unwrap();
    let mut ssh = client.command("ssh");
    ssh.arg("-F").arg(&file).args(["blog", "pwd"]);
    assert_eq!(crate::harness::run(&mut ssh, b"", PATIENCE).ok().line(), "/home/app");
}

#[test]
fn a_second_daemon_in_the_same_home_is_refused() {
    let server = with_blog();
    let reply = server.local(&["serve", "--ssh", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    assert_eq!(reply.status, 1, "{reply}");
    server.http.get("blog.localhost", "/").ok();
}

#[test]
fn keys_of_the_operator_are_taken_at_the_first_start() {
    let mut server = Server::start();
    let ready = server.ready_line.clone();
    assert!(
        ready.starts_with("airstrip ready ssh=127.0.0.1:")
            && ready.contains(&format!(" home={}", server.home().display())),
        "{ready}"
    );
    // The home was made for the tests' own key; without any key the next start looks at the operator's.
    server.client().airstrip("keys:remove admin").ok();
    assert_eq!(server.terminate(), Some(0));
    let operator = server.stranger("operator");
    let directory = server.operator_home().join(".ssh");
    std::fs::create_dir(&directory).unwrap();
    std::fs::copy(operator.key().with_extension("pub"), directory.join("id_ed25519.pub")).unwrap();
    server.start_again();
    operator.airstrip("apps").ok();
}
