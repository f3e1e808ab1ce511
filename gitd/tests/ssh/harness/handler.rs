//! A handler that does what a test tells it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gitd::{Access, Channel, Duplex, Ended, Handler, Incoming, Login, Output, RefUpdate, Refusal, Repository};
use gitd::{ObjectId, RepositoryError, Session, TreeEntry};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::exec;

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

/// What a test can see and steer of it.
pub(crate) struct State {
    pub(crate) repositories: PathBuf,
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
    /// Of the repositories in a directory.
    pub(super) fn of(repositories: PathBuf) -> Self {
        Self {
            repositories,
            allowed: Mutex::new(Vec::new()),
            forbidden: Notify::new(),
            decision: Mutex::new(Decision::Accept),
            release: Notify::new(),
            cancelled: Notify::new(),
            updates: Mutex::new(Vec::new()),
            visited: Mutex::new(Vec::new()),
            hung_up: Notify::new(),
        }
    }

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

pub(super) struct TestHandler(pub(super) Arc<State>);

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
        Repository::init(&path).map_err(refusal)?;
        Ok(path)
    }

    async fn update(&self, _: &Path, update: &RefUpdate, incoming: &Incoming, output: &Output) -> Result<(), Refusal> {
        self.state.updates.lock().unwrap().push(update.clone());
        // A tag may be on anything.
        if let Some(new) = update.new.filter(|_| update.name.starts_with("refs/heads/")) {
            *self.state.visited.lock().unwrap() = visited(new, incoming)?;
        }
        output.line("-----> Building").await;
        let decision = self.state.decision.lock().unwrap().clone();
        match decision {
            Decision::Accept => Ok(()),
            Decision::Refuse(reason) => Err(Refusal::new(reason)),
            Decision::Hold => self.hold(output).await,
            Decision::Keep => keep(update.new.unwrap(), incoming, output).await,
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
        let stream = TcpStream::connect((host, port)).await.map_err(refusal)?;
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

/// The files of a commit, each in a line.
fn visited(commit: ObjectId, incoming: &Incoming) -> Result<Vec<String>, Refusal> {
    let mut visited = Vec::new();
    let visit = &mut |entry: TreeEntry<'_>| {
        let (path, content) = (String::from_utf8_lossy(entry.path), String::from_utf8_lossy(entry.content));
        visited.push(format!("{:?} {path} {content:?}", entry.kind));
        Ok::<(), RepositoryError>(())
    };
    incoming.visit(commit, visit).map_err(refusal)?;
    Ok(visited)
}

/// Keeps the objects, and again; they are still there.
async fn keep(commit: ObjectId, incoming: &Incoming, output: &Output) -> Result<(), Refusal> {
    incoming.keep().map_err(refusal)?;
    incoming.keep().map_err(refusal)?;
    let count = visited(commit, incoming)?.len();
    output.line(&format!("       kept {count}")).await;
    Ok(())
}

fn refusal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(error.to_string())
}
