//! A push, from the advertisement to the report. (gitprotocol-pack(5), "Pushing Data To a Server"; version 0, which
//! is what every client speaks for a push)
//!
//! The pack goes into a quarantine and is checked; then, one push at a time for each repository and one command after
//! the other: the command is checked, the [`Session`] asked, the objects made permanent, the ref moved.

mod advertisement;
mod connectivity;
mod fsck;
mod progress;
mod report;
mod request;
mod unpack;
mod update;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::sync::oneshot;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::CancellationToken;

use crate::pktline::Band;
use crate::serve::{CLEANUP, within};
use crate::server::Service;
use crate::{
    Access, Channel, Ended, Incoming, ObjectId, Output, RefUpdate, Refusal, Session, consolidation, crash, pktline,
    stall,
};
use connectivity::{ConnectivityError, Links};
use fsck::Problem;
use report::Report;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use request::PushRequest as FuzzedRequest;
use request::{PushRequest, RequestError};
use unpack::UnpackError;
use update::Updates;

/// How long a pusher whose pack was refused may go on sending it.
const DRAIN: Duration = Duration::from_secs(300);

/// Git's words for history that the pusher does not have either.
const SHALLOW: &str = "shallow update not allowed";

/// Serves `git-receive-pack PATH` on a channel.
pub(crate) async fn receive_pack(service: &Service, session: &dyn Session, path: &str, mut channel: Channel) -> Ended {
    stall::bound(&mut channel, service.limits.stall);
    let served = async {
        let repository = session.repository(Access::Write, path).await?;
        let (refs, count) = advertisement::advertise(repository.clone(), session.push_options()).await?;
        let _gone = channel.stdout.write_all(&refs).await;
        let limits = &service.limits;
        let Some(request) = PushRequest::read(&mut channel.stdin, limits).await? else { return Ok(true) };
        crash::point("request read");
        let room = limits.refs.saturating_sub(count);
        let push = Push { service, session, repository, request: Arc::new(request), room };
        Ok::<bool, Failure>(push.serve(&mut channel).await)
    };
    let served = served.await;
    session.settled().await;
    match served {
        Ok(true) => Ended::Status(0),
        Ok(false) => Ended::Status(1),
        Err(failure) => {
            let _gone = channel.stdout.write_all(&failure.packet()).await;
            if matches!(failure, Failure::Request(_, true)) {
                drain(channel.stdin).await;
            }
            Ended::Status(128)
        }
    }
}

/// Why there is not even a report.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Request(RequestError, bool),
    #[error("{0}")]
    Repository(#[from] crate::RepositoryError),
    #[error("internal error")]
    Panicked(#[from] JoinError),
}

impl From<(RequestError, bool)> for Failure {
    fn from((error, side_band): (RequestError, bool)) -> Self {
        Self::Request(error, side_band)
    }
}

impl Failure {
    /// As the client expects it.
    fn packet(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Request(error, true) => pktline::band(&mut out, Band::Error, format!("{error}\n").as_bytes()),
            failure => pktline::data(&mut out, format!("ERR {failure}").as_bytes()),
        }
        out
    }
}

type Input = Box<dyn AsyncRead + Send + Unpin>;

/// What has come, and what it names.
type Received = Result<(Incoming, Links), UnpackError>;

/// A push whose commands are known.
struct Push<'a> {
    service: &'a Service,
    session: &'a dyn Session,
    repository: PathBuf,
    request: Arc<PushRequest>,
    /// So many refs more the repository may have.
    room: usize,
}

