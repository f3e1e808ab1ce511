//! The one deploy pipeline: build -> release -> launch -> route. (`receive` is gitd's.)
//!
//! A push and an archive enter at the top, a rollback and a change of configuration at the release: they are the same
//! steps on code and layers that exist. Until [`Store::commit_release`](crate::store::Store::commit_release) has
//! succeeded everything can be thrown away; from there on the new release is what serves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gitd::Output;

use crate::archive::ReleaseArchive;
use crate::change::{Change, Renew};
use crate::diagnosis::remedy_for_memory;
use crate::failure::{Failure, Result};
use crate::names::{ConfigKey, Version};
use crate::platform::Platform;
use crate::release::Runnable;
use crate::source::Source;
use crate::store::{App, Config, NewRelease, Release};
use crate::traffic::Fared;
use crate::turn::{PASSED, Turn};
use crate::uses::Lease;

/// What a deployment begins with.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// A tree that is to be built.
    Tree(&'a dyn Source),
    /// A release that another server has built.
    Release(&'a ReleaseArchive),
}

/// New code for an app.
pub struct Deployment<'a> {
    /// The tree, or what was made of it elsewhere.
    pub origin: Origin<'a>,
    /// Who deploys: a key's name.
    pub actor: &'a str,
    /// For the list of releases: `Deploy 1a2b3c4`.
    pub description: String,
    /// The commit, if it came by git.
    pub commit: Option<String>,
    /// The ref that moves with it.
    pub moved: Option<(String, String)>,
    /// Build from nothing.
    pub clean: bool,
    /// Build and check, release nothing.
    pub dry_run: bool,
    /// How long receiving took.
    pub receive: Duration,
}

impl Platform {
    /// Makes new code the app's next release. On failure everything is as it was.
    pub async fn deploy(self: &Arc<Self>, app: &App, deployment: &Deployment<'_>, turn: &Turn) -> Result<Version> {
        turn.end(Box::pin(self.build_and_release(app, deployment, turn)).await)
    }

    async fn build_and_release(
        self: &Arc<Self>,
        app: &App,
        deployment: &Deployment<'_>,
        turn: &Turn,
    ) -> Result<Version> {
        let (phases, output) = (Phases::new(deployment.receive), turn.output());
        let _layers = self.uses.layers().await;
        let built = match deployment.origin {
            Origin::Tree(source) => Box::pin(self.build(app, deployment, source, output)).await,
            Origin::Release(archive) => self.unpack_release(app, archive, output).await,
        };
        let built = built.map_err(|failure| deployment.told(failure))?;
        phases.end("build");
        if deployment.dry_run {
            return Err(Failure::plain(PASSED));
        }
        let (app, _change) = &self.begin_change(app, output).await?;
        let version = self.store.next_version(app.id)?;
        let directory = built.keep_as(&self.home.app(&app.name).release(version))?;
        let config = self.store.config(app.id)?;
        let synced = directory.sync();
        let keep = async {
            synced.await?;
            turn.keep()?;
            match deployment.origin {
                Origin::Tree(source) => tokio::task::block_in_place(|| source.keep()),
                Origin::Release(_) => Ok(()),
            }
        };
        let result = self.release(app, deployment.release(version, config), &phases, output, keep).await;
        if result.is_err() {
            directory.discard();
        }
        result
    }

    /// Makes the code and configuration of an earlier release the next one; None: of the release before the one whose content runs.
    pub async fn rollback(
        self: &Arc<Self>,
        app: &App,
        to: Option<Version>,
        actor: &str,
        output: &Output,
    ) -> Result<Version> {
        let (app, _change) = &self.begin_change(app, output).await?;
        let (target, _code) = self.rollback_target(app, to)?;
        let config = self.store.release_config(app.id, target.version)?;
        let row = Release::new(self.store.next_version(app.id)?, actor, format!("Rollback to {}", target.version));
        let row = Release { code: target.code, origin: target.origin, commit: target.commit, ..row };
        let new = NewRelease { release: row, config, first_scale: Vec::new(), starts: true };
        self.release(app, new, &Phases::new(Duration::ZERO), output, std::future::ready(Ok(()))).await
    }

    fn rollback_target(&self, app: &App, to: Option<Version>) -> Result<(Release, Lease)> {
        let releases = self.store.releases(app.id)?;
        let current = app.current.ok_or_else(|| Failure::no_release(&app.name))?;
        let running =
            releases.iter().find(|release| release.version == current).map_or(current, |release| release.origin);
        let found = match to {
            Some(version) => releases.into_iter().find(|release| release.version == version),
            None => releases.into_iter().find(|release| release.version < running && !release.collected),
        };
        let wanted = to.map_or_else(|| format!("release before {running}"), |version| version.to_string());
        let found = found.ok_or_else(|| {
            Failure::new(format!("{} has no {wanted}", app.name), format!("see `releases {}`", app.name))
        })?;
        self.leased(app, found.version)
    }

    /// Changes configuration; None removes a variable. Makes a release if there is one and `restart` is wished;
    /// otherwise it is kept for the next.
    pub async fn change_config(
        self: &Arc<Self>,
        app: &App,
        changes: &[(ConfigKey, Option<String>)],
        restart: bool,
        actor: &str,
        output: &Output,
    ) -> Result<Option<Version>> {
        let (app, _change) = &self.begin_change(app, output).await?;
        let config = changed(self.store.config(app.id)?, changes);
        let Some(current) = app.current.filter(|_| restart) else {
            self.store.set_config(app.id, &config)?;
            return Ok(None);
        };
        let current = self.store.release(app.id, current)?.ok_or_else(|| Failure::no_release(&app.name))?;
        let version = self.store.next_version(app.id)?;
        let row = Release::new(version, actor, describe(changes));
        let row = Release { code: current.code, commit: current.commit, ..row };
        let new = NewRelease { release: row, config, first_scale: Vec::new(), starts: false };
        if app.stopped {
            self.store.commit_release(app.id, &new)?;
            return Ok(Some(version));
        }
        self.release(app, new, &Phases::new(Duration::ZERO), output, std::future::ready(Ok(()))).await.map(Some)
    }

