//! How `serve` is told what to do: flag over environment over file over default.

use std::process::{Command, Stdio};

use crate::harness::{PATIENCE, Reply, Server, run};

/// `airstrip serve` that is to fail at once, with these variables and arguments.
fn refused(server: &Server, variables: &[(&str, &str)], arguments: &[&str]) -> Reply {
    let mut command = server.command();
    command.arg("serve").args(arguments).envs(variables.iter().copied());
    let reply = run(&mut command, b"", PATIENCE);
    assert_ne!(reply.status, 0, "{reply}");
    reply
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let server = Server::start();
    let home = server.operator_home().join("other");
    let home = home.to_str().unwrap();
    let file = server.operator_home().join("airstrip.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "ssh = \"127.0.0.1:0\"\nsshd = \"127.0.0.1:0\"\n").unwrap();
    refused(&server, &[], &["--home", home, "--config", path]).says(&["sshd"]);
    refused(&server, &[("AIRSTRIP_CONFIG", path)], &["--home", home]).says(&["sshd"]);
    std::fs::write(&file, "this is no toml").unwrap();
    refused(&server, &[], &["--home", home, "--config", path]).says(&["airstrip.toml"]);
    refused(&server, &[], &["--home", home, "--config", "/nonexistent.toml"]).says(&["/nonexistent.toml"]);
    refused(&server, &[], &["--home", home, "--ssh", "nowhere"]).says(&["nowhere"]);
    refused(&server, &[("AIRSTRIP_HTTP", "nowhere")], &["--home", home]).says(&["nowhere"]);
    refused(&server, &[], &["--home", home, "--trusted-proxies", "10.0.0.1/8"]).says(&["10.0.0.1/8"]);
    refused(&server, &[], &["--home", home, "--proxy-protocol", "on"]).says(&["trusted-proxies"]);
    refused(&server, &[], &["--home", home, "--connections-per-address", "0"]).says(&["connections-per-address"]);
    refused(&server, &[], &["--home", home, "--git", "pack=much"]).says(&["pack=much", "512M"]);
    std::fs::write(&file, "[git]\npakc = \"1G\"\n").unwrap();
    refused(&server, &[], &["--home", home, "--config", path]).says(&["pakc", "refs-per-push"]);
    let taken = server.http.0.to_string();
    refused(&server, &[], &["--home", home, "--ssh", "127.0.0.1:0", "--http", &taken]).says(&[&taken]);
    assert_eq!(refused(&server, &[], &["--sideways"]).status, 2);
}

#[test]
fn a_flag_is_stronger_than_a_variable_and_that_than_the_file() {
    let server = Server::start();
    let directory = server.operator_home();
    let homes = ["by-flag", "by-variable", "by-file"].map(|name| directory.join(name));
    let file = directory.join("airstrip.toml");
    let settings = format!(
        "home = \"{}\"\nssh = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\ndomain = \"file.example\"\n",
        homes[2].display()
    );
    std::fs::write(&file, settings).unwrap();
    let serve = |home: Option<&str>, variable: Option<&str>| {
        let mut command = server.command();
        command.arg("serve").arg("--config").arg(&file);
        home.map(|home| command.args(["--home", home]));
        variable.map(|home| command.env("AIRSTRIP_HOME", home));
        ready_line(&mut command)
    };
    let [flag, variable, from_file] = homes.each_ref().map(|home| home.to_str().unwrap());
    assert!(serve(Some(flag), Some(variable)).ends_with(&format!("home={flag}")));
    assert!(serve(None, Some(variable)).ends_with(&format!("home={variable}")));
    assert!(serve(None, None).ends_with(&format!("home={from_file}")));
}

#[test]
fn a_relative_home_is_below_the_working_directory() {
    let server = Server::start();
    let directory = server.operator_home();
    let serve = |home: &str| {
        let mut command = server.command();
        command.current_dir(&directory).args([
            "serve",
            "--ssh",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--home",
            home,
        ]);
        ready_line(&mut command)
    };
    for home in ["relative", "./deep/er"] {
        let expected = directory.join(home.trim_start_matches("./"));
        assert!(serve(home).ends_with(&format!(" home={}", expected.display())), "{home}");
    }
}

/// Starts a daemon, takes its first line, and ends it.
fn ready_line(command: &mut Command) -> String {
    use std::io::BufRead;
    let mut daemon = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    line.trim_end().to_owned()
}
