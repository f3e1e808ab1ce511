//! Which buildpack wants this tree.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::time::timeout;

use super::plan::{self, Passed, PlanFile, Requirement};
use super::workplace::Workplace;
use super::{BuildError, files, run};
use crate::{Buildpack, Output, Sandbox, StepExit};

/// `bin/detect` says by this status that it has nothing to do here.
const NOT_MINE: i32 = 100;
/// How much of a detect's output is kept, to be shown if it fails.
const MOST_OUTPUT: usize = 64 * 1024;

/// A buildpack that takes part, with the plan for its build.
pub(super) struct Member<'a> {
    pub(super) buildpack: &'a Buildpack,
    pub(super) plan: Vec<Requirement>,
}

/// Tries the buildpacks in order; the first that passes is the group. None if none passes.
/// A detect that breaks stops the build only if no other buildpack passes.
pub(super) async fn detect<'a>(
    workplace: &Workplace<'a>,
    sandbox: &dyn Sandbox,
    output: &dyn Output,
) -> Result<Option<Vec<Member<'a>>>, BuildError> {
    let limit = workplace.request.detect_timeout;
    let tried = timeout(limit, try_in_order(workplace, sandbox, output)).await;
    tried.unwrap_or(Err(BuildError::TimedOut { phase: "detect", limit }))
}

async fn try_in_order<'a>(
    workplace: &Workplace<'a>,
    sandbox: &dyn Sandbox,
    output: &dyn Output,
) -> Result<Option<Vec<Member<'a>>>, BuildError> {
    let mut broken = None;
    for buildpack in workplace.request.order {
        match try_one(workplace, buildpack, sandbox, output).await {
            Ok(Some(plan)) => return Ok(Some(vec![Member { buildpack, plan }])),
            Ok(None) => {}
            Err(error @ (BuildError::Failed { .. } | BuildError::Malformed { .. })) => broken = broken.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    broken.map_or(Ok(None), Err)
}

async fn try_one(
    workplace: &Workplace<'_>,
    buildpack: &Buildpack,
    sandbox: &dyn Sandbox,
    output: &dyn Output,
) -> Result<Option<Vec<Requirement>>, BuildError> {
    let plan = workplace.plan("")?;
    let said = Held::default();
    match sandbox.run(&workplace.detect_step(buildpack, &plan), &said).await? {
        StepExit::Status(0) => {
            let written = files::read::<PlanFile>(&plan.open()?, &buildpack.id, "plan.toml")?;
            let passed = Passed { optional: false, plan: written.unwrap_or_default() };
            Ok(plan::resolve(&[passed]).and_then(|mut plans| plans.pop()).map(|(_, entries)| entries))
        }
        StepExit::Status(NOT_MINE) => Ok(None),
        other => {
            output.write(&said.take()).await;
            Err(BuildError::Failed { buildpack: buildpack.id.clone(), how: format!("detect {}", run::ending(other)) })
        }
    }
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
