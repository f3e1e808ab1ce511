//! The switch: start what is new, make it durable, route to it, end what is old. Every change of what runs comes through here.

use std::sync::Arc;
use std::time::Duration;

use gitd::Output;
use router::Target;
use tokio_util::sync::CancellationToken;

use crate::diagnosis::{FailedStart, behind_shell, explain};
use crate::failure::{Failure, Result};
use crate::formation::{Formation, Kept};
use crate::instance::Instance;
use crate::keeper::Place;
use crate::names::{Process, ProcessType, Selector};
use crate::plan::Plan;
use crate::platform::Platform;
use crate::release::Runnable;
use crate::store::{App, Scale};

/// How long requests in flight have to end when their instance is replaced; what lasts, too, unless the app is set otherwise.
const DRAIN: Duration = Duration::from_secs(30);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(30);
/// A worker that dies within this is reported to whoever started it.
const AT_ONCE: Duration = Duration::from_millis(500);

/// A change of what runs.
pub struct Change {
    /// What is to run.
    pub release: Arc<Runnable>,
    /// How many of each type.
    pub wanted: Scale,
    /// Which places are to get a new instance even if they have one.
    pub renew: Renew,
}

/// How long what was replaced may live on.
pub struct Leave {
    /// What lasts until somebody ends it: upgraded connections to it, and streams of events.
    pub lasting: Duration,
    /// Cancelled if they are to end sooner.
    pub hurry: CancellationToken,
}

impl Leave {
    /// For what lasts no longer than for requests.
    pub fn soon(formation: &Formation) -> Self {
        Self { lasting: DRAIN, hurry: formation.hurry() }
    }
}

/// Which places are to get a new instance even if they have one.
pub enum Renew {
    /// Every one.
    All,
    /// These.
    Only(Selector),
    /// Those of these types.
    Types(Vec<ProcessType>),
    /// None.
    Nothing,
}

impl Renew {
    /// Whether this place is to get a new instance.
    pub fn covers(&self, process: &Process) -> bool {
        match self {
            Self::All => true,
            Self::Only(selector) => selector.matches(process),
            Self::Types(types) => types.contains(&process.kind),
            Self::Nothing => false,
        }
    }
}

impl Platform {
    /// Carries a change out: web instances first, then `commit` (which makes it durable), then the switch, then workers;
    /// what was replaced drains and ends afterwards. If anything fails before `commit` has succeeded, all is as before.
    /// The caller holds the app's permit for changes.
    pub async fn change(
        self: &Arc<Self>,
        app: &App,
        change: Change,
        output: &Output,
        commit: impl Future<Output = Result<()>> + Send,
    ) -> Result<()> {
        let formation = self.formations.of(app.id);
        self.thaw_sleeper(app.id).await;
        let (asleep, filled): (Vec<_>, Vec<_>) = formation.places().into_iter().partition(|place| place.is_asleep());
        let named = |places: Vec<Arc<Place>>| places.into_iter().map(|place| place.process.clone()).collect::<Vec<_>>();
        let mut plan = Plan::new(&named(filled), &change.wanted, &change.renew);
        plan.retire.extend(named(asleep));
        let (webs, workers): (Vec<Process>, Vec<Process>) =
            plan.start.into_iter().partition(|process| process.kind.is_web());
        let fresh = self.start_webs(&change.release, &webs, output).await?;
        if let Err(failure) = commit.await {
            self.end_all(fresh).await;
            return Err(failure);
        }
        let fresh = fresh.into_iter().map(|instance| Place::filled(change.release.clone(), instance)).collect();
        let retired = formation.replace(self, &plan.retire, fresh);
        self.note_awake(app);
        self.route_of(app.id);
        let (old_webs, old_workers) = retired.into_iter().partition(|kept: &Kept| kept.place.process.kind.is_web());
        self.retire(old_workers, Leave::soon(&formation)).await;
        self.start_workers(&formation, &change.release, workers, output).await;
        let platform = self.clone();
        let leave = Leave { lasting: Duration::from_secs(app.http.drain), hurry: formation.hurry() };
        self.tasks.spawn(self.endings.track_future(async move {
            platform.retire(old_webs, leave).await;
            platform.uses.idle.notify_one();
        }));
        Ok(())
    }

