//! SSH sessions: a key becomes an actor, the user name says what the session is for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gitd::{Access, Channel, Duplex, Ended, Handler, Incoming, Login, Output, RefUpdate, Refusal, Session};

use tokio_util::sync::CancellationToken;

use crate::access::{Actor, Need};
use crate::commands::{self, Console};
use crate::deploy::{Push, deployed_branch, first_branch};
use crate::failure::{Failure, Result};
use crate::gate::Pass;
use crate::inside::{Program, client_terminal};
use crate::names::{AppName, Process};
use crate::platform::Platform;
use crate::store::{App, Key};
use crate::turn::Turn;

/// The user name of commands and pushes.
const COMMANDS: &str = "airstrip";

/// Lets keys of the store in.
pub struct Doorkeeper(pub Arc<Platform>);

#[async_trait]
impl Handler for Doorkeeper {
    async fn authenticate(&self, login: &Login) -> Option<Arc<dyn Session>> {
        let key = self.0.store.find_key(&login.key).ok().flatten()?;
        let purpose = match login.user.as_str() {
            COMMANDS => Purpose::Commands,
            user => Purpose::Inside(user.to_owned()),
        };
        Some(Arc::new(Visit {
            platform: self.0.clone(),
            actor: Actor::holder(&key),
            key,
            purpose,
            receiving: Mutex::default(),
            passes: Mutex::default(),
            turns: Mutex::default(),
        }))
    }
}

/// One authenticated connection.
struct Visit {
    platform: Arc<Platform>,
    key: Key,
    actor: Actor,
    purpose: Purpose,
    /// When the push in progress began to be received.
    receiving: Mutex<Option<Instant>>,
    /// One for each push in progress.
    passes: Mutex<Vec<Pass>>,
    /// Those of pushes that are asked about now, by their repositories: each app has one at a time.
    turns: Mutex<HashMap<PathBuf, Held>>,
}

/// A push's turn to build, which is kept where the push is.
struct Held {
    turn: Weak<Turn>,
    /// How long receiving had taken before it waited.
    receive: Duration,
    /// Of several branches the one that deploys.
    first: Option<String>,
}

enum Purpose {
    /// Commands and pushes.
    Commands,
    /// Inside the app (and the place in it) that this user name says.
    Inside(String),
}

#[async_trait]
impl Session for Visit {
    async fn still_allowed(&self) -> bool {
        self.platform.store.find_key(&self.key.public_key).is_ok_and(|known| known.as_ref() == Some(&self.key))
    }

    async fn repository(&self, access: Access, path: &str) -> std::result::Result<PathBuf, Refusal> {
        if access == Access::Write {
            // Whoever waits has been told so by git itself: there is no output yet.
            let pass = self.platform.gate.enter(&Output::new(CancellationToken::new()).0).await;
            self.passes().push(pass.map_err(|failure| refusal(&failure))?);
        }
        *self.receiving() = Some(Instant::now());
        self.find_repository(access, path).map_err(|failure| refusal(&failure))
    }

    async fn check(&self, repository: &Path, updates: &[RefUpdate]) -> std::result::Result<(), (usize, Refusal)> {
        let app = self.app_of(repository).map_err(|failure| (0, refusal(&failure)))?;
        let mut deploys = None;
        for (index, update) in updates.iter().enumerate() {
            let branch = deployed_branch(&app, None, update).map_err(|failure| (index, refusal(&failure)))?;
            if branch.is_some() && deploys.replace(index).is_some() {
                return Err((index, Refusal::new("only one branch can be deployed: push one")));
            }
        }
        Ok(())
    }

    async fn turn(
        &self,
        repository: &Path,
        updates: &[RefUpdate],
        output: &Output,
    ) -> std::result::Result<gitd::Turn, Refusal> {
        let receive = self.receiving().take().map(|began| began.elapsed()).unwrap_or_default();
        let turn = async {
            let app = self.app_of(repository)?;
            let first = first_branch(&app, updates)?.map(ToOwned::to_owned);
            Ok(self.platform.turn_of_push(&app, updates, &self.actor.name, output).await?.map(|turn| (turn, first)))
        };
        let Some((turn, first)) = told(turn.await, output).await? else { return Ok(None) };
        let turn = Arc::new(turn);
        self.turns().insert(repository.to_owned(), Held { turn: Arc::downgrade(&turn), receive, first });
        Ok(Some(Box::new(turn)))
    }

    async fn settled(&self) {
        self.passes().pop();
    }

    async fn update(
        &self,
        repository: &Path,
        update: &RefUpdate,
        incoming: &Incoming,
        output: &Output,
    ) -> std::result::Result<(), Refusal> {
        let (turn, receive, first) = self.held(repository);
        let (turn, first) = (turn.as_deref(), first.as_deref());
        let push = Push { update, incoming, actor: &self.actor.name, receive, turn, first };
        let result = match self.app_of(repository) {
            Ok(app) => self.platform.push(&app, &push).await,
            Err(failure) => Err(failure),
        };
        told(result, output).await
    }

    async fn exec(&self, line: &str, channel: Channel) -> Ended {
        match &self.purpose {
            Purpose::Commands => commands::run_line(&self.platform, &self.actor, line, channel).await,
            Purpose::Inside(user) => self.inside(user, Program::Line(line.to_owned()), channel).await,
        }
    }

