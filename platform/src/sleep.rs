//! Apps that sleep (`ps:sleep`): web instances of an app without requests are frozen, after as long again stopped; the next request
//! wakes them, and waits meanwhile.
//!
//! One task watches, and it alone decides. Of a sleeping app the store has no more than that it sleeps: how deep, is how many of its
//! web instances are there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::change::Leave;
use crate::failure::Result;
use crate::keeper::Place;
use crate::logs;
use crate::nap::{Depth, Idle, Nap, Visit};
use crate::platform::Platform;
use crate::store::{App, AppId};

/// How often it is looked whether an app has anything to do.
const LOOK: Duration = Duration::from_millis(500);
/// How long freezing may take.
const FREEZING: Duration = Duration::from_secs(10);

/// Those apps that are set to sleep.
type Watched = HashMap<AppId, Idle>;

/// Lets apps fall asleep and wakes them, until the server ends.
pub async fn watch(platform: Arc<Platform>) {
    let mut watched = Watched::new();
    loop {
        for (app, nap) in platform.naps.asleep() {
            // Whoever has the turn calls again if it is still so then.
            if nap.turn.try_lock().is_ok() && nap.is_busy(&platform.traffic.meter(app)) {
                platform.tasks.spawn(wake(platform.clone(), app));
            }
        }
        if let Err(error) = platform.look(&mut watched) {
            tracing::warn!(%error, "looking which apps may sleep");
        }
        let called = platform.naps.called.notified();
        let pause = async {
            if watched.is_empty() {
                called.await;
            } else {
                let _called_or_time_to_look = timeout(LOOK, called).await;
            }
        };
        if platform.duties.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

impl Platform {
    /// Has apps fall asleep, or deeper, for which it is time.
    fn look(self: &Arc<Self>, watched: &mut Watched) -> Result<()> {
        let apps = self.store.apps()?;
        let sleepers: HashMap<AppId, Duration> =
            apps.iter().filter(|app| !app.stopped).filter_map(|app| Some((app.id, app.sleep_after()?))).collect();
        watched.retain(|app, _| sleepers.contains_key(app));
        for (app, after) in sleepers {
            let (nap, now) = (self.naps.of(app), Instant::now());
            let mut seen = nap.activity(&self.traffic.meter(app));
            // A daemon that this one replaced may still be answering for it, and could not wake it.
            seen.busy |= !self.alone.is_cancelled();
            let idle = watched.entry(app).or_insert_with(|| Idle::new(seen, now));
            let depth = idle.look(seen, now, after);
            if depth > self.depth_of(app, &nap) {
                let platform = self.clone();
                self.tasks.spawn(async move {
                    platform.fall_asleep(app, &nap, depth).await;
                    if nap.is_asleep() && nap.is_busy(&platform.traffic.meter(app)) {
                        platform.naps.called.notify_one();
                    }
                });
            }
        }
        Ok(())
    }

    fn depth_of(&self, app: AppId, nap: &Nap) -> Depth {
        let running = |place: &Arc<Place>| place.is_web() && place.occupancy().instance.is_some();
        if !nap.is_asleep() {
            return Depth::Awake;
        }
        if self.formations.of(app).places().iter().any(running) { Depth::Frozen } else { Depth::Stopped }
    }

    /// Not while something about the app is being changed, which makes it awake anyway.
    async fn fall_asleep(self: &Arc<Self>, id: AppId, nap: &Nap, depth: Depth) {
        let (Ok(_turn), formation) = (nap.turn.try_lock(), self.formations.of(id)) else { return };
        let Ok(_change) = formation.changes.clone().try_acquire_owned() else { return };
        let app = self.store.app_by_id(id).ok().flatten();
        let Some(app) = app.filter(|app| app.sleep_after().is_some() && !app.stopped && !app.destroying) else {
            return;
        };
        let webs: Vec<Arc<Place>> = formation
            .places()
            .into_iter()
            .filter(|place| place.occupancy().instance.is_some() && place.is_web())
            .collect();
        if webs.is_empty() || !nap.begin(&self.traffic.meter(id)) {
            return;
        }
        self.note_asleep(&app, true);
        if depth == Depth::Frozen && self.freeze(&webs).await {
            note(&webs, "asleep: frozen until the next request");
            return;
        }
        note(&webs, "asleep: stopped until the next request");
        let asleep = webs.iter().map(|place| Place::asleep(place.release.clone(), place.process.clone())).collect();
        let stopped = formation.replace(self, &[], asleep);
        self.route_of(id);
        let (platform, leave) = (self.clone(), Leave::soon(&formation));
        self.tasks.spawn(self.endings.track_future(async move { platform.retire(stopped, leave).await }));
    }

    /// False if this machine, or what they run in, cannot.
    async fn freeze(&self, webs: &[Arc<Place>]) -> bool {
        for instance in webs.iter().filter_map(|place| place.occupancy().instance) {
            match timeout(FREEZING, self.engine.freeze(&instance.id)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::info!(instance = %instance.id, %error, "not frozen");
                    return false;
                }
                Err(_late) => return false,
            }
        }
        true
    }

    async fn thaw_webs(&self, id: AppId) {
        for place in self.formations.of(id).places().iter().filter(|place| place.is_web()) {
            let Some(instance) = place.occupancy().instance else { continue };
            // Its keeper sees if it has ended.
            if let Err(error) = self.engine.thaw(&instance.id).await {
                tracing::debug!(instance = %instance.id, %error, "thawing");
            }
        }
    }

    /// For somebody who goes inside: what is frozen goes on. The app does not fall asleep until the visit is over.
    pub async fn rouse(self: &Arc<Self>, app: AppId) -> Visit {
        let visit = self.naps.of(app).visit();
        let frozen = self.formations.of(app).places().iter().any(|place| place.is_web() && !place.is_asleep());
        if frozen {
            wake(self.clone(), app).await;
        }
        visit
    }

    /// Before what runs is changed: what is frozen goes on, and so can take requests and be stopped. What is stopped stays so.
    pub async fn thaw_sleeper(&self, app: AppId) {
        let nap = self.naps.of(app);
        let _turn = nap.turn.lock().await;
        if nap.is_asleep() {
            self.thaw_webs(app).await;
        }
    }

    /// After what runs was changed, an app is awake.
    pub fn note_awake(&self, app: &App) {
        if self.naps.of(app.id).changed() {
            self.note_asleep(app, false);
        }
    }

    /// Another server is to take over, and this one to go on answering: it could not wake what is frozen. Once this one has ended the
    /// other lets it sleep again, when it is time.
    pub async fn thaw_sleepers(&self) {
        for (app, _) in self.naps.asleep() {
            self.thaw_sleeper(app).await;
        }
    }

    /// Changes after how many seconds without requests an app sleeps; None: never, and if it does, it wakes.
    pub async fn set_sleep(self: &Arc<Self>, app: &App, seconds: Option<u32>) -> Result<()> {
        self.store.set_sleep(app.id, seconds)?;
        if seconds.is_none() {
            wake(self.clone(), app.id).await;
        }
        self.route_of(app.id);
        self.naps.called.notify_one();
        Ok(())
    }

    fn note_asleep(&self, app: &App, asleep: bool) {
        if let Err(error) = self.store.note_asleep(app.id, asleep) {
            tracing::warn!(app = %app.name, %error, "noting whether it sleeps");
        }
    }
}

/// Wakes an app, if it sleeps.
pub async fn wake(platform: Arc<Platform>, id: AppId) {
    let nap = platform.naps.of(id);
    let _turn = nap.turn.lock().await;
    let Ok(Some(app)) = platform.store.app_by_id(id) else { return };
    if !nap.is_asleep() || app.stopped {
        return;
    }
    platform.thaw_webs(id).await;
    for place in platform.formations.of(id).places() {
        place.wake();
    }
    platform.note_awake(&app);
    platform.route_of(id);
}

fn note(webs: &[Arc<Place>], text: &str) {
    for place in webs {
        logs::note(&place.release.home, place.release.version, &place.process, text);
    }
}
