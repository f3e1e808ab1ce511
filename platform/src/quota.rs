//! How much an app's `data/` may hold.
//!
//! Where the file system has project quotas, it refuses what is more: `data/` has a project of its own, and so has what an import receives
//! ([`crate::data`]), which takes its place with that. Elsewhere `data/` is measured now and then, and an app that is over its limit is
//! told so in its log.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::quota::{self, Measured};
use engine::{Ability, EngineError};

use crate::failure::{Failure, Result};
use crate::limits::{Resource, show_bytes};
use crate::logs;
use crate::names::{AppName, Process, Version};
use crate::platform::Platform;
use crate::store::{App, AppId};

/// Between two rounds of looking at every `data/` that has a limit.
const INTERVAL: Duration = Duration::from_secs(300);
/// How long a round may measure one `data/`.
const ROUND_PATIENCE: Duration = Duration::from_secs(120);
/// How long somebody who asks may have to wait.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Small numbers are the administrator's; container engines count from some thousands or a million.
const PROJECTS: RangeInclusive<u32> = 0x4153_0000..=0x4153_ffff;

type Done<T> = std::result::Result<T, EngineError>;

/// What is known of an app's `data/` that has a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataUse {
    /// What it may hold.
    pub limit: u64,
    /// What it holds, or why that is not known.
    pub used: std::result::Result<u64, String>,
    /// Why nothing keeps it from holding more.
    pub unenforced: Option<String>,
}

/// Which apps are over their limits, and have been told.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeSet<AppId>>);

impl Told {
    /// Whether the app is over its limit and was not before. What has not been measured to its end may be over it still.
    fn crosses(&self, app: AppId, found: Measured, limit: u64) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.bytes > limit {
            return told.insert(app);
        }
        if found.complete {
            told.remove(&app);
        }
        false
    }
}

/// Whether what is more than a limit is refused in this directory; why not, if it is not.
fn ability(data: &Path) -> Ability {
    quota::ability(data)?;
    let around = data.parent().unwrap_or(data);
    match quota::project(around) {
        Ok(Some(project)) => Err(format!(
            "the file system counts all of {} under project {project} already, which airstrip leaves as it is",
            around.display()
        )),
        _ => Ok(()),
    }
}

/// Bounds what a directory may hold, if its file system can; `None` lifts the bound. Gives the project that is still to be counted.
fn bound(data: &Path, bytes: Option<u64>) -> Done<Option<u32>> {
    if ability(data).is_err() {
        return Ok(None);
    }
    let project = match bytes {
        Some(_) => Some(quota::take(data, &PROJECTS)?),
        None => own_project(data)?,
    };
    if let Some(project) = project {
        quota::limit(data, project, bytes)?;
    }
    Ok(project.filter(|_| bytes.is_some()))
}

fn own_project(data: &Path) -> Done<Option<u32>> {
    Ok(quota::project(data)?.filter(|project| PROJECTS.contains(project)))
}

/// What a directory holds: its file system knows, or `enough` says when to end looking.
fn look(data: &Path, enough: impl FnMut(u64) -> bool) -> Done<Measured> {
    let project = if ability(data).is_ok() { own_project(data)? } else { None };
    match project {
        Some(project) => Ok(Measured { bytes: quota::used(data, project)?, complete: true }),
        None => quota::measure(data, enough),
    }
}

impl Platform {
    /// Has the file system of an app's `data/` refuse what is more than `limit`, if it can. What is in it already counts.
    pub async fn bound_data(&self, app: &App, limit: Option<u64>) -> Result<()> {
        self.bound_directory(app, self.home.app(&app.name).data(), limit).await
    }

    /// The same for a directory that is to take the place of an app's `data/`, with the limit that the app has.
    pub async fn bound_import(&self, app: &App, room: PathBuf) -> Result<()> {
        self.bound_directory(app, room, app.terms.limits.data()).await
    }

    async fn bound_directory(&self, app: &App, directory: PathBuf, limit: Option<u64>) -> Result<()> {
        let shutdown = self.shutdown.clone();
        let work = move || match bound(&directory, limit)? {
            Some(project) => quota::count(&directory, project, || shutdown.is_cancelled()),
            None => Ok(()),
        };
        blocking(work).await.map_err(|failure| {
            let remedy = format!(
                "mend that on the server and try again, or do without a limit: `resource:limit-clear {} data`",
                app.name
            );
            Failure::new(format!("data/ cannot be limited: {failure}"), remedy)
        })
    }

