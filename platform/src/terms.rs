//! The terms on which an app's instances run: what in, with how much of the machine, and with which network. They belong to the app and not to
//! a release: a rollback leaves them as they are.

use std::sync::Arc;

use engine::Egress;
use gitd::Output;
use serde::{Deserialize, Serialize};

use crate::change::{Change, Renew};
use crate::engines::EngineName;
use crate::failure::Result;
use crate::limits::{Limits, Settings};
use crate::names::ProcessType;
use crate::platform::Platform;
use crate::store::App;

/// What is set for an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// What its instances run in.
    pub engine: EngineName,
    /// Where their connections may go.
    pub egress: Egress,
    /// Whether they reach other apps that are set so, and are reached by them, as `http://APP.internal`.
    pub internal: bool,
    /// How much of the machine they may use.
    pub limits: Settings,
}

/// What one instance was started on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// What it runs in.
    pub engine: EngineName,
    /// Where its connections may go.
    #[serde(default)]
    pub egress: Egress,
    /// Whether it reaches other apps.
    #[serde(default)]
    pub internal: bool,
    /// How much of the machine it may use.
    pub limits: Limits,
}

impl Terms {
    /// What holds for instances of a process type.
    pub fn of(&self, process: &str) -> Granted {
        let Self { engine, egress, internal, .. } = *self;
        Granted { engine, egress, internal, limits: self.limits.of(process) }
    }
}

impl Platform {
    /// Changes an app's terms, and replaces the instances for which other terms hold from then on. If one does not start,
    /// all is as before.
    pub async fn set_terms(
        self: &Arc<Self>,
        app: &App,
        alter: impl FnOnce(&mut Terms) -> Result<()>,
        output: &Output,
    ) -> Result<()> {
        let (app, _turn) = &self.begin_change(app, output).await?;
        let mut altered = app.clone();
        alter(&mut altered.terms)?;
        if altered.terms.engine != app.terms.engine {
            self.engines.named(altered.terms.engine).await?;
        }
        let commit = async {
            let data = altered.terms.limits.data();
            if data != app.terms.limits.data() {
                self.bound_data(app, data).await?;
            }
            Ok(self.store.set_terms(app.id, &altered.terms)?)
        };
        if app.current.is_none() || app.stopped {
            return commit.await;
        }
        let (release, wanted) = self.desired(&altered)?;
        let concerned = |kind: &ProcessType| app.terms.of(kind.as_str()) != altered.terms.of(kind.as_str());
        let running = wanted.iter().filter(|(_, count)| *count > 0).map(|(kind, _)| kind);
        let types: Vec<ProcessType> = running.filter(|kind| concerned(kind)).cloned().collect();
        if !types.is_empty() {
            let names: Vec<&str> = types.iter().map(ProcessType::as_str).collect();
            output.line(&format!("-----> Restarting {} of {}", names.join(", "), app.name)).await;
        }
        let change = Change { release, wanted, renew: Renew::Types(types) };
        self.change(app, change, output, commit).await
    }
}
