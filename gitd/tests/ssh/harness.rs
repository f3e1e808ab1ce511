//! A server in a temporary home, a key, and a handler that does what a test tells it.

use std::path::{Path, PathBuf};
use std::process::{Output as Finished, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gitd::{Access, Channel, Duplex, Ended, Handler, Incoming, Limits, Login, Output, RefUpdate, Refusal, Repository};
use gitd::{Server, Session};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::{exec, log};

/// A process that a test reads and writes line by line.
pub(crate) struct Conversation {
    pub(crate) process: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

type Lines = tokio::io::Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>;

impl Conversation {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(process.stdout.take().unwrap());
        let stderr = lines(process.stderr.take().unwrap());
        Self { process, stdout, stderr }
    }

    /// Reads standard error up to a line with this text.
    pub(crate) async fn stderr_until(&mut self, text: &str) {
        until(&mut self.stderr, text).await;
    }

    /// Reads standard output up to a line with this text.
    pub(crate) async fn stdout_until(&mut self, text: &str) -> String {
        until(&mut self.stdout, text).await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let stdin = self.process.stdin.as_mut().unwrap();
        timeout(PATIENCE, stdin.write_all(bytes)).await.unwrap().unwrap();
    }

    /// Waits for the end; whether it was a success.
    pub(crate) async fn succeeds(&mut self) -> bool {
        timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap().success()
    }

    /// It has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// As a terminal does for Ctrl-C: to the whole process group.
    pub(crate) fn interrupt(&self) {
        let group = Pid::from_raw(i32::try_from(self.process.id().unwrap()).unwrap());
        nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGINT).unwrap();
    }
}

fn lines(stream: impl AsyncRead + Send + Unpin + 'static) -> Lines {
    BufReader::new(Box::new(stream) as Box<dyn AsyncRead + Send + Unpin>).lines()
}

async fn until(lines: &mut Lines, text: &str) -> String {
    let mut seen = Vec::new();
    loop {
        let Some(line) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() else {
            panic!("no line with {text:?} in {seen:?}")
        };
        if line.contains(text) {
            return line;
        }
        seen.push(line);
    }
}

/// No step of a test takes longer, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the handler does with a ref update.
#[derive(Clone)]
pub(crate) enum Decision {
    /// Writes a line, then agrees.
    Accept,
    /// Writes a line, then refuses with this reason.
    Refuse(&'static str),
    /// Writes a line, then waits for [`World::release`] or for the pusher to go.
    Hold,
    /// Keeps the objects, then agrees.
    Keep,
    /// Panics.
    Panic,
}

/// What a test can see and steer of its handler.
pub(crate) struct World {
    pub(crate) home: TempDir,
    pub(crate) server: Option<Server>,
    pub(crate) state: Arc<State>,
}

pub(crate) struct State {
    repositories: PathBuf,
    allowed: Mutex<Vec<String>>,
    /// Somebody was told that a key does not count any more.
    pub(crate) forbidden: Notify,
    pub(crate) decision: Mutex<Decision>,
    pub(crate) release: Notify,
    pub(crate) cancelled: Notify,
    pub(crate) updates: Mutex<Vec<RefUpdate>>,
    pub(crate) visited: Mutex<Vec<String>>,
    pub(crate) hung_up: Notify,
}

impl State {
    /// Lets the owner of this public key in.
    pub(crate) fn allow(&self, public: &Path) {
        let line = std::fs::read_to_string(public).unwrap();
        let key = line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        self.allowed.lock().unwrap().push(key);
    }

    /// Lets nobody in any more.
    pub(crate) fn forbid_all(&self) {
        self.allowed.lock().unwrap().clear();
    }
}

/// A server of the repositories in `home`.
pub(crate) async fn serve(home: &Path, limits: Limits) -> (Server, Arc<State>) {
    let state = Arc::new(State {
        repositories: home.join("repos"),
        allowed: Mutex::new(Vec::new()),
        forbidden: Notify::new(),
        decision: Mutex::new(Decision::Accept),
        release: Notify::new(),
        cancelled: Notify::new(),
        updates: Mutex::new(Vec::new()),
        visited: Mutex::new(Vec::new()),
        hung_up: Notify::new(),
    });
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
        let mut command = Command::new("ssh");
        command.args(self.ssh_options(key)).args(["-p", &self.port().to_string(), "airstrip@127.0.0.1"]);
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// `git` in a directory, with nobody's configuration.
    pub(crate) fn git(&self, directory: &Path) -> Command {
        let ssh = format!("ssh {}", self.ssh_options("key").join(" "));
        // Whoever runs the tests in the background has SIGINT ignored, and all that is started inherits that.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT", "git"])
            .arg("-C")
            .arg(directory)
            .env("GIT_SSH_COMMAND", ssh)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("HOME", self.home.path())
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
        }
        command
    }

