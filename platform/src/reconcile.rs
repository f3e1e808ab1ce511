//! Makes what is there agree with what is true, at start: finishes what a crash interrupted, removes what it left,
//! takes up instances that still run, and starts what is missing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{EngineError, InstanceId, Listed};
use gitd::Repository;

use crate::build::IN_PROGRESS;
use crate::collect::GONE;
use crate::failure::{Failure, Result};
use crate::instance::{Instance, Labels};
use crate::keeper::Place;
use crate::names::{Process, Version};
use crate::plan::places;
use crate::platform::Platform;
use crate::release::Runnable;
use crate::store::App;

/// How long an instance that should not run has to end.
const GRACE: Duration = Duration::from_secs(30);

impl Platform {
    /// Brings every app into order. One app's trouble does not keep the others from serving.
    pub async fn reconcile(self: &Arc<Self>) -> Result<()> {
        self.store.interrupt_builds()?;
        let listed = self.engine.list().await?;
        let mut taken = BTreeSet::new();
        for app in self.store.apps()? {
            match self.tidy(&app).and_then(|gone| if gone { Ok(Vec::new()) } else { self.take_up(&app, &listed) }) {
                Ok(instances) => taken.extend(instances),
                Err(error) => tracing::error!(app = %app.name, %error, "cannot be brought into order"),
            }
            self.route_of(app.id);
        }
        for other in listed.into_iter().filter(|one| !taken.contains(&one.id)) {
            self.end_stray(other);
        }
        Ok(())
    }

    /// Finishes what was interrupted and removes what was left over. True if the app is gone now.
    fn tidy(&self, app: &App) -> Result<bool> {
        if app.destroying {
            self.finish_destroy(app)?;
            return Ok(true);
        }
        self.finish_rename(app)?;
        self.make_app_home(app)?;
        self.remove_leftovers(app)?;
        remove_asides_of(self.home.app(&app.name).root()).map_err(|e| Failure::io(&app.name, &e))?;
        self.repair_ref(app)?;
        if let Some(branch) = &app.deploy_branch {
            self.show_branch(app, branch);
        }
        Ok(false)
    }

    /// Directories of builds that did not end, and of releases that never became true or are true no more.
    fn remove_leftovers(&self, app: &App) -> Result<()> {
        let releases = self.home.app(&app.name).releases();
        let known: BTreeSet<Version> = self
            .store
            .releases(app.id)?
            .iter()
            .filter(|release| !release.collected)
            .map(|release| release.code)
            .collect();
        let failed = |e: std::io::Error| Failure::io(releases.display(), &e);
        for entry in std::fs::read_dir(&releases).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let unknown = name.parse::<Version>().is_ok_and(|version| !known.contains(&version));
            if name.starts_with(IN_PROGRESS) || name.starts_with(GONE) || unknown {
                std::fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The ref follows the release: a crash between the two is mended here.
    fn repair_ref(&self, app: &App) -> Result<()> {
        let repository = Repository::open(&self.home.app(&app.name).repository())?;
        let releases = self.store.releases(app.id)?;
        let Some((name, commit)) = releases.into_iter().find_map(|release| release.moved) else { return Ok(()) };
        let commit: gitd::ObjectId = commit.parse().map_err(|_| Failure::plain(format!("{commit} is not a commit")))?;
        if repository.find_ref(&name)? != Some(commit) {
            tracing::warn!(app = %app.name, name, %commit, "moving the ref to its release");
            repository.set_ref(&name, Some(commit))?;
        }
        Ok(())
    }

    /// Takes up the instances that should run and do, starts those that do not; gives the ones taken up.
    fn take_up(self: &Arc<Self>, app: &App, listed: &[Listed]) -> Result<Vec<InstanceId>> {
        if app.current.is_none() || app.stopped {
            return Ok(Vec::new());
        }
        let (release, wanted) = self.desired(app)?;
        let wanted: Vec<Process> = wanted.iter().flat_map(places).collect();
        let found = |process: &Process| listed.iter().find_map(|one| self.running_at(one, &release, process));
        let runs = wanted.iter().any(|process| process.kind.is_web() && found(process).is_some());
        let sleeps = self.sleeps_on(app, runs)?;
        let mut taken = Vec::new();
        for process in wanted {
            let asleep = sleeps && process.kind.is_web();
            match found(&process) {
                Some(instance) => {
                    taken.push(instance.id.clone());
                    if !asleep {
                        self.thaw(instance.id.clone());
                    }
                    self.adopt(&release, instance);
                }
                None if asleep => {
                    let place = Place::asleep(release.clone(), process);
                    self.formations.of(app.id).replace(self, &[], vec![place]);
                }
                None => self.fill(&release, process),
            }
        }
        Ok(taken)
    }

    /// Whether an app goes on sleeping. What was frozen does not if this daemon replaces another, which has thawed it because it may be
    /// answering for it.
    fn sleeps_on(&self, app: &App, runs: bool) -> Result<bool> {
        let thawed = runs && !self.alone.is_cancelled();
        if app.asleep && thawed {
            self.store.note_asleep(app.id, false)?;
        }
        let sleeps = app.asleep && !thawed;
        self.naps.of(app.id).set(sleeps);
        Ok(sleeps)
    }

    /// Whoever froze it is gone. In the background: a shim that hangs keeps nothing else from starting.
    fn thaw(self: &Arc<Self>, id: InstanceId) {
        let platform = self.clone();
        self.tasks.spawn(async move {
            match platform.engine.thaw(&id).await {
                // Its keeper sees that, too.
                Ok(()) | Err(EngineError::NotRunning(_)) => {}
                Err(error) => tracing::warn!(instance = %id, %error, "thawing"),
            }
        });
    }

    fn running_at(&self, listed: &Listed, release: &Runnable, process: &Process) -> Option<Instance> {
        let labels = Labels::from_text(&listed.labels)?;
        let terms = release.terms.of(process.kind.as_str());
        let same = (labels.app, labels.version, &labels.process) == (release.app.0, release.version, process);
        let fits = same && labels.terms.as_ref().is_none_or(|known| *known == terms);
        let started = jiff::Timestamp::from_millisecond(i64::try_from(listed.started_at_ms).ok()?).ok()?;
        (fits && listed.exit.is_none()).then(|| self.instance(listed.id.clone(), labels, started))
    }

    /// Ends what should not run, in the background.
    fn end_stray(self: &Arc<Self>, listed: Listed) {
        let platform = self.clone();
        self.tasks.spawn(self.endings.track_future(async move {
            tracing::info!(instance = %listed.id, "ending what should not run");
            if listed.exit.is_none()
                && let Err(error) = platform.engine.stop(&listed.id, GRACE).await
            {
                tracing::warn!(instance = %listed.id, %error, "stopping");
            }
            if let Err(error) = platform.engine.remove(&listed.id).await {
                tracing::warn!(instance = %listed.id, %error, "removing");
            }
        }));
    }
}

/// Removes what an import of data left (what it had received, or what it had replaced), and a cache on its way out.
fn remove_asides_of(app: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(app)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(crate::data::IN_PROGRESS) || name.starts_with(GONE) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Removes what interrupted work left in the store of layers and among the tools.
pub fn remove_asides(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            builder::store::remove(&entry.path())?;
        }
    }
    Ok(())
}
