//! Keeps one place of an app (`web.1`) filled: when its instance dies, starts another, with growing pauses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::diagnosis::{behind_shell, remedy_for_memory};
use crate::formation::InstanceState;
use crate::instance::Instance;
use crate::logs;
use crate::names::Process;
use crate::platform::Platform;
use crate::release::Runnable;

/// A web instance that died sooner than this after its first answer died quickly.
const QUICK_WEB: Duration = Duration::from_secs(3);
/// Any other that lived shorter than this: nobody knows when it was done with starting.
const QUICK: Duration = Duration::from_secs(10);
/// So many quick deaths in a row are a crash.
const CRASHED_AFTER: u32 = 5;
/// The pause before another try of what has crashed.
const CRASHED_PAUSE: Duration = Duration::from_secs(60);

/// One place and what fills it, as seen by everybody.
#[derive(Debug)]
pub struct Place {
    /// `web.1`.
    pub process: Process,
    /// What is to run there.
    pub release: Arc<Runnable>,
    now: Mutex<Occupancy>,
    woken: Notify,
}

/// What fills a place at this moment.
#[derive(Debug, Clone)]
pub struct Occupancy {
    /// Whether it runs.
    pub state: InstanceState,
    /// Since when.
    pub since: jiff::Timestamp,
    /// The instance, while there is one.
    pub instance: Option<Instance>,
    /// How often it was restarted after a death.
    pub restarts: u32,
}

impl Place {
    /// A place filled by a healthy instance.
    pub fn filled(release: Arc<Runnable>, instance: Instance) -> Self {
        let now = Occupancy {
            state: InstanceState::Up,
            since: instance.started,
            restarts: 0,
            instance: Some(instance.clone()),
        };
        Self { process: instance.labels.process, release, now: Mutex::new(now), woken: Notify::new() }
    }

    /// A place that is to be filled.
    pub fn empty(release: Arc<Runnable>, process: Process) -> Self {
        Self::without(InstanceState::Starting, release, process)
    }

    /// A place that is to be filled once it is woken.
    pub fn asleep(release: Arc<Runnable>, process: Process) -> Self {
        Self::without(InstanceState::Asleep, release, process)
    }

    fn without(state: InstanceState, release: Arc<Runnable>, process: Process) -> Self {
        let now = Occupancy { state, since: jiff::Timestamp::now(), restarts: 0, instance: None };
        Self { process, release, now: Mutex::new(now), woken: Notify::new() }
    }

    /// Whether it is of the web process.
    pub fn is_web(&self) -> bool {
        self.process.kind.is_web()
    }

    /// Whether it is empty until it is woken.
    pub fn is_asleep(&self) -> bool {
        self.now().state == InstanceState::Asleep
    }

    /// Has it filled, if it sleeps.
    pub fn wake(&self) {
        let mut now = self.now();
        if now.state == InstanceState::Asleep {
            now.state = InstanceState::Starting;
            now.since = jiff::Timestamp::now();
            self.woken.notify_one();
        }
    }

    /// What fills it now.
    pub fn occupancy(&self) -> Occupancy {
        self.now().clone()
    }

    fn now(&self) -> MutexGuard<'_, Occupancy> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, instance: Instance) {
        let mut now = self.now();
        now.state = InstanceState::Up;
        now.since = instance.started;
        now.instance = Some(instance);
    }

    fn clear(&self, state: InstanceState) {
        let mut now = self.now();
        now.state = state;
        now.since = jiff::Timestamp::now();
        now.instance = None;
        now.restarts += 1;
    }
}

/// Keeps `place` filled until `stop`; what fills it then goes on running.
pub async fn keep(platform: Arc<Platform>, place: Arc<Place>, stop: CancellationToken) {
    let mut deaths = 0;
    if place.is_asleep() && stop.run_until_cancelled(place.woken.notified()).await.is_none() {
        return;
    }
    loop {
        if let Some(instance) = place.occupancy().instance {
            let Some(death) = watch(&platform, &place, &instance, &stop).await else { return };
            deaths = if is_quick(place.is_web(), death.lived) { deaths + 1 } else { 1 };
            note(&place, &format!("{}; {}", death.how, outlook(deaths)));
            leave(&platform, &place, &instance, deaths).await;
        }
        if stop.run_until_cancelled(tokio::time::sleep(pause(deaths))).await.is_none() {
            return;
        }
        match platform.start_instance(&place.release, &place.process, &stop).await {
            Ok(instance) => place.fill(instance),
            Err(_) if stop.is_cancelled() => return,
            Err(failed) => {
                deaths += 1;
                place.clear(state_after(deaths));
                note(&place, &format!("could not be started: {}; {}", failed.cause, outlook(deaths)));
            }
        }
        platform.route_of(place.release.app);
    }
}