    pub(crate) fn url(&self, name: &str) -> String {
        url(self.port(), name)
    }

    /// Runs git to its successful end and returns what it printed, both streams.
    pub(crate) async fn git_ok(&self, directory: &Path, arguments: &[&str]) -> String {
        let finished = run(self.git(directory).args(arguments)).await;
        assert!(finished.status.success(), "git {arguments:?}: {}", printed(&finished));
        printed(&finished)
    }

    /// Runs git to its failure and returns what it printed, both streams.
    pub(crate) async fn git_fails(&self, directory: &Path, arguments: &[&str]) -> String {
        let finished = run(self.git(directory).args(arguments)).await;
        assert!(!finished.status.success(), "git {arguments:?}: {}", printed(&finished));
        printed(&finished)
    }

    /// A working copy with one commit on `main` and the server as `origin`.
    pub(crate) async fn work_tree(&self, app: &str) -> PathBuf {
        let work = self.path(&format!("work-{app}"));
        std::fs::create_dir(&work).unwrap();
        self.git_ok(&work, &["init", "-q", "-b", "main"]).await;
        self.git_ok(&work, &["remote", "add", "origin", &self.url(app)]).await;
        self.commit(&work, "file", "one\n").await;
        work
    }

    /// Commits one file; the commit's id.
    pub(crate) async fn commit(&self, work: &Path, file: &str, content: &str) -> String {
        let path = work.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self.git_ok(work, &["add", "--all"]).await;
        self.git_ok(work, &["commit", "-q", "-m", "a change"]).await;
        self.head(work).await
    }

    pub(crate) async fn head(&self, work: &Path) -> String {
        self.git_ok(work, &["rev-parse", "HEAD"]).await.trim().to_owned()
    }

    /// What a ref of a repository of the server points to.
    pub(crate) fn server_ref(&self, app: &str, name: &str) -> Option<String> {
        let repository = Repository::open(&self.repository(app)).unwrap();
        repository.find_ref(name).unwrap().map(|id| id.to_string())
    }

    /// The repository is sound and nothing of a push is left over.
    pub(crate) async fn assert_clean(&self, app: &str) {
        let repository = self.repository(app);
        let entries = std::fs::read_dir(repository.join("objects")).unwrap();
        let names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(names.iter().all(|name| !name.starts_with("incoming")), "{names:?}");
        let mut files = Vec::new();
        names_below(&repository, &mut files);
        let left_over = |name: &&String| [".journal", ".lock"].iter().any(|ending| name.ends_with(ending));
        let left_over: Vec<_> = files.iter().filter(left_over).filter(|name| *name != "incoming.lock").collect();
        assert!(left_over.is_empty(), "{left_over:?}");
        let beside = std::fs::read_dir(&self.state.repositories).unwrap();
        let beside = beside.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(beside.count(), 0);
        let packs = std::fs::read_dir(repository.join("objects/pack")).unwrap();
        for pack in packs {
            let path = pack.unwrap().path();
            let known = path.extension().is_some_and(|extension| extension == "pack" || extension == "idx");
            assert!(known, "{}", path.display());
        }
        self.git_ok(&repository, &["fsck", "--full", "--strict", "--no-dangling"]).await;
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

fn names_below(directory: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            names_below(&entry.path(), names);
        }
        names.push(entry.file_name().into_string().unwrap());
    }
}

pub(crate) async fn run(command: &mut Command) -> Finished {
    timeout(PATIENCE, command.output()).await.expect("it takes too long").unwrap()
}

pub(crate) fn printed(finished: &Finished) -> String {
    format!("{}{}", String::from_utf8_lossy(&finished.stdout), String::from_utf8_lossy(&finished.stderr))
}

struct TestHandler(Arc<State>);

