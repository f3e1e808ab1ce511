//! Apps: which there are, what is known of each, and where they answer.

use std::sync::atomic::Ordering;

use super::Call;
use super::arguments::Form;
use super::line::Apps;
use crate::access::Need;
use crate::failure::{Failure, Result};
use crate::formation::{InstanceState, InstanceView};
use crate::listing::{Cell, Details, Listing};
use crate::names::AppName;
use crate::platform::Platform;
use crate::store::App;

/// Carries out one of them.
pub(super) async fn carry_out(call: &mut Call<'_>, command: Apps) -> Result<()> {
    match command {
        Apps::List(form) => list(call, form).await,
        Apps::Create { app } => create(call, &app).await,
        Apps::Destroy { app, confirm, force } => destroy(call, &app, confirm.as_ref(), force).await,
        Apps::Rename { app, to } => rename(call, &app, &to).await,
        Apps::Info { app, form } => info(call, &app, form).await,
        Apps::Url { app } => url(call, &app).await,
        Apps::SshConfig => ssh_config(call).await,
    }
}

async fn list(call: &mut Call<'_>, form: Form) -> Result<()> {
    let empty = format!("None yet: git push {} main", remote(call.platform, "APP"));
    let mut listing = Listing::new("Apps", ["app", "release", "state", "url"], empty);
    for app in visible(call)? {
        let state = state(&app, &call.platform.instances(&app).await);
        let release = app.current.map(|version| version.to_string());
        listing.row([app.name.as_str().into(), release.into(), state.into(), call.platform.url(&app.name).into()]);
    }
    call.console.print(&listing.render(form.json)).await;
    Ok(())
}

async fn create(call: &mut Call<'_>, name: &AppName) -> Result<()> {
    let app = call.platform.create_app(name)?;
    let remote = remote(call.platform, app.name.as_str());
    call.console.print(&format!("-----> Created {name}\n       git push {remote} main\n")).await;
    Ok(())
}

async fn destroy(call: &mut Call<'_>, name: &AppName, confirm: Option<&AppName>, force: bool) -> Result<()> {
    let app = call.app(name)?;
    if !force && confirm != Some(name) {
        return Err(Failure::new(
            format!("apps:destroy removes {name} with its releases, configuration and data, for good"),
            format!("if that is what you want: apps:destroy {name} --confirm {name}"),
        ));
    }
    let (output, text) = call.console.output();
    call.console.during(text, call.platform.destroy_app(&app, &output)).await?;
    call.console.print(&format!("-----> Destroyed {name}\n")).await;
    Ok(())
}

async fn rename(call: &mut Call<'_>, name: &AppName, to: &AppName) -> Result<()> {
    let app = call.app(name)?;
    let (output, text) = call.console.output();
    call.console.during(text, call.platform.rename_app(&app, to, &output)).await?;
    let remote = remote(call.platform, to.as_str());
    call.console.print(&format!("-----> Renamed {name} to {to}\n       git remote set-url airstrip {remote}\n")).await;
    Ok(())
}

async fn info(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let (app, platform) = (call.app(name)?, call.platform);
    let release = app.current.map(|version| platform.store.release(app.id, version)).transpose()?.flatten();
    let scale = platform.store.scale(app.id)?.iter().map(|(kind, count)| format!("{kind}={count}")).collect::<Vec<_>>();
    let state = state(&app, &platform.instances(&app).await);
    let disk = platform.disk_use(&app).await;
    let details = Details::new(name.as_str())
        .with("app", name.as_str())
        .with("state", state)
        .with("url", platform.url(name))
        .with("domains", platform.store.domains(app.id)?)
        .with("git_url", remote(platform, name.as_str()))
        .with("deploy_branch", app.deploy_branch)
        .with("release", app.current.map(|version| version.to_string()))
        .with("commit", release.and_then(|release| release.commit))
        .with("scale", scale)
        .with("stopped", app.stopped)
        .with("maintenance", app.maintenance)
        .with("checks_timeout", app.checks_timeout)
        .with("kept_builds", app.keep)
        .with("engine", app.terms.engine.as_str())
        .with("disk_releases", disk.releases.map(Cell::Rough))
        .with("disk_layers", disk.layers.map(Cell::Rough))
        .with("disk_data", disk.data.map(Cell::Rough))
        .with("disk_cache", disk.cache.map(Cell::Rough))
        .with("created_at", app.created_at);
    call.console.print(&details.render(form.json)).await;
    Ok(())
}

async fn url(call: &mut Call<'_>, name: &AppName) -> Result<()> {
    let app = call.app(name)?;
    call.console.print(&format!("{}\n", call.platform.url(&app.name))).await;
    Ok(())
}

async fn ssh_config(call: &mut Call<'_>) -> Result<()> {
    let apps = visible(call)?;
    let enterable = apps.iter().filter(|app| call.actor.check(Need::AppAdmin, Some(&app.name)).is_ok());
    let users = std::iter::once("airstrip").chain(enterable.map(|app| app.name.as_str()));
    let address = &call.platform.address;
    let port = address.ssh_port.load(Ordering::Relaxed);
    let blocks =
        users.map(|user| format!("Host {user}\n    HostName {}\n    Port {port}\n    User {user}\n", address.domain));
    let text = blocks.collect::<Vec<_>>().join("\n");
    call.console.print(&text).await;
    Ok(())
}

/// The apps that the actor may see.
fn visible(call: &Call<'_>) -> Result<Vec<App>> {
    let apps = call.platform.store.apps()?.into_iter();
    Ok(apps.filter(|app| !app.destroying && call.actor.sees(&app.name)).collect())
}

/// Where to push an app.
fn remote(platform: &Platform, app: &str) -> String {
    let address = &platform.address;
    match address.ssh_port.load(Ordering::Relaxed) {
        22 => format!("ssh://airstrip@{}/{app}", address.domain),
        port => format!("ssh://airstrip@{}:{port}/{app}", address.domain),
    }
}

/// An app's state in a word.
fn state(app: &App, instances: &[InstanceView]) -> &'static str {
    let any = |state| instances.iter().any(|instance| instance.state == state);
    match () {
        () if app.current.is_none() => "new",
        () if app.stopped => "stopped",
        () if any(InstanceState::Crashed) => "crashed",
        () if any(InstanceState::Restarting) => "restarting",
        () if app.maintenance => "maintenance",
        () if any(InstanceState::Asleep) => "asleep",
        () if any(InstanceState::Starting) => "starting",
        () if instances.is_empty() => "idle",
        () => "running",
    }
}
