//! An app's configuration: that of what runs, or with `--build` that of its builds. Values are secret: they are shown to who asks for them,
//! and nowhere else.

use super::Call;
use super::arguments::{Assignment, Form};
use super::line::Configuration;
use crate::dotenv;
use crate::failure::{Failure, Result};
use crate::listing::Listing;
use crate::names::{AppName, ConfigKey};
use crate::store::{App, Config};

/// Carries out one of them.
pub(super) async fn carry_out(call: &mut Call<'_>, command: Configuration) -> Result<()> {
    match command {
        Configuration::List { app, scope, form } => list(call, &app, scope, form).await,
        Configuration::Get { app, key, scope } => get(call, &app, &key, scope).await,
        Configuration::Set { app, assignments, scope, no_restart } => {
            set(call, &app, assignments, scope, no_restart).await
        }
        Configuration::Unset { app, keys, scope, no_restart } => unset(call, &app, keys, scope, no_restart).await,
    }
}

/// Longest dotenv file.
const LIMIT: u64 = 1 << 20;

/// Whose configuration, and what becomes of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(super) struct Scope {
    /// Of the app's builds, which are given nothing else, instead of what runs of it
    #[arg(long)]
    pub(super) build: bool,
}

impl Scope {
    fn of(self, call: &Call<'_>, app: &App) -> Result<Config> {
        let store = &call.platform.store;
        Ok(if self.build { store.build_config(app.id)? } else { store.config(app.id)? })
    }

    /// As a command's option.
    fn option(self) -> &'static str {
        if self.build { " --build" } else { "" }
    }

    fn missing(self, name: &AppName, key: &ConfigKey) -> Failure {
        let whose = if self.build { "gives its builds no variable" } else { "has no variable" };
        Failure::new(format!("{name} {whose} {key}"), format!("see `config {name}{}`", self.option()))
    }
}

async fn list(call: &mut Call<'_>, name: &AppName, scope: Scope, form: Form) -> Result<()> {
    let app = call.app(name)?;
    let empty = format!("Empty: config:set {name}{} KEY=VALUE", scope.option());
    let heading = if scope.build { format!("{name} config of builds") } else { format!("{name} config") };
    let mut listing = Listing::new(heading, ["key", "value"], empty);
    for (key, value) in scope.of(call, &app)? {
        listing.row([key.as_str().into(), value.into()]);
    }
    call.console.print(&listing.render(form.json)).await;
    Ok(())
}

async fn get(call: &mut Call<'_>, name: &AppName, key: &ConfigKey, scope: Scope) -> Result<()> {
    let app = call.app(name)?;
    let value = scope.of(call, &app)?.remove(key).ok_or_else(|| scope.missing(name, key))?;
    call.console.print(&format!("{value}\n")).await;
    Ok(())
}

async fn set(
    call: &mut Call<'_>,
    name: &AppName,
    assignments: Vec<Assignment>,
    scope: Scope,
    no_restart: bool,
) -> Result<()> {
    let mut changes = Vec::new();
    for assignment in assignments {
        match assignment {
            Assignment::Pair(key, value) => changes.push((key, Some(value))),
            Assignment::Stdin => changes.extend(read_dotenv(call).await?),
        }
    }
    change(call, name, "Setting", &changes, scope, no_restart).await
}

async fn read_dotenv(call: &mut Call<'_>) -> Result<impl Iterator<Item = (ConfigKey, Option<String>)> + use<>> {
    let text = call.console.read_stdin(LIMIT).await?;
    let variables = dotenv::parse(&text).map_err(|e| Failure::plain(format!("standard input, {e}")))?;
    Ok(variables.into_iter().map(|(key, value)| (key, Some(value))))
}

async fn unset(
    call: &mut Call<'_>,
    name: &AppName,
    keys: Vec<ConfigKey>,
    scope: Scope,
    no_restart: bool,
) -> Result<()> {
    let app = call.app(name)?;
    let config = scope.of(call, &app)?;
    if let Some(missing) = keys.iter().find(|key| !config.contains_key(key)) {
        return Err(scope.missing(name, missing));
    }
    let changes: Vec<_> = keys.into_iter().map(|key| (key, None)).collect();
    change(call, name, "Unsetting", &changes, scope, no_restart).await
}

async fn change(
    call: &mut Call<'_>,
    name: &AppName,
    verb: &str,
    changes: &[(ConfigKey, Option<String>)],
    scope: Scope,
    no_restart: bool,
) -> Result<()> {
    let app = call.app(name)?;
    if changes.is_empty() {
        return Err(Failure::plain("there is nothing to set"));
    }
    let keys: Vec<&str> = changes.iter().map(|(key, _)| key.as_str()).collect();
    let whose = if scope.build { " for builds" } else { "" };
    call.console.print(&format!("-----> {verb} {}{whose}\n", keys.join(", "))).await;
    if scope.build {
        call.platform.store.change_build_config(app.id, changes)?;
        call.console.print("       Counts from the next build\n").await;
        return Ok(());
    }
    let (output, text) = call.console.output();
    let work = call.platform.change_config(&app, changes, !no_restart, &call.actor.name, &output);
    if call.console.during(text, work).await?.is_none() {
        call.console.print("       Kept for the next release\n").await;
    }
    Ok(())
}
