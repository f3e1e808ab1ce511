//! The commands of a push, one after the other, by the only writer of the repository.

use std::sync::Arc;

use gix::objs::Kind;
use gix::refs::FullName;
use tokio::task::spawn_blocking;

use super::request::{Command, PushRequest};
use crate::refs::{self, PreparedRef, Refs};
use crate::serve::{CLEANUP, within};
use crate::{Incoming, ObjectId, Output, RefUpdate, RepositoryError, Session, objects, tree};

/// What the commands need.
pub(super) struct Updates<'a> {
    pub(super) session: &'a dyn Session,
    pub(super) request: &'a PushRequest,
    pub(super) incoming: Arc<Incoming>,
    pub(super) output: &'a Output,
}

impl Updates<'_> {
    /// The outcome of each command.
    pub(super) async fn run(&self) -> Vec<Result<(), String>> {
        let mut outcomes = Vec::with_capacity(self.request.commands.len());
        for command in &self.request.commands {
            let outcome = self.apply(command).await;
            let name = String::from_utf8_lossy(&command.name);
            let repository = self.incoming.repository().display();
            match &outcome {
                Ok(()) => tracing::info!(%repository, %name, "ref moved"),
                Err(reason) => tracing::info!(%repository, %name, reason, "ref refused"),
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    async fn apply(&self, command: &Command) -> Result<(), String> {
        self.check_options()?;
        let name = refs::parse_name(&command.name)?;
        let (old, new) = (command.old, command.new);
        self.blocking({
            let name = name.clone();
            move |incoming| check(incoming, &name, old, new)
        })
        .await?;
        let change = self.blocking(move |incoming| Change::prepare(incoming, name, new)).await?;
        self.ask(&change.name, old, new).await?;
        self.blocking(move |incoming| change.make(incoming)).await
    }

    fn check_options(&self) -> Result<(), String> {
        let known = self.session.push_options();
        match self.request.options.iter().find(|option| !known.contains(&option.as_str())) {
            Some(option) => Err(format!("unknown push option {option:?}, known are: {}", known.join(", "))),
            None => Ok(()),
        }
    }

    /// The session's word. It decides also about a push that was cancelled: what it agrees to has happened.
    async fn ask(&self, name: &FullName, old: Option<ObjectId>, new: Option<ObjectId>) -> Result<(), String> {
        let gone = self.output.cancelled();
        if gone.is_cancelled() {
            return Err(CANCELLED.to_owned());
        }
        let options = self.request.options.clone();
        let update = RefUpdate { name: name.as_bstr().to_string(), old, new, options };
        let answer = self.session.update(self.incoming.repository(), &update, &self.incoming, self.output);
        match within(answer, gone, CLEANUP).await {
            Some(answer) => answer.map_err(|refusal| refusal.reason),
            None => Err(CANCELLED.to_owned()),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Incoming) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let incoming = Arc::clone(&self.incoming);
        spawn_blocking(move || work(&incoming)).await.unwrap_or_else(|_| Err(INTERNAL.to_owned()))
    }
}

const CANCELLED: &str = "push cancelled";
const INTERNAL: &str = "internal error";

/// Whether the ref may move as far as git is concerned.
fn check(incoming: &Incoming, name: &FullName, old: Option<ObjectId>, new: Option<ObjectId>) -> Result<(), String> {
    let refs = Refs::open(incoming.repository());
    if refs.find(name).map_err(internal)? != old {
        return Err("incorrect old value provided".to_owned());
    }
    let Some(new) = new else { return Ok(()) };
    if let Some(other) = refs.conflict(name).map_err(internal)? {
        return Err(format!("'{}' exists; cannot create '{}'", other.as_bstr(), name.as_bstr()));
    }
    let objects = objects::open(&incoming.objects(), None).map_err(internal)?;
    match tree::kind(&objects, new) {
        None => Err("missing necessary objects".to_owned()),
        Some(kind) if kind != Kind::Commit && refs::is_branch(name) => {
            Err(format!("a branch cannot point to a {kind}"))
        }
        Some(_) => Ok(()),
    }
}

/// A ref's change, prepared as far as it can be without being seen: what the session agrees to must not fail afterwards
/// for want of space.
struct Change {
    name: FullName,
    /// None deletes the ref.
    value: Option<PreparedRef>,
}

impl Change {
    fn prepare(incoming: &Incoming, name: FullName, new: Option<ObjectId>) -> Result<Self, String> {
        let refs = Refs::open(incoming.repository());
        let value = new.map(|new| refs.prepare(&name, new)).transpose().map_err(reason)?;
        Ok(Self { name, value })
    }

    /// First the objects, then the ref.
    fn make(self, incoming: &Incoming) -> Result<(), String> {
        let made = match self.value {
            Some(value) => incoming.keep().and_then(|()| value.set()),
            None => Refs::open(incoming.repository()).delete(&self.name),
        };
        made.map_err(reason)
    }
}

fn reason(error: RepositoryError) -> String {
    match error {
        RepositoryError::DiskFull => error.to_string(),
        error => internal(error),
    }
}

/// The log has the cause, the pusher does not get our paths.
fn internal(error: impl std::fmt::Display) -> String {
    tracing::error!(%error, "a ref could not be changed");
    "failed to update ref".to_owned()
}