#[async_trait]
impl Handler for TestHandler {
    async fn authenticate(&self, login: &Login) -> Option<Arc<dyn Session>> {
        assert!(login.fingerprint.starts_with("SHA256:"));
        assert_eq!(login.user, "airstrip");
        let allowed = self.0.allowed.lock().unwrap().contains(&login.key);
        allowed
            .then(|| Arc::new(TestSession { state: Arc::clone(&self.0), key: login.key.clone() }) as Arc<dyn Session>)
    }
}

struct TestSession {
    state: Arc<State>,
    key: String,
}

#[async_trait]
impl Session for TestSession {
    async fn still_allowed(&self) -> bool {
        let allowed = self.state.allowed.lock().unwrap().contains(&self.key);
        if !allowed {
            self.state.forbidden.notify_one();
        }
        allowed
    }

    fn push_options(&self) -> &'static [&'static str] {
        &["no-cache", "dry-run"]
    }

    async fn repository(&self, access: Access, path: &str) -> Result<PathBuf, Refusal> {
        let name = path.trim_start_matches('/').trim_end_matches(".git").to_owned();
        if name.is_empty() || name.contains(['/', '.']) {
            return Err(Refusal::new(format!("'{name}' is no name of an app")));
        }
        let path = self.state.repositories.join(name);
        if access == Access::Read && !path.exists() {
            return Err(Refusal::new("no such app"));
        }
        Repository::init(&path).map_err(|error| Refusal::new(error.to_string()))?;
        Ok(path)
    }

    async fn update(&self, _: &Path, update: &RefUpdate, incoming: &Incoming, output: &Output) -> Result<(), Refusal> {
        self.state.updates.lock().unwrap().push(update.clone());
        // A tag may be on anything.
        if let Some(new) = update.new.filter(|_| update.name.starts_with("refs/heads/")) {
            let mut visited = Vec::new();
            incoming
                .visit(new, &mut |entry| {
                    let path = String::from_utf8_lossy(entry.path);
                    let content = String::from_utf8_lossy(entry.content);
                    visited.push(format!("{:?} {path} {content:?}", entry.kind));
                    Ok::<(), gitd::RepositoryError>(())
                })
                .map_err(|error| Refusal::new(error.to_string()))?;
            *self.state.visited.lock().unwrap() = visited;
        }
        output.line("-----> Building").await;
        let decision = self.state.decision.lock().unwrap().clone();
        match decision {
            Decision::Accept => Ok(()),
            Decision::Refuse(reason) => Err(Refusal::new(reason)),
            Decision::Hold => self.hold(output).await,
            Decision::Keep => {
                incoming.keep().map_err(|error| Refusal::new(error.to_string()))?;
                incoming.keep().map_err(|error| Refusal::new(error.to_string()))?;
                let mut count = 0;
                let count_all = &mut |_: gitd::TreeEntry<'_>| {
                    count += 1;
                    Ok::<(), gitd::RepositoryError>(())
                };
                incoming.visit(update.new.unwrap(), count_all).map_err(|error| Refusal::new(error.to_string()))?;
                output.line(&format!("       kept {count}")).await;
                Ok(())
            }
            Decision::Panic => panic!("as the test wants"),
        }
    }

    async fn exec(&self, line: &str, channel: Channel) -> Ended {
        exec::serve(line, channel, &self.state).await
    }

    async fn shell(&self, channel: Channel) -> Ended {
        exec::serve("shell", channel, &self.state).await
    }

    async fn subsystem(&self, name: &str, channel: Channel) -> Option<Ended> {
        if name != "sftp" {
            return None;
        }
        Some(exec::serve("echo", channel, &self.state).await)
    }

    async fn forward(&self, host: &str, port: u16) -> Result<Box<dyn Duplex>, Refusal> {
        let stream = TcpStream::connect((host, port)).await.map_err(|error| Refusal::new(error.to_string()))?;
        Ok(Box::new(stream))
    }
}

impl TestSession {
    async fn hold(&self, output: &Output) -> Result<(), Refusal> {
        tokio::select! {
            () = self.state.release.notified() => Ok(()),
            () = output.cancelled().cancelled() => {
                self.state.cancelled.notify_one();
                Err(Refusal::new("cancelled"))
            }
        }
    }
}
