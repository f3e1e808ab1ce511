//! What was released, and releases made by hand.

use super::Call;
use super::arguments::{ExportFormat, Form, KeptBuilds};
use super::line::Releases;
use super::{builds, signers};
use crate::access::Need;
use crate::archive::MOST_BYTES;
use crate::export::in_pieces;
use crate::failure::{Failure, Result};
use crate::limits::show_bytes;
use crate::listing::Listing;
use crate::names::{AppName, Version};
use crate::oci::Base;
use crate::store::App;

/// Carries out one of them.
pub(super) async fn carry_out(call: &mut Call<'_>, command: Releases) -> Result<()> {
    match command {
        Releases::List { app, form } => list(call, &app, form).await,
        Releases::Builds { app, form } => builds::list(call, &app, form).await,
        Releases::Cancel { app, number } => builds::cancel(call, &app, number).await,
        Releases::Verify { app, version, form } => verify(call, &app, version, form).await,
        Releases::Keep { app, builds } => keep(call, &app, builds).await,
        Releases::Export { app, version, format, base } => export(call, &app, version, format, base.is_some()).await,
        Releases::Rollback { app, to } => rollback(call, &app, to).await,
        Releases::Deploy { app } => deploy(call, &app).await,
        Releases::Key => signers::key(call).await,
        Releases::Trusted(form) => signers::list(call, form).await,
        Releases::Trust { name } => signers::trust(call, &name).await,
        Releases::Distrust { name } => signers::distrust(call, &name).await,
    }
}

async fn list(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let app = call.app(name)?;
    let columns = ["release", "created_at", "actor", "description", "commit", "current"];
    let mut listing = Listing::new(format!("{name} releases"), columns, "None yet");
    for release in call.platform.store.releases(app.id)? {
        listing.row([
            release.version.to_string().into(),
            release.created_at.into(),
            release.actor.into(),
            release.description.into(),
            release.commit.into(),
            (app.current == Some(release.version)).into(),
        ]);
    }
    call.console.print(&listing.render(form.json)).await;
    Ok(())
}

async fn verify(call: &mut Call<'_>, name: &AppName, version: Option<Version>, form: Form) -> Result<()> {
    let app = call.app(name)?;
    let verified = call.platform.verify(&app, version).await?;
    let release = format!("{} of {name}", verified.version);
    if verified.faults.is_empty() && !form.json {
        let (files, bytes) = (verified.files, show_bytes(verified.bytes));
        call.console.print(&format!("-----> {release} is as it was made: {files} files, {bytes}\n")).await;
        return Ok(());
    }
    let mut listing = Listing::new(&release, ["part", "path", "fault"], "");
    for fault in &verified.faults {
        listing.row([fault.part.as_str().into(), fault.path.as_str().into(), fault.what.as_str().into()]);
    }
    call.console.print(&listing.render(form.json)).await;
    if verified.faults.is_empty() {
        return Ok(());
    }
    let remedy = format!("build it anew: ps:rebuild {name}, or push with -o no-cache");
    Err(Failure::new(format!("{release} is not as it was made"), remedy))
}

async fn keep(call: &mut Call<'_>, name: &AppName, KeptBuilds(builds): KeptBuilds) -> Result<()> {
    let app = call.app(name)?;
    call.platform.store.set_keep(app.id, builds)?;
    call.platform.uses.idle.notify_one();
    let last = if builds == 1 { "last build is".to_owned() } else { format!("last {builds} builds are") };
    call.console.print(&format!("-----> {name}: releases of the {last} kept\n")).await;
    Ok(())
}

async fn export(
    call: &mut Call<'_>,
    name: &AppName,
    version: Option<Version>,
    format: ExportFormat,
    over_a_base: bool,
) -> Result<()> {
    call.console.check_no_terminal()?;
    let app = call.app(name)?;
    let export = call.platform.export(&app, version).await?;
    if format == ExportFormat::Tar {
        return call.console.stream(in_pieces(move |to| export.write_signed(to))).await;
    }
    let base = if over_a_base { read_base(call, &app).await? } else { Base::default() };
    let toolchain = call.platform.toolchain_trees(&export.contents).await?;
    call.console.stream(in_pieces(move |to| export.write_image(&base, &toolchain, to))).await
}

/// The image on standard input.
async fn read_base(call: &mut Call<'_>, app: &App) -> Result<Base> {
    let input = call.console.take_stdin()?;
    let file = call.platform.receive(app, input, |_| MOST_BYTES).await?;
    let remedy = "send what `docker save IMAGE` writes";
    let refused = |e| Failure::new(format!("the base image cannot be read: {e}"), remedy);
    tokio::task::block_in_place(|| Base::read(&file)).map_err(refused)
}

async fn rollback(call: &mut Call<'_>, name: &AppName, to: Option<Version>) -> Result<()> {
    let app = call.app(name)?;
    let (output, text) = call.console.output();
    let rollback = call.platform.rollback(&app, to, &call.actor.name, &output);
    call.console.during(text, rollback).await.map(drop)
}

pub(super) async fn rebuild(call: &mut Call<'_>, name: &AppName) -> Result<()> {
    let app = call.app(name)?;
    let (output, text) = call.console.output();
    let rebuild = call.platform.rebuild(&app, &call.actor.name, &output);
    call.console.during(text, rebuild).await.map(drop)
}

async fn deploy(call: &mut Call<'_>, name: &AppName) -> Result<()> {
    let archive = call.console.take_stdin()?;
    let app = found_or_made(call, name)?;
    let (output, text) = call.console.output();
    let deploy = call.platform.deploy_archive(&app, archive, &call.actor.name, &output);
    call.console.during(text, deploy).await.map(drop)
}

/// A deploy makes the app, as a push does, for those who may make apps.
fn found_or_made(call: &Call<'_>, name: &AppName) -> Result<App> {
    let may_make = call.actor.check(Need::Admin, None).is_ok();
    if may_make && call.platform.store.app(name)?.is_none() {
        return call.platform.create_app(name);
    }
    call.app(name)
}
