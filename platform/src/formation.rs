//! What runs of every app: places, each with a task that keeps it filled.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::change::Leave;
use crate::instance::Instance;
use crate::keeper::{Place, keep};
use crate::line::Line;
use crate::names::{Process, Version};
use crate::platform::Platform;
use crate::release::Runnable;
use crate::store::{App, AppId};

/// What runs of every app.
#[derive(Debug, Default)]
pub struct Formations {
    apps: Mutex<HashMap<AppId, Arc<Formation>>>,
}

/// What runs of one app.
#[derive(Debug)]
pub struct Formation {
    /// One build at a time.
    pub builds: Arc<Line>,
    /// One change of what runs at a time.
    pub changes: Arc<Semaphore>,
    kept: Mutex<BTreeMap<Process, Kept>>,
    /// Cancelled, and made anew, when upgraded connections to what was replaced, and streams of events, are to end.
    hurry: Mutex<CancellationToken>,
}

/// A place and the task that keeps it filled.
#[derive(Debug)]
pub struct Kept {
    /// What it keeps filled.
    pub place: Arc<Place>,
    /// Ends the task, not the instance.
    pub stop: CancellationToken,
    /// The task.
    pub keeper: JoinHandle<()>,
}

/// Whether an instance runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// Not healthy yet.
    Starting,
    /// Healthy.
    Up,
    /// Died, about to be started again.
    Restarting,
    /// Died too often; tried again slowly.
    Crashed,
    /// Frozen or stopped until the next request.
    Asleep,
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Restarting => "restarting",
            Self::Crashed => "crashed",
            Self::Asleep => "asleep",
        })
    }
}

/// One line of `ps`.
#[derive(Debug, Clone)]
pub struct InstanceView {
    /// Its place.
    pub process: Process,
    /// Whether it runs.
    pub state: InstanceState,
    /// Since when.
    pub since: jiff::Timestamp,
    /// Of which release.
    pub release: Version,
    /// Its first process, as seen from the host.
    pub pid: Option<u32>,
    /// How often it was restarted after a death.
    pub restarts: u32,
    /// What it runs.
    pub command: String,
}

impl Formations {
    /// An app's formation, made empty at the first call.
    pub fn of(&self, app: AppId) -> Arc<Formation> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        apps.entry(app).or_default().clone()
    }

    /// Every app that has one.
    fn all(&self) -> Vec<(AppId, Arc<Formation>)> {
        self.apps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(id, formation)| (*id, formation.clone()))
            .collect()
    }

    /// Has upgraded connections to what was replaced so far end, of every app.
    pub fn close_upgraded(&self) {
        self.all().iter().for_each(|(_, formation)| formation.close_upgraded());
    }

    /// Forgets an app's formation.
    pub fn remove(&self, app: AppId) {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner).remove(&app);
    }
}

impl Default for Formation {
    fn default() -> Self {
        Self {
            builds: Arc::default(),
            changes: Arc::new(Semaphore::new(1)),
            kept: Mutex::default(),
            hurry: Mutex::default(),
        }
    }
}

impl Formation {
    /// Every place, in order.
    pub fn places(&self) -> Vec<Arc<Place>> {
        self.kept().values().map(|kept| kept.place.clone()).collect()
    }

    /// For those who retire something now.
    pub fn hurry(&self) -> CancellationToken {
        self.hurry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has upgraded connections to what was replaced so far end.
    pub fn close_upgraded(&self) {
        std::mem::take(&mut *self.hurry.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Process, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes places out and puts others in, as one step; gives back what was taken out or replaced.
    pub fn replace(&self, platform: &Arc<Platform>, retire: &[Process], fresh: Vec<Place>) -> Vec<Kept> {
        let mut kept = self.kept();
        let mut retired: Vec<Kept> = retire.iter().filter_map(|process| kept.remove(process)).collect();
        for place in fresh {
            retired.extend(kept.insert(place.process.clone(), platform.start_keeping(place)));
        }
        retired
    }
}

impl Platform {
    fn start_keeping(self: &Arc<Self>, place: Place) -> Kept {
        let (place, stop) = (Arc::new(place), self.duties.child_token());
        let keeper = self.tasks.spawn(keep(self.clone(), place.clone(), stop.clone()));
        Kept { place, stop, keeper }
    }

    /// Takes up an instance that an earlier daemon started.
    pub fn adopt(self: &Arc<Self>, release: &Arc<Runnable>, instance: Instance) {
        self.formations.of(release.app).replace(self, &[], vec![Place::filled(release.clone(), instance)]);
    }

    /// Fills a place in the background.
    pub fn fill(self: &Arc<Self>, release: &Arc<Runnable>, process: Process) {
        self.formations.of(release.app).replace(self, &[], vec![Place::empty(release.clone(), process)]);
    }

    /// Ends every instance of an app and waits for it.
    pub async fn empty(self: &Arc<Self>, app: AppId) {
        let formation = self.formations.of(app);
        let kept: Vec<Kept> = std::mem::take(&mut *formation.kept()).into_values().collect();
        self.route_of(app);
        formation.close_upgraded();
        self.retire(kept, Leave::soon(&formation)).await;
    }

    /// Ends every instance of every app, and lets none start any more: the server is to end next. What is wanted stays as
    /// it is, so that the next start launches it again.
    pub async fn stop_all(self: &Arc<Self>) {
        let formations = self.formations.all();
        let ends = formations.iter().map(|(app, formation)| async move {
            // Held to the end of the server: nothing may be started after this.
            if let Ok(permit) = formation.changes.acquire().await {
                permit.forget();
            }
            self.empty(*app).await;
        });
        futures_util::future::join_all(ends).await;
    }

    /// What a place's state is to users: whoever is frozen is up, and asleep.
    pub fn state_of(&self, place: &Place) -> InstanceState {
        let state = place.occupancy().state;
        let asleep = state == InstanceState::Up && place.is_web() && self.naps.of(place.release.app).is_asleep();
        if asleep { InstanceState::Asleep } else { state }
    }

    /// What runs of an app.
    pub async fn instances(&self, app: &App) -> Vec<InstanceView> {
        let listed = self.engine.list().await.unwrap_or_default();
        let pid = |instance: &Instance| listed.iter().find(|one| one.id == instance.id).and_then(|one| one.pid);
        let view = |place: Arc<Place>| {
            let now = place.occupancy();
            let command = place.release.manifest.process(&place.process.kind).map(|kind| kind.command.clone());
            InstanceView {
                process: place.process.clone(),
                state: self.state_of(&place),
                since: now.since,
                release: place.release.version,
                pid: now.instance.as_ref().and_then(pid),
                restarts: now.restarts,
                command: command.unwrap_or_default(),
            }
        };
        self.formations.of(app.id).places().into_iter().map(view).collect()
    }
}
