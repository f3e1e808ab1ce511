//! Somebody with a key, at a machine of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::reply::{Reply, run};
use super::terminal::Terminal;

/// How long a command over ssh may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A home directory with a key and a configuration for ssh and git that reads nobody else's.
pub struct Client {
    home: PathBuf,
    server: SocketAddr,
}

impl Client {
    /// Makes the home `directory` with a fresh key.
    pub fn new(directory: &Path, server: SocketAddr) -> Self {
        fs::create_dir(directory).unwrap();
        let client = Self { home: directory.to_owned(), server };
        let mut keygen = Command::new("ssh-keygen");
        run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "story", "-f"]).arg(client.key()), b"", LIMIT).ok();
        client.configure_ssh();
        fs::write(client.home.join("gitconfig"), GIT_CONFIG).unwrap();
        client
    }

    /// The private key's file.
    pub fn key(&self) -> PathBuf {
        self.home.join("id_ed25519")
    }

    /// `ssh USER@server ARGUMENTS…`.
    pub fn ssh(&self, user: &str, arguments: &[&str]) -> Reply {
        self.ssh_with(user, arguments, b"")
    }

    /// The same with something on standard input.
    pub fn ssh_with(&self, user: &str, arguments: &[&str], stdin: &[u8]) -> Reply {
        run(&mut self.ssh_command(user, arguments), stdin, LIMIT)
    }

    /// `ssh airstrip@server LINE`.
    pub fn airstrip(&self, line: &str) -> Reply {
        self.ssh("airstrip", &[line])
    }

    /// `ssh -t USER@server ARGUMENTS…` at a terminal.
    pub fn terminal(&self, user: &str, arguments: &[&str]) -> Terminal {
        let mut command = self.command("ssh");
        Terminal::start(
            command.arg("-F").arg(self.ssh_config()).arg("-t").arg(format!("{user}@server")).args(arguments),
        )
    }

    /// The same, not started.
    pub fn ssh_command(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = self.command("ssh");
        command.arg("-F").arg(self.ssh_config()).arg(format!("{user}@server")).args(arguments);
        command
    }

    /// `git ARGUMENTS…` in `directory`, to its end.
    pub fn git(&self, directory: &Path, arguments: &[&str]) -> Reply {
        run(&mut self.git_command(directory, arguments), b"", LIMIT)
    }

    /// The same, not started.
    pub fn git_command(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = self.command("git");
        command.arg("-C").arg(directory).args(arguments);
        command
    }

    /// The git remote of an app.
    pub fn remote(app: &str) -> String {
        format!("ssh://airstrip@server/{app}")
    }

    /// A program with nothing of the caller's environment but `PATH`.
    pub fn command(&self, program: &str) -> Command {
        // Whoever runs the tests in the background has SIGINT ignored, and all that is started inherits that.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.home).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        command.env("GIT_CONFIG_GLOBAL", self.home.join("gitconfig"));
        command.env("GIT_SSH_COMMAND", format!("ssh -F {}", self.ssh_config().display()));
        command
    }

    /// Uses a key of another file from now on, or none.
    pub fn use_key(&self, key: Option<&Path>) {
        let key = key.map_or_else(|| "none".into(), |key| key.display().to_string());
        self.write_ssh_config(&key);
    }

    fn configure_ssh(&self) {
        self.write_ssh_config(&self.key().display().to_string());
    }

    fn write_ssh_config(&self, key: &str) {
        let (host, port, home) = (self.server.ip(), self.server.port(), self.home.display());
        let config = format!(
            "Host server\n  HostName {host}\n  Port {port}\n  IdentityFile {key}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
             UserKnownHostsFile {home}/known_hosts\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking accept-new\n  \
             BatchMode yes\n  ConnectTimeout 20\n  LogLevel ERROR\n",
        );
        fs::write(self.ssh_config(), config).unwrap();
    }

    fn ssh_config(&self) -> PathBuf {
        self.home.join("ssh_config")
    }
}

/// The public half of a key's file.
pub fn public_key(key: &Path) -> Vec<u8> {
    fs::read(key.with_extension("pub")).unwrap()
}

const GIT_CONFIG: &str = "\
[user]
    name = Story
    email = story@example.com
[init]
    defaultBranch = main
[advice]
    detachedHead = false
[core]
    hooksPath = /dev/null
[gc]
    auto = 0
[maintenance]
    auto = false
";