    /// Release, launch, route. `keep` makes what the release refers to permanent, at the last moment at which it can still fail.
    async fn release(
        self: &Arc<Self>,
        app: &App,
        mut new: NewRelease,
        phases: &Phases,
        output: &Output,
        keep: impl Future<Output = Result<()>> + Send,
    ) -> Result<Version> {
        let home = self.home.app(&app.name);
        let release = Arc::new(Runnable::new(app, home, new.release.version, new.release.code, new.config.clone())?);
        let scale = self.store.scale(app.id)?;
        let wanted = release.wanted(&scale);
        new.first_scale.clone_from(&wanted);
        self.run_release_command(&release, output).await?;
        phases.end("release");
        output.line("-----> Launching...").await;
        let meter = self.traffic.meter(app.id);
        let before = (app.current.is_some() && !app.stopped && !app.maintenance).then(|| meter.counts());
        let commit = async {
            phases.end("launch");
            keep.await?;
            Ok(self.store.commit_release(app.id, &new)?)
        };
        self.change(app, Change { release: release.clone(), wanted, renew: Renew::All }, output, commit).await?;
        phases.end("route");
        output.line(&phases.receipt(&release)).await;
        if release.manifest.kinds().any(|kind| kind.is_web()) {
            output.line(&format!("       {}", self.url(&release.name))).await;
        }
        let fared = before.map(|before| Fared::between(&before, &meter.counts()));
        if let Some(fared) = fared.filter(|fared| fared.any()) {
            output.line(&format!("       {fared}")).await;
        }
        Ok(new.release.version)
    }

    /// Runs the release's own `release` command, once, before anything of it starts.
    async fn run_release_command(&self, release: &Runnable, output: &Output) -> Result<()> {
        let Some(kind) = release.manifest.image.processes.iter().find(|kind| kind.name == "release") else {
            return Ok(());
        };
        output.line("-----> Running release command...").await;
        let run = self.run_to_end(release, "release.1", kind.argv.clone(), output);
        let exit = output.cancelled().run_until_cancelled(run).await.ok_or_else(|| Failure::plain("cancelled"))??;
        if exit.success() {
            return Ok(());
        }
        let starved = remedy_for_memory(exit, &release.name, "release");
        let remedy = starved.unwrap_or_else(|| "what it printed stands above; nothing was switched".to_owned());
        Err(Failure::new(format!("release command {exit}"), remedy))
    }
}

impl Deployment<'_> {
    /// A dry run's failure says that it was only that.
    fn told(&self, failure: Failure) -> Failure {
        if !self.dry_run {
            return failure;
        }
        Failure { message: format!("dry run failed: {}", failure.message), ..failure }
    }

    fn release(&self, version: Version, config: Config) -> NewRelease {
        let row = Release::new(version, self.actor, self.description.clone());
        let row = Release { moved: self.moved.clone(), commit: self.commit.clone(), ..row };
        NewRelease { release: row, config, first_scale: Vec::new(), starts: true }
    }
}

fn changed(mut config: Config, changes: &[(ConfigKey, Option<String>)]) -> Config {
    for (key, value) in changes {
        match value {
            Some(value) => config.insert(key.clone(), value.clone()),
            None => config.remove(key),
        };
    }
    config
}

/// Names only: values are secret.
fn describe(changes: &[(ConfigKey, Option<String>)]) -> String {
    let names = |set: bool| -> Vec<&str> {
        changes.iter().filter(|(_, value)| value.is_some() == set).map(|(key, _)| key.as_str()).collect()
    };
    let part = |verb: &str, names: &[&str]| (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")));
    let parts: Vec<String> = [part("Set", &names(true)), part("Unset", &names(false))].into_iter().flatten().collect();
    parts.join("; ")
}

/// How long each phase of a deploy took.
#[derive(Debug)]
struct Phases {
    clock: Mutex<Clock>,
}

#[derive(Debug)]
struct Clock {
    ended: Vec<(&'static str, Duration)>,
    since: Instant,
}

impl Phases {
    fn new(receive: Duration) -> Self {
        let ended = if receive.is_zero() { Vec::new() } else { vec![("receive", receive)] };
        Self { clock: Mutex::new(Clock { ended, since: Instant::now() }) }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, phase: &'static str) {
        let mut clock = self.clock();
        let took = clock.since.elapsed();
        clock.ended.push((phase, took));
        clock.since = Instant::now();
    }

    fn receipt(&self, release: &Runnable) -> String {
        let ended = &self.clock().ended;
        let total: Duration = ended.iter().map(|(_, took)| *took).sum();
        let phases: Vec<String> =
            ended.iter().map(|(phase, took)| format!("{phase} {:.2}", took.as_secs_f64())).collect();
        format!(
            "=====> {} {} is live in {:.2}s ({})",
            release.name,
            release.version,
            total.as_secs_f64(),
            phases.join("  ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_name_variables_and_never_values() {
        let changes = [
            ("A".parse().unwrap(), Some("secret".to_owned())),
            ("B".parse().unwrap(), None),
            ("C".parse().unwrap(), Some(String::new())),
        ];
        assert_eq!(describe(&changes), "Set A, C; Unset B");
    }
}