    async fn shell(&self, channel: Channel) -> Ended {
        match &self.purpose {
            Purpose::Commands => commands::run_line(&self.platform, &self.actor, "", channel).await,
            Purpose::Inside(user) => self.inside(user, Program::Shell, channel).await,
        }
    }

    fn push_options(&self) -> &'static [&'static str] {
        &["no-cache", "dry-run"]
    }

    async fn subsystem(&self, name: &str, channel: Channel) -> Option<Ended> {
        match &self.purpose {
            Purpose::Inside(user) if name == "sftp" => Some(self.inside(user, Program::Sftp, channel).await),
            _ => None,
        }
    }

    async fn forward(&self, host: &str, port: u16) -> std::result::Result<Box<dyn Duplex>, Refusal> {
        let Purpose::Inside(user) = &self.purpose else {
            return Err(Refusal::new("forwarding leads into an app: use APP@HOST"));
        };
        if !matches!(host, "localhost" | "127.0.0.1" | "::1") {
            return Err(Refusal::new("only the app's own loopback can be reached"));
        }
        let (app, place) = self.door(user).map_err(|failure| refusal(&failure))?;
        let forwarded = self.platform.forward(&app, place.as_ref(), port).await;
        let (stream, visit) = forwarded.map_err(|failure| refusal(&failure))?;
        // The visit is over when the stream is dropped.
        let visited = tokio_util::io::InspectReader::new(stream, move |_: &[u8]| _ = &visit);
        Ok(Box::new(visited))
    }
}

impl Visit {
    fn receiving(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.receiving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passes(&self) -> std::sync::MutexGuard<'_, Vec<Pass>> {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Held>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn of the push that is asked about, how long receiving it had taken, and which of its branches deploys.
    fn held(&self, repository: &Path) -> (Option<Arc<Turn>>, Duration, Option<String>) {
        let turns = self.turns();
        let held = turns.get(repository).map(|held| (held.turn.upgrade(), held.receive, held.first.clone()));
        held.unwrap_or_default()
    }

    /// The repository of an app; a push to an app that does not exist makes it.
    fn find_repository(&self, access: Access, path: &str) -> Result<PathBuf> {
        if !matches!(self.purpose, Purpose::Commands) {
            return Err(Failure::new(
                "git does not reach into an app",
                format!("use the user {COMMANDS}: ssh://{COMMANDS}@HOST:PORT/APP"),
            ));
        }
        let name = app_name(path)?;
        self.actor.check(Need::Deploy, Some(&name))?;
        let known = self.platform.store.app(&name)?.filter(|app| !app.destroying);
        if known.is_none() {
            if access == Access::Read {
                return Err(Failure::no_app(name.as_str()));
            }
            self.actor.check(Need::Admin, Some(&name))?;
            self.platform.create_app(&name)?;
        }
        Ok(self.platform.home.app(&name).repository())
    }

    /// The app whose repository this is.
    fn app_of(&self, repository: &Path) -> Result<App> {
        let name = repository.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        self.platform.app(&name.parse()?)
    }

    /// The app and the place that a user name means: `blog`, `blog+worker.2`.
    fn door(&self, user: &str) -> Result<(App, Option<Process>)> {
        let (name, place) = match user.split_once('+') {
            Some((name, place)) => (name, Some(place.parse::<Process>()?)),
            None => (user, None),
        };
        let name: AppName = name.parse().map_err(|_| Failure::no_app(name))?;
        self.actor.check(Need::AppAdmin, Some(&name))?;
        Ok((self.platform.app(&name)?, place))
    }

    async fn inside(&self, user: &str, program: Program, channel: Channel) -> Ended {
        let (env, size) = client_terminal(&channel);
        let console = Console::new(channel);
        let (notice, notices) = console.output();
        let enter = async {
            let (app, place) = self.door(user)?;
            self.platform.enter(&app, place.as_ref(), program, &env, size, &notice).await
        };
        console.hand_over(notices, enter).await
    }
}

/// Tells the pusher what went wrong, and git the reason.
async fn told<T>(result: Result<T>, output: &Output) -> std::result::Result<T, Refusal> {
    if let Err(failure) = &result {
        for line in failure.lines() {
            output.line(&line).await;
        }
    }
    result.map_err(|failure| refusal(&failure))
}

fn refusal(failure: &Failure) -> Refusal {
    Refusal::new(failure.message.lines().next().unwrap_or("refused"))
}

/// The app's name in a remote's path: a leading `/` and a `.git` ending are accepted.
fn app_name(path: &str) -> Result<AppName> {
    let name = path.trim_start_matches('/').trim_end_matches('/');
    Ok(name.strip_suffix(".git").unwrap_or(name).parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes() {
        for good in ["blog", "/blog", "blog.git", "/blog.git", "blog/"] {
            assert_eq!(app_name(good).unwrap().as_str(), "blog", "{good}");
        }
        for bad in ["", "/", "../blog", "a/b", "/home/x/blog.git", "git"] {
            assert!(app_name(bad).is_err(), "{bad}");
        }
    }
}