    /// What an app's `data/` holds and may hold; None if it has no limit.
    pub async fn data_use(&self, app: &App) -> Option<DataUse> {
        let limit = app.terms.limits.data()?;
        let (begin, data) = (Instant::now(), self.home.app(&app.name).data());
        let used = match self.look_at_data(app, limit, move |_| begin.elapsed() > ANSWER_PATIENCE).await {
            Ok(Measured { bytes, complete: true }) => Ok(bytes),
            Ok(_) => Err("that takes too long to wait for; the app's log will tell if it holds too much".to_owned()),
            Err(failure) => Err(failure.message),
        };
        Some(DataUse { limit, used, unenforced: ability(&data).err() })
    }

    /// Tells the app if it is over its limit.
    async fn look_at_data(
        &self,
        app: &App,
        limit: u64,
        mut enough: impl FnMut(u64) -> bool + Send + 'static,
    ) -> Result<Measured> {
        let (data, shutdown) = (self.home.app(&app.name).data(), self.duties.clone());
        let ended = move |bytes| shutdown.is_cancelled() || enough(bytes);
        let found = blocking(move || look(&data, ended)).await?;
        if self.told.crosses(app.id, found, limit) {
            self.note_data(app, limit)?;
        }
        Ok(found)
    }

    /// In what is shown even of an app that was never deployed.
    fn note_data(&self, app: &App, limit: u64) -> Result<()> {
        let (version, place) = (app.current.unwrap_or(Version(1)), Process { kind: "web".parse()?, number: 1 });
        logs::note(&self.home.app(&app.name), version, &place, &over(&app.name, limit));
        Ok(())
    }

    /// Has every limit hold again, because an administrator may have moved directories or changed mounts meanwhile; then looks every few
    /// minutes who is over theirs, until the server ends.
    pub async fn watch_data(self: Arc<Self>) {
        for app in self.limited() {
            if let Err(error) = self.bound_again(&app).await {
                tracing::warn!(app = %app.name, %error, "limiting data/");
            }
        }
        loop {
            for app in self.limited() {
                let (begin, limit) = (Instant::now(), app.terms.limits.data().unwrap_or(u64::MAX));
                let enough = move |bytes| bytes > limit || begin.elapsed() > ROUND_PATIENCE;
                if let Err(error) = self.look_at_data(&app, limit, enough).await {
                    tracing::warn!(app = %app.name, %error, "measuring data/");
                }
            }
            if self.duties.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    /// Counting may take long: it keeps nobody from changing the app.
    async fn bound_again(&self, app: &App) -> Result<()> {
        let changes = self.formations.of(app.id).changes.clone();
        let Some(Ok(turn)) = self.duties.run_until_cancelled(changes.acquire_owned()).await else { return Ok(()) };
        let Some(app) = self.store.app_by_id(app.id)? else { return Ok(()) };
        let (data, limit) = (self.home.app(&app.name).data(), app.terms.limits.data());
        let bounded = data.clone();
        let project = blocking(move || bound(&bounded, limit)).await?;
        drop(turn);
        let shutdown = self.duties.clone();
        let Some(project) = project else { return Ok(()) };
        blocking(move || quota::count(&data, project, || shutdown.is_cancelled())).await
    }

    fn limited(&self) -> Vec<App> {
        let apps = self.store.apps().unwrap_or_else(|error| {
            tracing::error!(%error, "reading the limits of data/");
            Vec::new()
        });
        apps.into_iter().filter(|app| !app.destroying && app.terms.limits.data().is_some()).collect()
    }
}

/// What an app that is over its limit is told.
pub fn over(app: &AppName, limit: u64) -> String {
    let (limit, more) = (show_bytes(limit), show_bytes(limit.saturating_mul(2)));
    format!(
        "data/ holds more than its limit of {limit}; remove something, or, if it really needs more: `resource:limit {app} {}={more}`",
        Resource::Data
    )
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Done<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| Failure::plain(error.to_string()))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_told_once_for_each_time_that_it_comes_to_hold_too_much() {
        let (told, app) = (Told::default(), AppId(3));
        let table = [
            (100, true, false),
            (101, false, true),
            (102, true, false),
            // It may hold more than was found.
            (50, false, false),
            (101, true, false),
            (99, true, false),
            (101, true, true),
        ];
        for (bytes, complete, expected) in table {
            assert_eq!(told.crosses(app, Measured { bytes, complete }, 100), expected, "{bytes} {complete}");
        }
        assert!(told.crosses(AppId(4), Measured { bytes: 101, complete: true }, 100));
    }

    #[test]
    fn what_to_do_is_said() {
        let said = over(&"blog".parse().unwrap(), 1 << 30);
        assert!(said.contains("its limit of 1G") && said.ends_with("`resource:limit blog data=2G`"), "{said}");
    }
}