/// An instance's end.
struct Death {
    lived: Duration,
    how: String,
}

/// Waits for the instance's death; None if `stop` came first.
async fn watch(platform: &Platform, place: &Place, instance: &Instance, stop: &CancellationToken) -> Option<Death> {
    // The wall clock may be set while one waits.
    let (before, begin) = (age(instance.started, jiff::Timestamp::now()), Instant::now());
    let exit = stop.run_until_cancelled(platform.engine.wait(&instance.id)).await?;
    let lived = before + begin.elapsed();
    let how = match exit {
        Ok(exit) => {
            let remedy = remedy_for_memory(exit, &place.release.name, place.process.kind.as_str());
            let remedy = remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
            format!("{} after {}{remedy}", behind_shell(exit), crate::clock::short(lived))
        }
        Err(error) => format!("lost: {error}"),
    };
    Some(Death { lived, how })
}

/// How long ago `started` was; no time at all if the clock has been set back since.
fn age(started: jiff::Timestamp, now: jiff::Timestamp) -> Duration {
    now.duration_since(started).try_into().unwrap_or_default()
}

/// Takes a dead instance out of service and forgets it.
async fn leave(platform: &Platform, place: &Place, instance: &Instance, deaths: u32) {
    place.clear(state_after(deaths));
    platform.route_of(place.release.app);
    if let Err(error) = platform.engine.remove(&instance.id).await {
        tracing::warn!(instance = %instance.id, %error, "removing");
    }
}

fn note(place: &Place, text: &str) {
    logs::note(&place.release.home, place.release.version, &place.process, text);
}

/// Whether it is to be started again more slowly if this goes on. What serves for a while is worth having back at once.
fn is_quick(web: bool, lived: Duration) -> bool {
    lived < if web { QUICK_WEB } else { QUICK }
}

/// What will be done about it.
fn outlook(deaths: u32) -> String {
    let crashed =
        if deaths >= CRASHED_AFTER { format!("crashed: {deaths} quick deaths in a row, ") } else { String::new() };
    format!("{crashed}next try in {:?}", pause(deaths))
}

fn state_after(deaths: u32) -> InstanceState {
    if deaths >= CRASHED_AFTER { InstanceState::Crashed } else { InstanceState::Restarting }
}

/// How long to wait before the next start, after so many quick deaths in a row.
fn pause(deaths: u32) -> Duration {
    match deaths {
        0 => Duration::ZERO,
        1..CRASHED_AFTER => Duration::from_millis(250 << (2 * (deaths - 1)).min(6)),
        _ => CRASHED_PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_started_in_the_future() {
        let [early, late] = [1_000, 4_000].map(|ms| jiff::Timestamp::from_millisecond(ms).unwrap());
        assert_eq!(age(early, late), Duration::from_secs(3));
        assert_eq!(age(late, early), Duration::ZERO);
    }

    #[test]
    fn what_has_served_for_a_while_did_not_die_quickly() {
        for (web, seconds, quick) in [(true, 2, true), (true, 3, false), (false, 9, true), (false, 10, false)] {
            assert_eq!(is_quick(web, Duration::from_secs(seconds)), quick, "web: {web}, after {seconds} s");
        }
    }

    #[test]
    fn pauses_grow_and_then_stay() {
        let pauses: Vec<u128> = (0..7).map(|deaths| pause(deaths).as_millis()).collect();
        assert_eq!(pauses, [0, 250, 1_000, 4_000, 16_000, 60_000, 60_000]);
        assert_eq!(outlook(1), "next try in 250ms");
        assert_eq!(outlook(6), "crashed: 6 quick deaths in a row, next try in 60s");
        assert_eq!(state_after(4), InstanceState::Restarting);
        assert_eq!(state_after(5), InstanceState::Crashed);
    }
}
