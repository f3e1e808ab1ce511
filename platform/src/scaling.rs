//! What users ask of an app's processes: restart, scale, stop, start.

use std::fmt;
use std::sync::Arc;

use gitd::Output;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::change::{Change, Renew};
use crate::failure::{Failure, Result};
use crate::names::{ProcessType, Selector, Version};
use crate::plan::places;
use crate::platform::Platform;
use crate::release::Runnable;
use crate::store::{App, Release, Scale};
use crate::uses::Lease;

impl Platform {
    /// Replaces instances by new ones of the same release.
    pub async fn restart(self: &Arc<Self>, app: &App, which: Option<&Selector>, output: &Output) -> Result<()> {
        let (app, _turn) = &self.begin_change(app, output).await?;
        let (release, wanted) = self.desired(app)?;
        if let Some(which) = which {
            let known = wanted.iter().flat_map(places).any(|process| which.matches(&process));
            known.then_some(()).ok_or_else(|| no_such_process(app, which))?;
        }
        let renew = which.cloned().map_or(Renew::All, Renew::Only);
        output
            .line(&format!("-----> Restarting {}", which.map_or_else(|| app.name.to_string(), ToString::to_string)))
            .await;
        self.change(app, Change { release, wanted, renew }, output, async { self.set_started(app) }).await
    }

    /// Changes how many instances of some types run.
    pub async fn scale(self: &Arc<Self>, app: &App, wanted: &[(ProcessType, u32)], output: &Output) -> Result<()> {
        let (app, _turn) = &self.begin_change(app, output).await?;
        if app.current.is_none() {
            return Ok(self.store.set_scale(app.id, wanted)?);
        }
        let (release, mut all) = self.desired(app)?;
        for (kind, count) in wanted {
            let entry = all.iter_mut().find(|(known, _)| known == kind);
            entry.ok_or_else(|| no_such_process(app, kind))?.1 = *count;
        }
        let commit = async { Ok(self.store.set_scale(app.id, wanted)?) };
        if app.stopped {
            return commit.await;
        }
        output.line(&format!("-----> Scaling {}", app.name)).await;
        self.change(app, Change { release, wanted: all, renew: Renew::Nothing }, output, commit).await
    }

    /// Ends every instance, until [`Platform::start`] or the next deploy.
    pub async fn stop(self: &Arc<Self>, app: &App, output: &Output) -> Result<()> {
        let (app, _turn) = &self.begin_change(app, output).await?;
        self.store.set_stopped(app.id, true)?;
        self.empty(app.id).await;
        self.note_awake(app);
        Ok(())
    }

    /// Starts what `ps:stop` stopped.
    pub async fn start(self: &Arc<Self>, app: &App, output: &Output) -> Result<()> {
        let (app, _turn) = &self.begin_change(app, output).await?;
        let (release, wanted) = self.desired(app)?;
        self.change(app, Change { release, wanted, renew: Renew::Nothing }, output, async { self.set_started(app) })
            .await
    }

    fn set_started(&self, app: &App) -> Result<()> {
        if app.stopped { Ok(self.store.set_stopped(app.id, false)?) } else { Ok(()) }
    }

    /// Waits until nobody else changes what runs of an app. Gives the app as it is then: it may have been renamed, or be gone.
    pub async fn begin_change(&self, app: &App, output: &Output) -> Result<(App, OwnedSemaphorePermit)> {
        let turn = self.turn(&self.formations.of(app.id).changes, output).await?;
        Ok((self.as_it_is(app)?, turn))
    }

    /// An app after something was waited for: it may have been renamed, or be gone.
    pub fn as_it_is(&self, app: &App) -> Result<App> {
        let now = self.store.app_by_id(app.id)?.filter(|app| !app.destroying);
        now.ok_or_else(|| Failure::no_app(app.name.as_str()))
    }

    /// Waits for a permit; says so if another holds it.
    async fn turn(&self, semaphore: &Arc<Semaphore>, output: &Output) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = semaphore.clone().try_acquire_owned() {
            return Ok(permit);
        }
        output.line("-----> Waiting for another change of this app to finish").await;
        match output.cancelled().run_until_cancelled(semaphore.clone().acquire_owned()).await {
            Some(Ok(permit)) => Ok(permit),
            _ => Err(Failure::plain("cancelled while waiting")),
        }
    }

    /// The current release and how many instances of each type it is to have.
    pub fn desired(&self, app: &App) -> Result<(Arc<Runnable>, Scale)> {
        let release = Arc::new(self.current(app)?);
        let wanted = release.wanted(&self.store.scale(app.id)?);
        Ok((release, wanted))
    }

    /// A release of this app that has its code.
    pub fn release_of(&self, app: &App, version: Version) -> Result<Release> {
        let none = || Failure::new(format!("{} has no {version}", app.name), format!("see `releases {}`", app.name));
        let release = self.store.release(app.id, version)?.ok_or_else(none)?;
        if release.collected {
            let remedy = format!("push that commit again; `releases:keep {} N` keeps more builds", app.name);
            return Err(Failure::new(format!("the code of {} {version} has been removed", app.name), remedy));
        }
        Ok(release)
    }

    /// The same, and its code stays for as long as the lease.
    pub fn leased(&self, app: &App, version: Version) -> Result<(Release, Lease)> {
        let lease = self.uses.lease(app.id, self.release_of(app, version)?.code);
        // It may have been taken away in the moment before.
        Ok((self.release_of(app, version)?, lease))
    }

    /// The current release.
    pub fn current(&self, app: &App) -> Result<Runnable> {
        let version = app.current.ok_or_else(|| Failure::no_release(&app.name))?;
        let release = self.store.release(app.id, version)?.ok_or_else(|| Failure::no_release(&app.name))?;
        Runnable::load(&self.store, app, self.home.app(&app.name), &release)
    }

    /// The process types of the current release.
    pub fn process_types(&self, app: &App) -> Result<Vec<builder::ProcessType>> {
        Ok(self.current(app)?.manifest.image.processes)
    }
}

fn no_such_process(app: &App, what: impl fmt::Display) -> Failure {
    Failure::new(format!("{} has no process {what}", app.name), format!("see `ps {}` for those it has", app.name))
}