    async fn start_webs(
        &self,
        release: &Arc<Runnable>,
        processes: &[Process],
        output: &Output,
    ) -> Result<Vec<Instance>> {
        let cancel = output.cancelled().child_token();
        let starts = processes.iter().map(|process| self.start_instance(release, process, &cancel));
        let results = futures_util::future::join_all(starts).await;
        let (started, mut failed): (Vec<_>, Vec<_>) = results.into_iter().partition(std::result::Result::is_ok);
        let started: Vec<Instance> = started.into_iter().flatten().collect();
        match failed.pop() {
            Some(Err(failed)) => {
                self.end_all(started).await;
                Err(report(&failed, output).await)
            }
            _ => Ok(started),
        }
    }

    async fn end_all(&self, instances: Vec<Instance>) {
        futures_util::future::join_all(instances.iter().map(|instance| self.end_instance(instance, GRACE))).await;
    }

    async fn start_workers(
        self: &Arc<Self>,
        formation: &Formation,
        release: &Arc<Runnable>,
        processes: Vec<Process>,
        output: &Output,
    ) {
        let never = CancellationToken::new();
        let starts = processes.into_iter().map(|process| {
            let never = &never;
            async move { (self.start_instance(release, &process, never).await, process) }
        });
        for (result, process) in futures_util::future::join_all(starts).await {
            let place = match result {
                Ok(instance) => {
                    self.watch_worker(release, &instance, output).await;
                    Place::filled(release.clone(), instance)
                }
                Err(failed) => {
                    let _told = report(&failed, output).await;
                    Place::empty(release.clone(), process)
                }
            };
            formation.replace(self, &[], vec![place]);
        }
    }

    /// Tells the user of a worker that dies at once; the keeper sees it too.
    async fn watch_worker(&self, release: &Runnable, instance: &Instance, output: &Output) {
        let Ok(Ok(exit)) = tokio::time::timeout(AT_ONCE, self.engine.wait(&instance.id)).await else { return };
        let (process, how, app) = (&instance.labels.process, behind_shell(exit), &release.name);
        output.line(&format!(" !     {process} {how} at once; it will be tried again. See `logs {app}`")).await;
    }

    /// Waits for the keepers, lets what is in flight end, and ends the instances.
    pub async fn retire(&self, kept: Vec<Kept>, leave: Leave) {
        futures_util::future::join_all(kept.into_iter().map(|kept| self.retire_one(kept, &leave))).await;
    }

    async fn retire_one(&self, kept: Kept, leave: &Leave) {
        kept.stop.cancel();
        let _ended = kept.keeper.await;
        let Some(instance) = kept.place.occupancy().instance else { return };
        if let Some(target) = &instance.target {
            self.let_end(target, leave).await;
        }
        self.end_instance(&instance, GRACE).await;
        if let Some(target) = &instance.target {
            // What an app does not close when it is told to end leads nowhere now.
            target.drain(Duration::ZERO).await;
        }
    }

    /// A daemon that this one replaced may have requests and what lasts in there, too; it has the same time for them.
    async fn let_end(&self, target: &Target, leave: &Leave) {
        let requests = async {
            let others = tokio::time::timeout(DRAIN, self.alone.cancelled());
            let ((), _alone_or_late) = tokio::join!(target.drain_requests(DRAIN), others);
        };
        let lasting = async {
            let all = async { tokio::join!(target.emptied(), self.alone.cancelled()) };
            let _all_or_late = leave.hurry.run_until_cancelled(tokio::time::timeout(leave.lasting, all)).await;
            target.cut_streams();
        };
        tokio::join!(requests, lasting);
    }
}

/// Shows the last words of an instance that did not start, and says why.
async fn report(failed: &FailedStart, output: &Output) -> Failure {
    if !failed.tail.is_empty() {
        output.line(&format!("-----> Last lines of {}", failed.process)).await;
    }
    for line in &failed.tail {
        output.line(&format!("       {line}")).await;
    }
    explain(failed)
}
