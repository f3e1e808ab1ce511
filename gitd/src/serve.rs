//! What happens on a channel once the client has said what it wants.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::git_command::GitCommand;
use crate::open_channel::Request;
use crate::outlet::Outgoing;
use crate::server::Service;
use crate::{Access, Channel, Ended, Session, receive, upload};

/// Time a command has to clean up after its client has gone; then it is dropped.
pub(crate) const CLEANUP: Duration = Duration::from_secs(60);
/// OpenSSH's status for "the connection, not the command, failed".
const FAILED: Ended = Ended::Status(255);

/// What serving a channel needs besides the channel.
pub(crate) struct Work {
    pub(crate) service: Arc<Service>,
    pub(crate) session: Arc<dyn Session>,
    /// `GIT_PROTOCOL`, empty if not sent.
    pub(crate) git_protocol: String,
}

impl Work {
    /// Serves the request and tells the client how it ended.
    pub(crate) async fn serve(self, request: Request, channel: Channel, output: mpsc::Sender<Outgoing>) {
        let ended = self.dispatch(request, channel).await;
        let _gone = output.send(Outgoing::End(ended)).await;
    }

    async fn dispatch(&self, request: Request, channel: Channel) -> Ended {
        if !self.session.still_allowed().await {
            return fail(channel, "this key has been removed").await;
        }
        let hangup = channel.hangup.clone();
        match request {
            Request::Shell => within(self.session.shell(channel), &hangup, CLEANUP).await,
            // None is told by the status: the request has been answered already.
            Request::Subsystem(name) => {
                within(self.session.subsystem(&name, channel), &hangup, CLEANUP).await.flatten()
            }
            Request::Exec(line) => self.exec(line, channel).await,
        }
        .unwrap_or(FAILED)
    }

    async fn exec(&self, line: Vec<u8>, channel: Channel) -> Option<Ended> {
        let Ok(line) = String::from_utf8(line) else {
            return Some(fail(channel, "the command is not valid UTF-8").await);
        };
        let hangup = channel.hangup.clone();
        match GitCommand::parse(&line) {
            Some(GitCommand { access: Access::Write, path }) => {
                Some(receive::receive_pack(&self.service, &*self.session, &path, channel).await)
            }
            Some(GitCommand { access: Access::Read, path }) => {
                let protocol = &self.git_protocol;
                Some(upload::upload_pack(&self.service, &*self.session, &path, protocol, channel).await)
            }
            None => within(self.session.exec(&line, channel), &hangup, CLEANUP).await,
        }
    }
}

/// The future's result; None if it has not ended `grace` after the hang-up.
pub(crate) async fn within<T>(
    future: impl Future<Output = T>,
    hangup: &CancellationToken,
    grace: Duration,
) -> Option<T> {
    tokio::select! {
        result = future => Some(result),
        () = async { hangup.cancelled().await; tokio::time::sleep(grace).await } => None,
    }
}

async fn fail(mut channel: Channel, reason: &str) -> Ended {
    let _gone = channel.stderr.write_all(format!("{reason}\n").as_bytes()).await;
    FAILED
}