impl Push<'_> {
    /// Does what is asked for and reports. Whether everything went well.
    async fn serve(&self, channel: &mut Channel) -> bool {
        let (output, text) = Output::new(channel.hangup.clone());
        let (finish, done) = oneshot::channel();
        let side_band = self.request.capabilities.side_band;
        let input = std::mem::replace(&mut channel.stdin, Box::new(tokio::io::empty()));
        let work = async {
            let worked = self.work(input, &output).await;
            let _relay_ended = finish.send(());
            worked
        };
        let ((report, rest), ()) = tokio::join!(work, progress::relay(&mut channel.stdout, side_band, text, done));
        crash::point("before the report");
        send_report(&mut channel.stdout, &report.encode(self.request.capabilities)).await;
        if let Some(rest) = rest {
            drain(rest).await;
        }
        report.succeeded()
    }

    /// The report, and the input if there may be more of it.
    async fn work(&self, input: Input, output: &Output) -> (Report, Option<Input>) {
        let commands = &self.request.commands;
        let (received, rest) = self.receive(input, output.cancelled()).await;
        match received {
            Ok((incoming, links)) => {
                crash::point("pack received");
                (self.take(incoming, links, output).await, None)
            }
            Err(UnpackError::Unsound(id, problem)) => (self.unsound(id, problem, output).await, rest),
            Err(error) => {
                tracing::info!(repository = %self.repository.display(), %error, "pack refused");
                output.line(&format!("fatal: {error}")).await;
                (Report::unpack_failed(commands, &error.to_string()), rest)
            }
        }
    }

    /// Takes the pack, if there is one.
    async fn receive(&self, input: Input, gone: &CancellationToken) -> (Received, Option<Input>) {
        if !self.request.has_pack() {
            let incoming = Incoming::new(&self.repository, None, self.service.limits.object_bytes);
            return (Ok((incoming, Links::new(0))), None);
        }
        let (repository, limits) = (self.repository.clone(), self.service.limits.clone());
        let received = interruptible(gone, move |interrupt| {
            let mut input = SyncIoBridge::new(input);
            let received = unpack::unpack(&repository, &mut input, &limits, interrupt);
            (received, input.into_inner())
        });
        match received.await {
            Ok((received, input)) => (received, Some(input)),
            Err(error) => (Err(UnpackError::Broken(error.to_string())), None),
        }
    }

    /// Checks what came and does what is asked for with it.
    async fn take(&self, incoming: Incoming, links: Links, output: &Output) -> Report {
        let commands = &self.request.commands;
        let Err(error) = self.check(&incoming, links, output.cancelled()).await else {
            return Report::new(commands, self.update(incoming, output).await);
        };
        tracing::info!(repository = %self.repository.display(), %error, "objects refused");
        let reason = match error {
            ConnectivityError::Unsound(id, problem) => return self.unsound(id, problem, output).await,
            ConnectivityError::Missing if self.request.shallow => SHALLOW.to_owned(),
            error => error.to_string(),
        };
        Report::new(commands, vec![Err(reason); commands.len()])
    }

    async fn unsound(&self, id: ObjectId, problem: Problem, output: &Output) -> Report {
        tracing::info!(repository = %self.repository.display(), %id, %problem, "object refused");
        output.line(&format!("error: object {id}: {problem}")).await;
        output.line("fatal: fsck error in packed object").await;
        Report::unpack_failed(&self.request.commands, "index-pack abnormal exit")
    }

    /// Does one command after the other.
    async fn update(&self, incoming: Incoming, output: &Output) -> Vec<Result<(), String>> {
        let refused = |reason: &str| vec![Err(reason.to_owned()); self.request.commands.len()];
        if let Some(reason) = self.request.unknown_option(self.session.push_options()) {
            return refused(&reason);
        }
        let current = self.current_commands().await;
        let updates: Vec<RefUpdate> =
            self.request.commands.iter().map(|command| self.request.ref_update(command)).collect();
        let turn = self.session.turn(&self.repository, &updates, output);
        let _turn = match within(turn, output.cancelled(), CLEANUP).await {
            Some(Ok(turn)) => turn,
            Some(Err(refusal)) => return refused(&refusal.reason),
            None => return refused("push cancelled"),
        };
        let Some(_only_writer) = self.wait_for_others(output).await else { return refused("push cancelled") };
        crash::point("objects checked");
        let incoming = Arc::new(incoming);
        let full = (self.request.creations() > self.room).then_some(self.service.limits.refs);
        let updates = Updates { session: self.session, request: &self.request, current, incoming, output, full };
        let outcomes = updates.run().await;
        crash::point("refs moved");
        self.consolidate();
        outcomes
    }

    /// The names of the refs that are, before anybody is waited for, as the pusher has seen them.
    async fn current_commands(&self) -> HashSet<Vec<u8>> {
        let (repository, request) = (self.repository.clone(), Arc::clone(&self.request));
        spawn_blocking(move || update::as_seen(&repository, &request.commands)).await.unwrap_or_default()
    }

    /// In the background: the pusher does not wait.
    fn consolidate(&self) {
        let Ok(turn) = Arc::clone(&self.service.consolidating).try_acquire_owned() else { return };
        let (repository, stopping) = (self.repository.clone(), self.service.stopping.clone());
        let (most, limit) = (self.service.limits.packs, self.service.limits.object_bytes);
        self.service.work.spawn(async move {
            let path = repository.clone();
            let work = move |interrupt: &AtomicBool| consolidation::consolidate(&path, most, limit, interrupt);
            match interruptible(&stopping, work).await {
                Ok(Ok(done)) => tracing::debug!(repository = %repository.display(), done, "packs looked at"),
                Ok(Err(error)) => tracing::warn!(repository = %repository.display(), %error, "packs not consolidated"),
                Err(error) => tracing::error!(%error, "consolidation panicked"),
            }
            drop(turn);
        });
    }

    async fn check(
        &self,
        incoming: &Incoming,
        links: Links,
        gone: &CancellationToken,
    ) -> Result<(), ConnectivityError> {
        if !self.request.has_pack() {
            return Ok(());
        }
        let (objects, limit) = (incoming.directory(), self.service.limits.object_bytes);
        interruptible(gone, move |interrupt| connectivity::check(&links, &objects, limit, interrupt))
            .await
            .unwrap_or_else(|error| Err(ConnectivityError::Failed(error.to_string())))
    }

    /// The right to change the repository; None if the pusher did not wait for it.
    async fn wait_for_others(&self, output: &Output) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        let locks = &self.service.push_locks;
        if let Some(lock) = locks.try_lock(&self.repository) {
            return Some(lock);
        }
        output.line("Waiting for another push to finish...").await;
        tokio::select! {
            lock = locks.lock(&self.repository) => Some(lock),
            () = output.cancelled().cancelled() => None,
        }
    }
}

/// Runs blocking work with a flag that is raised when the pusher goes away.
async fn interruptible<T: Send + 'static>(
    gone: &CancellationToken,
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> Result<T, JoinError> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    let mut task = spawn_blocking(move || work(&flag));
    tokio::select! {
        done = &mut task => return done,
        () = gone.cancelled() => raised.store(true, Ordering::Relaxed),
    }
    task.await
}

async fn send_report(stdout: &mut (dyn AsyncWrite + Send + Unpin), report: &[u8]) {
    let _gone = stdout.write_all(report).await;
}

/// A client reads the report only after it has sent its pack: were the channel closed before, it would see a broken
/// pipe instead of the reason.
async fn drain(mut input: Input) {
    let _enough = timeout(DRAIN, copy(&mut input, &mut sink())).await;
}
