//! A server in a temporary home, a key, and a handler that does what a test tells it.

mod conversation;
mod git;
mod handler;

use std::path::{Path, PathBuf};
use std::process::{Output as Finished, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gitd::{Limits, Repository, Server};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::log;
pub(crate) use conversation::Conversation;
use handler::TestHandler;
pub(crate) use handler::{Decision, State};

/// No step of a test takes longer, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a test can see and steer of its handler.
pub(crate) struct World {
    pub(crate) home: TempDir,
    pub(crate) server: Option<Server>,
    pub(crate) state: Arc<State>,
}

/// A server of the repositories in `home`.
pub(crate) async fn serve(home: &Path, limits: Limits) -> (Server, Arc<State>) {
    let state = Arc::new(State::of(home.join("repos")));
    let handler = Arc::new(TestHandler(Arc::clone(&state)));
    let address = "127.0.0.1:0".parse().unwrap();
    (Server::bind(address, home.join("host_key"), limits, handler).await.unwrap(), state)
}

pub(crate) fn url(port: u16, name: &str) -> String {
    format!("ssh://airstrip@127.0.0.1:{port}/{name}")
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        log::capture();
        let home = tempfile::tempdir().unwrap();
        let (server, state) = serve(home.path(), limits).await;
        let world = Self { home, server: Some(server), state };
        world.make_key("key", "ed25519").await;
        world.allow("key");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.as_ref().unwrap().address().port()
    }

    pub(crate) fn repository(&self, name: &str) -> PathBuf {
        self.state.repositories.join(name)
    }

    pub(crate) fn decide(&self, decision: Decision) {
        *self.state.decision.lock().unwrap() = decision;
    }

    /// Lets one held update go on.
    pub(crate) fn release(&self) {
        self.state.release.notify_one();
    }

    pub(crate) async fn make_key(&self, name: &str, kind: &str) {
        let path = self.path(name);
        let arguments = ["-q", "-N", "", "-C", "a comment", "-t", kind, "-f"];
        let made = Command::new("ssh-keygen").args(arguments).arg(path).status().await.unwrap();
        assert!(made.success());
    }

    pub(crate) fn allow(&self, name: &str) {
        self.state.allow(&self.path(&format!("{name}.pub")));
    }

    pub(crate) fn forbid_all(&self) {
        self.state.forbid_all();
    }

    /// The options of every `ssh` here.
    pub(crate) fn ssh_options(&self, key: &str) -> Vec<String> {
        let key = self.path(key).display().to_string();
        let options = ["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"];
        let more = ["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-i", &key];
        options.iter().chain(&more).map(ToString::to_string).collect()
    }

    /// `ssh` to the server, arguments to be added.
    pub(crate) fn ssh(&self) -> Command {
        self.ssh_with("key")
    }

    pub(crate) fn ssh_with(&self, key: &str) -> Command {
        self.ssh_to(self.port(), key)
    }

    pub(crate) fn ssh_to(&self, port: u16, key: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(self.ssh_options(key)).args(["-p", &port.to_string(), "airstrip@127.0.0.1"]);
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    pub(crate) fn url(&self, name: &str) -> String {
        url(self.port(), name)
    }

    /// What a ref of a repository of the server points to.
    pub(crate) fn server_ref(&self, app: &str, name: &str) -> Option<String> {
        let repository = Repository::open(&self.repository(app)).unwrap();
        repository.find_ref(name).unwrap().map(|id| id.to_string())
    }

    /// Stops the server, when all that it does in the background has ended.
    pub(crate) async fn stop_keeping(mut self, grace: Duration) -> Self {
        self.server.take().unwrap().shutdown(grace).await;
        self
    }

    /// Stops the server in order.
    pub(crate) async fn stop(mut self) {
        let server = self.server.take().unwrap();
        timeout(PATIENCE, server.shutdown(Duration::from_secs(5))).await.unwrap();
    }
}

pub(crate) async fn run(command: &mut Command) -> Finished {
    timeout(PATIENCE, command.output()).await.expect("it takes too long").unwrap()
}

pub(crate) fn printed(finished: &Finished) -> String {
    format!("{}{}", String::from_utf8_lossy(&finished.stdout), String::from_utf8_lossy(&finished.stderr))
}
