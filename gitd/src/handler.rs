//! What the server asks of whoever embeds it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Channel, Ended, Incoming, ObjectId, Output};

/// Decides who may come in.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// A client proved that it holds the private key of `login.key`. None refuses it.
    /// (Also asked, with the same answer expected, before the proof, when a client only offers a key.)
    async fn authenticate(&self, login: &Login) -> Option<Arc<dyn Session>>;
}

/// Who asks to come in.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user name of the SSH login.
    pub user: String,
    /// The public key, as in an `authorized_keys` line: algorithm and base64, no comment.
    pub key: String,
    /// `SHA256:…`, as OpenSSH prints it.
    pub fingerprint: String,
    /// Where the client connects from.
    pub peer: SocketAddr,
}

/// One authenticated connection. Its methods may run at the same time, one call per channel.
#[async_trait]
pub trait Session: Send + Sync {
    /// False once the key has been removed: asked before each new channel's request is served.
    async fn still_allowed(&self) -> bool;

    /// The options of `git push -o` that [`Session::update`] understands. Others are rejected. None: options are not offered.
    fn push_options(&self) -> &'static [&'static str] {
        &[]
    }

    /// The repository behind the path of `git-receive-pack 'PATH'` or `git-upload-pack 'PATH'`, made if need be.
    async fn repository(&self, access: Access, path: &str) -> Result<PathBuf, Refusal>;

    /// Whether all these refs might move together: asked about an atomic push before anything is done about any of them.
    /// Otherwise which of them might not, and why.
    async fn check(&self, _repository: &std::path::Path, _updates: &[RefUpdate]) -> Result<(), (usize, Refusal)> {
        Ok(())
    }

    /// The right of a push to have these refs moved, after others that came before it: asked once everything has been received
    /// and checked. It is held until the refs have moved. A ref that others have moved meanwhile may still move on from there.
    async fn turn(
        &self,
        _repository: &std::path::Path,
        _updates: &[RefUpdate],
        _output: &Output,
    ) -> Result<Turn, Refusal> {
        Ok(None)
    }

    /// A push that [`Session::repository`] was asked for is over: refs that were to move have moved, and the pusher was told.
    /// Not called when the connection ends before.
    async fn settled(&self) {}

    /// One ref is to move. All objects are in `incoming` and have been checked; nothing is permanent yet.
    ///
    /// Whatever is written to `output` appears at the pusher at once, behind `remote: `. The future is to
    /// watch [`Output::cancelled`]: the pusher went away or pressed Ctrl-C. When it returns Ok, objects are made permanent
    /// (unless [`Incoming::keep`] did that already) and the ref moves, even if the pusher has gone by then; when it
    /// returns a refusal nothing changes. A minute after the cancellation it is dropped, and nothing changes either.
    async fn update(
        &self,
        repository: &std::path::Path,
        update: &RefUpdate,
        incoming: &Incoming,
        output: &Output,
    ) -> Result<(), Refusal>;

    /// A command line (`ssh HOST COMMAND`).
    async fn exec(&self, line: &str, channel: Channel) -> Ended;

    /// A login shell (`ssh HOST`).
    async fn shell(&self, channel: Channel) -> Ended;

    /// A subsystem such as `sftp`. None: there is no such subsystem.
    async fn subsystem(&self, name: &str, channel: Channel) -> Option<Ended>;

    /// A connection to `host:port` as seen from where the session leads (`ssh -L`).
    async fn forward(&self, host: &str, port: u16) -> Result<Box<dyn Duplex>, Refusal>;
}

/// Whatever a session wants to be held until a push has moved its refs.
pub type Turn = Option<Box<dyn Send + Sync>>;

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What a client wants of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Clone or fetch.
    Read,
    /// Push.
    Write,
}

/// One command of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// Full name, such as `refs/heads/main`.
    pub name: String,
    /// What it is now, None if it does not exist.
    pub old: Option<ObjectId>,
    /// What it is to become, None to delete it.
    pub new: Option<ObjectId>,
    /// The options of the push (`git push -o`), all of them among [`Session::push_options`].
    pub options: Vec<String>,
}

/// Why something is not done. `reason` is one short line for git's own report (`! [remote rejected] main -> main (REASON)`)
/// or for standard error; what needs more room has been written to the output before.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// One line, no line ends.
    pub reason: String,
}

impl Refusal {
    /// A refusal with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}
