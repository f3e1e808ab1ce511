//! Which buildpacks want this tree.
//!
//! A buildpack's detect runs once, whatever number of groups it is in; those of one group run at the same time, as none of
//! them can see another. So do those of the groups that are sure to be tried if the tree is still of the kind that it was when it was
//! built last. What comes of it is what would have come of one after the other.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::timeout;

use super::plan::{self, Passed, Plan, PlanFile};
use super::workplace::Workplace;
use super::{BuildError, Request, files, run};
use crate::order::Candidate;
use crate::{Buildpack, Output, Sandbox, StepExit};

/// `bin/detect` says by this status that it has nothing to do here.
const NOT_MINE: i32 = 100;
/// How much of a detect's output is kept, to be shown if it fails.
const MOST_OUTPUT: usize = 64 * 1024;

/// The buildpacks that build, and what they are to provide for each other.
pub(super) struct Detected<'a> {
    pub(super) members: Vec<&'a Buildpack>,
    pub(super) plan: Plan,
}

/// What is said of a group and of its buildpacks, by [`crate::explain`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupVerdict {
    /// In their order.
    pub buildpacks: Vec<BuildpackVerdict>,
    /// Which of them would build (`ID@VERSION`); the error is why none would.
    pub result: Result<Vec<String>, String>,
}

/// What a buildpack says to a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildpackVerdict {
    /// `ID@VERSION`.
    pub buildpack: String,
    /// Whether the group can do without it.
    pub optional: bool,
    /// Whether it wants the tree.
    pub passed: bool,
    /// In words, with what it printed where that tells more.
    pub said: String,
}

/// Tries the groups in order; the first that passes builds. None if none passes.
/// A detect that breaks stops the build only if no group passes.
pub(super) async fn detect<'a>(
    workplace: &Workplace<'a>,
    sandbox: &dyn Sandbox,
    output: &dyn Output,
) -> Result<Option<Detected<'a>>, BuildError> {
    let mut trials = Trials::new(workplace, sandbox);
    let groups = workplace.groups()?;
    let (sure, others) = groups.split_at(surely_tried(workplace.request, &groups));
    let search = async {
        for groups in std::iter::once(sure).chain(others.chunks(1)) {
            if let Some(detected) = trials.first(groups).await? {
                return Ok(Some(detected));
            }
        }
        Ok(None)
    };
    match within(workplace, search).await? {
        None => trials.broken(output).await.map_or(Ok(None), Err),
        some => Ok(some),
    }
}

/// Tries every group, whatever comes of those before.
pub(super) async fn explain(workplace: &Workplace<'_>, sandbox: &dyn Sandbox) -> Result<Vec<GroupVerdict>, BuildError> {
    let mut trials = Trials::new(workplace, sandbox);
    let groups = workplace.groups()?;
    let search = async {
        let mut running = pin!(trials.running(&groups));
        while let Some((buildpack, trial)) = running.next().await {
            trials.done.push((buildpack, trial?));
        }
        Ok(groups.iter().map(|group| trials.verdict(group)).collect())
    };
    within(workplace, search).await
}

async fn within<T>(
    workplace: &Workplace<'_>,
    work: impl Future<Output = Result<T, BuildError>>,
) -> Result<T, BuildError> {
    let limit = workplace.request.detect_timeout;
    timeout(limit, work).await.unwrap_or(Err(BuildError::TimedOut { phase: "detect", limit }))
}

