//! An app's configuration. Values are secret: they are shown to who asks for them, and nowhere else.

use super::Call;
use super::arguments::{Assignment, Form};
use crate::dotenv;
use crate::failure::{Failure, Result};
use crate::listing::Listing;
use crate::names::{AppName, ConfigKey};

/// Longest dotenv file.
const LIMIT: u64 = 1 << 20;

pub(super) async fn list(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let app = call.app(name)?;
    let empty = format!("Empty: config:set {name} KEY=VALUE");
    let mut listing = Listing::new(format!("{name} config"), ["key", "value"], empty);
    for (key, value) in call.platform.store.config(app.id)? {
        listing.row([key.as_str().into(), value.into()]);
    }
    call.console.print(&listing.render(form.json)).await;
    Ok(())
}

pub(super) async fn get(call: &mut Call<'_>, name: &AppName, key: &ConfigKey) -> Result<()> {
    let app = call.app(name)?;
    let value = call.platform.store.config(app.id)?.remove(key);
    let value =
        value.ok_or_else(|| Failure::new(format!("{name} has no variable {key}"), format!("see `config {name}`")))?;
    call.console.print(&format!("{value}\n")).await;
    Ok(())
}

pub(super) async fn set(
    call: &mut Call<'_>,
    name: &AppName,
    assignments: Vec<Assignment>,
    no_restart: bool,
) -> Result<()> {
    let mut changes = Vec::new();
    for assignment in assignments {
        match assignment {
            Assignment::Pair(key, value) => changes.push((key, Some(value))),
            Assignment::Stdin => changes.extend(read_dotenv(call).await?),
        }
    }
    change(call, name, "Setting", &changes, no_restart).await
}

async fn read_dotenv(call: &mut Call<'_>) -> Result<impl Iterator<Item = (ConfigKey, Option<String>)> + use<>> {
    let text = call.console.read_stdin(LIMIT).await?;
    let variables = dotenv::parse(&text).map_err(|e| Failure::plain(format!("standard input, {e}")))?;
    Ok(variables.into_iter().map(|(key, value)| (key, Some(value))))
}

pub(super) async fn unset(call: &mut Call<'_>, name: &AppName, keys: Vec<ConfigKey>, no_restart: bool) -> Result<()> {
    let app = call.app(name)?;
    let config = call.platform.store.config(app.id)?;
    if let Some(missing) = keys.iter().find(|key| !config.contains_key(key)) {
        return Err(Failure::new(format!("{name} has no variable {missing}"), format!("see `config {name}`")));
    }
    let changes: Vec<_> = keys.into_iter().map(|key| (key, None)).collect();
    change(call, name, "Unsetting", &changes, no_restart).await
}

async fn change(
    call: &mut Call<'_>,
    name: &AppName,
    verb: &str,
    changes: &[(ConfigKey, Option<String>)],
    no_restart: bool,
) -> Result<()> {
    let app = call.app(name)?;
    if changes.is_empty() {
        return Err(Failure::plain("there is nothing to set"));
    }
    let keys: Vec<&str> = changes.iter().map(|(key, _)| key.as_str()).collect();
    call.console.print(&format!("-----> {verb} {}\n", keys.join(", "))).await;
    let (output, text) = call.console.output();
    let work = call.platform.change_config(&app, changes, !no_restart, &call.actor.name, &output);
    if call.console.during(text, work).await?.is_none() {
        call.console.print("       Kept for the next release\n").await;
    }
    Ok(())
}
