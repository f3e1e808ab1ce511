//! The right to build an app, from its place in the [line](crate::line) to what is told of it afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gitd::Output;

use crate::failure::{Failure, Result};
use crate::line::{Job, Place, Stop};
use crate::names::Version;
use crate::platform::Platform;
use crate::store::{App, AppId, BuildEnd, StoreError};

/// What a dry run that went well ends with.
pub const PASSED: &str = "dry run passed";
/// How long whoever cancels a build waits for its end.
const ENDING: Duration = Duration::from_secs(60);

/// What somebody wants to build.
#[derive(Debug)]
pub struct Wish<'a> {
    /// Who: a key's name.
    pub actor: &'a str,
    /// `Deploy 1a2b3c4`
    pub what: String,
    /// Of this commit.
    pub commit: Option<&'a str>,
    /// It takes the place of those that wait and were wished like this.
    pub newest: bool,
}

/// The only right to build an app at this time, until it is dropped.
pub struct Turn {
    place: Place,
    output: Output,
    listed: Listed,
}

/// What is told of a build.
struct Listed {
    platform: Arc<Platform>,
    app: AppId,
    number: u32,
    ended: AtomicBool,
}

impl Platform {
    /// Waits for the turn to build an app, and says for whom.
    pub async fn turn_to_build(self: &Arc<Self>, app: &App, wish: &Wish<'_>, output: &Output) -> Result<Turn> {
        let number = self.store.add_build(app.id, wish.actor, &wish.what, wish.commit)?;
        let listed = Listed { platform: self.clone(), app: app.id, number, ended: AtomicBool::new(false) };
        let output = output.with_own_token();
        let mut job = Job::new(Some(number), wish.actor, wish.what.clone(), output.cancelled().clone());
        job.newest = wish.newest;
        let place = self.formations.of(app.id).builds.join(job);
        let place = place.inspect_err(|failure| listed.end(BuildEnd::Failed, None, Some(&failure.message)))?;
        // It tells what became of it from here on, also when it is given up.
        let turn = Turn { place, output, listed };
        turn.place.head(&turn.output).await?;
        self.store.begin_build(app.id, number)?;
        Ok(turn)
    }

    /// Ends a build, or one that waits (None: the one that is under way), and waits until nothing of it is left. Gives what it was.
    pub async fn cancel_build(&self, app: &App, number: Option<u32>, by: &str) -> Result<String> {
        let job = self.formations.of(app.id).builds.cancel(number, by)?;
        let left = tokio::time::timeout(ENDING, job.left.cancelled()).await;
        left.map_err(|_| Failure::new(format!("{job} has not ended yet"), format!("see `builds {}`", app.name)))?;
        Ok(job.to_string())
    }
}

impl Turn {
    /// Where to write to, cancelled also when the build is.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// From here on nobody cancels the build any more.
    pub fn keep(&self) -> Result<()> {
        self.place.job.keep()
    }

    /// Notes what became of the build. Whatever it failed of, if it was cancelled that is why.
    pub fn end(&self, result: Result<Version>) -> Result<Version> {
        let stopped = self.place.job.stopped();
        match (&result, stopped) {
            (Ok(version), _) => self.listed.end(BuildEnd::Live, Some(*version), None),
            (Err(_), Some(stop)) => {
                self.listed.stopped(&stop);
                return Err(stop.into());
            }
            (Err(failure), None) if failure.message == PASSED => self.listed.end(BuildEnd::Passed, None, None),
            (Err(_), None) if self.output.cancelled().is_cancelled() => self.listed.given_up(),
            (Err(failure), None) => self.listed.end(BuildEnd::Failed, None, Some(&failure.message)),
        }
        result
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.listed.ended.load(Ordering::Relaxed) {
            return;
        }
        match self.place.job.stopped() {
            Some(stop) => self.listed.stopped(&stop),
            None if self.output.cancelled().is_cancelled() => self.listed.given_up(),
            None => self.listed.end(BuildEnd::Failed, None, Some("refused before anything was built")),
        }
    }
}

impl Listed {
    fn given_up(&self) {
        self.end(BuildEnd::Cancelled, None, Some("given up by whoever wanted it"));
    }

    fn stopped(&self, stop: &Stop) {
        let end = match stop {
            Stop::Cancelled(_) => BuildEnd::Cancelled,
            Stop::Superseded(_) => BuildEnd::Superseded,
        };
        self.end(end, None, Some(&Failure::from(stop.clone()).message));
    }

    fn end(&self, end: BuildEnd, release: Option<Version>, reason: Option<&str>) {
        self.ended.store(true, Ordering::Relaxed);
        let noted: std::result::Result<(), StoreError> =
            self.platform.store.end_build(self.app, self.number, end, release, reason);
        if let Err(error) = noted {
            tracing::warn!(app = self.app.0, build = self.number, %error, "noting how a build ended");
        }
    }
}
