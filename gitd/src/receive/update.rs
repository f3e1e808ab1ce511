//! The commands of a push, one after the other, by the only writer of the repository.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use gix::objs::Kind;
use gix::refs::FullName;
use tokio::task::spawn_blocking;

use super::request::{Command, PushRequest};
use crate::journal::Journal;
use crate::refs::{self, PreparedRef, Refs};
use crate::serve::{CLEANUP, within};
use crate::upload::walk::History;
use crate::{Incoming, ObjectId, Output, RefUpdate, Refusal, RepositoryError, Session, crash};

/// What the commands need.
pub(super) struct Updates<'a> {
    pub(super) session: &'a dyn Session,
    pub(super) request: &'a PushRequest,
    /// The names of the refs that were as the pusher has seen them, before it waited for others.
    pub(super) current: HashSet<Vec<u8>>,
    pub(super) incoming: Arc<Incoming>,
    pub(super) output: &'a Output,
    /// How many refs the repository may have, if it would have more.
    pub(super) full: Option<usize>,
}

impl Updates<'_> {
    /// The outcome of each command.
    pub(super) async fn run(&self) -> Vec<Result<(), String>> {
        let commands = &self.request.commands;
        let outcomes =
            if self.request.capabilities.atomic { self.all_or_nothing().await } else { self.one_by_one().await };
        let repository = self.incoming.repository().display();
        for (command, outcome) in commands.iter().zip(&outcomes) {
            let name = String::from_utf8_lossy(&command.name);
            match outcome {
                Ok(()) => tracing::info!(%repository, %name, "ref moved"),
                Err(reason) => tracing::info!(%repository, %name, reason, "ref refused"),
            }
        }
        outcomes
    }

    async fn one_by_one(&self) -> Vec<Result<(), String>> {
        let mut outcomes = Vec::with_capacity(self.request.commands.len());
        for command in &self.request.commands {
            outcomes.push(self.apply(command).await);
        }
        outcomes
    }

    async fn apply(&self, command: &Command) -> Result<(), String> {
        let change = self.prepare(command).await?;
        self.ask(command).await?;
        crash::point("agreed");
        self.blocking(move |incoming| change.make(incoming)).await
    }

    /// If one command fails, it has its own reason and the others have git's.
    async fn all_or_nothing(&self) -> Vec<Result<(), String>> {
        let commands = &self.request.commands;
        match self.apply_all().await {
            Ok(()) => vec![Ok(()); commands.len()],
            Err((failed, reason)) => {
                let because = |index| if index == failed { reason.clone() } else { ATOMIC.to_owned() };
                (0..commands.len()).map(|index| Err(because(index))).collect()
            }
        }
    }

    /// Nothing is asked for before everything could be done, and nothing is done before everything is agreed to.
    /// Otherwise the number of the command that failed, and why.
    async fn apply_all(&self) -> Result<(), (usize, String)> {
        let mut changes = Vec::<Change>::new();
        for (index, command) in self.request.commands.iter().enumerate() {
            let change = self.prepare(command).await.map_err(|reason| (index, reason))?;
            if changes.iter().any(|other| other.name == change.name || other.excludes(&change)) {
                return Err((index, FAILED.to_owned()));
            }
            changes.push(change);
        }
        let wanted: Vec<_> = changes.iter().map(|change| (change.name.clone(), change.new)).collect();
        let journal = self.blocking(move |incoming| {
            Journal::prepare(incoming.repository(), &wanted).map_err(|error| journal_failed(incoming, error))
        });
        let journal = journal.await.map_err(|reason| (0, reason))?;
        self.check().await.map_err(|(index, refusal)| (index, refusal.reason))?;
        for (index, command) in self.request.commands.iter().enumerate() {
            self.ask(command).await.map_err(|reason| (index, reason))?;
        }
        self.blocking(move |incoming| Ok(make_all(changes, journal, incoming))).await.map_err(|reason| (0, reason))?
    }

    /// The change that a command is, if the ref may move as far as git is concerned.
    async fn prepare(&self, command: &Command) -> Result<Change, String> {
        if command.new.is_none() && refs::is_hidden(&command.name) {
            return Err("deny deleting a hidden ref".to_owned());
        }
        if let Some(most) = self.full.filter(|_| command.creates()) {
            return Err(format!("the repository would have too many refs: at most {most}"));
        }
        let name = refs::parse_name(&command.name)?;
        let (old, new) = (command.old, command.new);
        let seen = self.current.contains(&command.name);
        self.blocking(move |incoming| {
            let old = base(incoming, &name, old, new, seen)?;
            check(incoming, &name, new)?;
            Change::prepare(incoming, name, old, new)
        })
        .await
    }

    async fn check(&self) -> Result<(), (usize, Refusal)> {
        let updates: Vec<RefUpdate> =
            self.request.commands.iter().map(|command| self.request.ref_update(command)).collect();
        self.session.check(self.incoming.repository(), &updates).await
    }

    /// The session's word. It decides also about a push that was cancelled: what it agrees to has happened.
    async fn ask(&self, command: &Command) -> Result<(), String> {
        let gone = self.output.cancelled();
        if gone.is_cancelled() {
            return Err(CANCELLED.to_owned());
        }
        let update = self.request.ref_update(command);
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
const FAILED: &str = "failed to update ref";
const ATOMIC: &str = "atomic push failure";

/// The names of those refs that are what their commands say.
pub(super) fn as_seen(repository: &Path, commands: &[Command]) -> HashSet<Vec<u8>> {
    let refs = Refs::open(repository);
    let seen = |command: &&Command| {
        let found = refs::parse_name(&command.name).ok().and_then(|name| refs.find(&name).ok());
        found.is_some_and(|now| now == command.old)
    };
    commands.iter().filter(seen).map(|command| command.name.clone()).collect()
}

/// Where the ref moves from: from where the pusher has seen it, or, if it moved on while the pusher waited for others, from
/// there, if that is part of what is pushed.
fn base(
    incoming: &Incoming,
    name: &FullName,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    seen: bool,
) -> Result<Option<ObjectId>, String> {
    let now = Refs::open(incoming.repository()).find(name).map_err(internal)?;
    if now == old {
        return Ok(old);
    }
    match (now, new) {
        (Some(now), Some(new)) if seen && now != new && leads_to(incoming, new, now).map_err(internal)? => {
            Ok(Some(now))
        }
        _ => Err("incorrect old value provided".to_owned()),
    }
}

/// Whether the history of `new` has `now`.
fn leads_to(incoming: &Incoming, new: ObjectId, now: ObjectId) -> Result<bool, Box<dyn std::error::Error>> {
    let objects = incoming.objects()?;
    if objects.kind(new) != Some(Kind::Commit) || objects.kind(now) != Some(Kind::Commit) {
        return Ok(false);
    }
    Ok(History::new(&objects).leads_to(new, now)?)
}

/// Whether the ref may move as far as git is concerned.
fn check(incoming: &Incoming, name: &FullName, new: Option<ObjectId>) -> Result<(), String> {
    let refs = Refs::open(incoming.repository());
    let Some(new) = new else { return Ok(()) };
    if let Some(other) = refs.conflict(name).map_err(internal)? {
        return Err(format!("'{}' exists; cannot create '{}'", other.as_bstr(), name.as_bstr()));
    }
    let objects = incoming.objects().map_err(internal)?;
    match objects.kind(new) {
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
    old: Option<ObjectId>,
    /// None deletes the ref.
    new: Option<ObjectId>,
    value: Option<PreparedRef>,
}

impl Change {
    fn prepare(
        incoming: &Incoming,
        name: FullName,
        old: Option<ObjectId>,
        new: Option<ObjectId>,
    ) -> Result<Self, String> {
        let refs = Refs::open(incoming.repository());
        let value = new.map(|new| refs.prepare(&name, new)).transpose().map_err(reason)?;
        Ok(Self { name, old, new, value })
    }

    /// Whether the two cannot be made as one: also not, to git, if one of the names is only given up.
    fn excludes(&self, other: &Self) -> bool {
        (self.value.is_some() || other.value.is_some()) && refs::exclude(self.name.as_bstr(), other.name.as_bstr())
    }

    /// First the objects, then the ref.
    fn make(self, incoming: &Incoming) -> Result<(), String> {
        let made = match self.value {
            Some(value) => incoming.keep().and_then(|()| {
                crash::point("objects kept");
                value.set()
            }),
            None => Refs::open(incoming.repository()).delete(&self.name),
        };
        made.map_err(reason)
    }

    /// Puts the ref back to where it was.
    fn undo(refs: &Refs, name: &FullName, old: Option<ObjectId>) {
        let undone = match old {
            Some(old) => refs.set(name, old),
            None => refs.delete(name),
        };
        if let Err(error) = undone {
            tracing::error!(%error, "a ref of an atomic push could not be put back");
        }
    }
}

/// Makes all changes, after a crash in the middle, too (see [`crate::journal`]).
fn make_all(changes: Vec<Change>, journal: Journal, incoming: &Incoming) -> Result<(), (usize, String)> {
    let failed = |error| (0, journal_failed(incoming, error));
    incoming.keep().map_err(|error| (0, reason(error)))?;
    let begun = journal.begin().map_err(failed)?;
    crash::point("journal begun");
    let made = make_or_undo(changes, incoming);
    begun.end().map_err(failed)?;
    made
}

fn journal_failed(incoming: &Incoming, error: std::io::Error) -> String {
    reason(RepositoryError::io("writing refs of", incoming.repository(), error))
}

/// If one change fails, those before it are undone.
fn make_or_undo(changes: Vec<Change>, incoming: &Incoming) -> Result<(), (usize, String)> {
    let mut made = Vec::new();
    for (index, change) in changes.into_iter().enumerate() {
        let (name, old) = (change.name.clone(), change.old);
        if let Err(reason) = change.make(incoming) {
            let refs = Refs::open(incoming.repository());
            made.iter().rev().for_each(|(name, old)| Change::undo(&refs, name, *old));
            return Err((index, reason));
        }
        made.push((name, old));
        crash::point("one of several refs moved");
    }
    Ok(())
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
    FAILED.to_owned()
}