/// How many groups are tried whatever comes of each, if the tree is still of the kind that it was when it was built last. None if
/// somebody has chosen the order: a detect that is not ours may pass a bound, which it must not do unless it is its turn.
fn surely_tried(request: &Request<'_>, groups: &[Vec<Candidate<'_>>]) -> usize {
    let Some(previous) = request.previous.filter(|_| !request.chosen) else { return 0 };
    let has = |group: &[Candidate<'_>], name: &String| group.iter().any(|member| member.buildpack.name() == *name);
    let built = |group: &Vec<Candidate<'_>>| previous.buildpacks.iter().all(|name| has(group, name));
    if previous.buildpacks.is_empty() {
        return groups.len();
    }
    groups.iter().position(built).map_or(0, |index| index + 1)
}

/// What became of the detects that have run.
struct Trials<'w, 'a> {
    workplace: &'w Workplace<'a>,
    sandbox: &'w dyn Sandbox,
    /// In the order in which they were tried.
    done: Vec<(&'a Buildpack, Trial)>,
}

struct Trial {
    outcome: Outcome,
    output: Vec<u8>,
}

enum Outcome {
    Passed(PlanFile),
    NotMine,
    /// It cannot be used on this machine.
    Unfit(String),
    Broken(BuildError),
}

impl<'w, 'a> Trials<'w, 'a> {
    fn new(workplace: &'w Workplace<'a>, sandbox: &'w dyn Sandbox) -> Self {
        Self { workplace, sandbox, done: Vec::new() }
    }

    /// The first of these groups that passes. Detects that are still running then are ended.
    async fn first(&mut self, groups: &[Vec<Candidate<'a>>]) -> Result<Option<Detected<'a>>, BuildError> {
        let mut running = pin!(self.running(groups));
        for group in groups {
            while group.iter().any(|member| self.of(member.buildpack).is_none())
                && let Some((buildpack, trial)) = running.next().await
            {
                self.done.push((buildpack, trial?));
            }
            if let Ok(detected) = self.judge(group) {
                return Ok(Some(detected));
            }
        }
        Ok(None)
    }

    /// Runs the detects of groups that have not run yet, as many at the same time as there are processors, and gives their results in order.
    fn running(
        &self,
        groups: &[Vec<Candidate<'a>>],
    ) -> impl Stream<Item = (&'a Buildpack, Result<Trial, BuildError>)> + use<'w, 'a> {
        let mut missing: Vec<&'a Buildpack> = Vec::new();
        for Candidate { buildpack, .. } in groups.iter().flatten() {
            if self.of(buildpack).is_none() && !missing.iter().any(|other| std::ptr::eq(*other, *buildpack)) {
                missing.push(buildpack);
            }
        }
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (workplace, sandbox) = (self.workplace, self.sandbox);
        let trials: Vec<_> = missing
            .into_iter()
            .map(|buildpack| try_one(workplace, buildpack, sandbox).map(move |trial| (buildpack, trial)).boxed())
            .collect();
        futures_util::stream::iter(trials).buffered(processors)
    }

    fn of(&self, buildpack: &Buildpack) -> Option<&Trial> {
        self.done.iter().find(|(tried, _)| std::ptr::eq(*tried, buildpack)).map(|(_, trial)| trial)
    }

    /// Who of a group builds; the error says why nobody does.
    fn judge(&self, group: &[Candidate<'a>]) -> Result<Detected<'a>, String> {
        let (mut members, mut passed) = (Vec::new(), Vec::new());
        for Candidate { buildpack, optional } in group {
            match self.of(buildpack).map(|trial| &trial.outcome) {
                Some(Outcome::Passed(plan)) => {
                    members.push(*buildpack);
                    passed.push(Passed { optional: *optional, plan: plan.clone() });
                }
                _ if *optional => {}
                _ => return Err(format!("{} is needed, and does not want this app", buildpack.id)),
            }
        }
        let fault = |unresolved: Option<plan::Unresolved>| match unresolved {
            Some(unresolved) => format!("{} {}", members[unresolved.index].id, unresolved.fault),
            None => "none of its buildpacks wants this app".to_owned(),
        };
        let resolved = plan::resolve(&passed).map_err(fault)?;
        Ok(Detected { members: resolved.members.iter().map(|index| members[*index]).collect(), plan: resolved.plan })
    }

    fn verdict(&self, group: &[Candidate<'a>]) -> GroupVerdict {
        let buildpacks = group.iter().map(|Candidate { buildpack, optional }| {
            let (passed, said) = self.of(buildpack).map(Trial::told).unwrap_or_default();
            BuildpackVerdict { buildpack: buildpack.name(), optional: *optional, passed, said }
        });
        let names = |detected: Detected<'_>| detected.members.iter().map(|member| member.name()).collect();
        GroupVerdict { buildpacks: buildpacks.collect(), result: self.judge(group).map(names) }
    }

    /// The first detect that broke; what it printed is shown.
    async fn broken(self, output: &dyn Output) -> Option<BuildError> {
        for (_, Trial { outcome, output: printed }) in self.done {
            if let Outcome::Broken(error) = outcome {
                output.write(&printed).await;
                return Some(error);
            }
        }
        None
    }
}

impl Trial {
    /// Whether the buildpack wants the tree, and what there is to say about it.
    fn told(&self) -> (bool, String) {
        let printed = String::from_utf8_lossy(&self.output);
        let with_printed = |text: &str| match printed.trim() {
            "" => text.to_owned(),
            printed => format!("{text}:\n{printed}"),
        };
        match &self.outcome {
            Outcome::Passed(_) => (true, "wants this app".into()),
            Outcome::NotMine => (false, with_printed("does not want this app")),
            Outcome::Unfit(reason) => (false, reason.clone()),
            Outcome::Broken(error) => (false, with_printed(&error.to_string())),
        }
    }
}

async fn try_one(workplace: &Workplace<'_>, buildpack: &Buildpack, sandbox: &dyn Sandbox) -> Result<Trial, BuildError> {
    if let Some(reason) = buildpack.unfit_for(&workplace.machine) {
        return Ok(Trial { outcome: Outcome::Unfit(reason), output: Vec::new() });
    }
    let plan = workplace.plan("")?;
    let said = Held::default();
    let outcome = match sandbox.run(&workplace.detect_step(buildpack, &plan), &said).await? {
        StepExit::Status(0) => match files::read::<PlanFile>(&plan.open()?, &buildpack.id, "plan.toml") {
            Ok(written) => Outcome::Passed(written.unwrap_or_default()),
            Err(error @ BuildError::Malformed { .. }) => Outcome::Broken(error),
            Err(error) => return Err(error),
        },
        StepExit::Status(NOT_MINE) => Outcome::NotMine,
        other => {
            let how = format!("detect {}", run::ending(other));
            Outcome::Broken(BuildError::Failed { buildpack: buildpack.id.clone(), how })
        }
    };
    Ok(Trial { outcome, output: said.take() })
}

/// Output that is only of interest if something goes wrong.
#[derive(Default)]
struct Held(Mutex<Vec<u8>>);

impl Held {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Output for Held {
    async fn write(&self, bytes: &[u8]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_OUTPUT.saturating_sub(held.len());
        held.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}
