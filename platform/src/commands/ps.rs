//! What runs of an app, and how much of it.

use super::Call;
use super::arguments::{Form, Scale, SleepSetting};
use super::line::Processes;
use crate::clock::timestamp;
use crate::failure::Result;
use crate::limits::show_seconds;
use crate::listing::{Cell, Details, Listing};
use crate::names::{AppName, ProcessType, Selector};
use crate::store::App;

/// Carries out one of them.
pub(super) async fn carry_out(call: &mut Call<'_>, command: Processes) -> Result<()> {
    match command {
        Processes::List { app, form } => list(call, &app, form).await,
        Processes::Scale { app, wanted, form } => scale(call, &app, wanted, form).await,
        Processes::Restart { app, which } => restart(call, &app, which.as_ref()).await,
        Processes::Stop { app } => stop(call, &app).await,
        Processes::Start { app } => start(call, &app).await,
        Processes::Sleep { app, setting: None, form } => show_sleep(call, &app, form).await,
        Processes::Sleep { app, setting: Some(setting), .. } => sleep(call, &app, setting).await,
        Processes::Rebuild { app } => super::releases::rebuild(call, &app).await,
        Processes::StopAll => stop_all(call).await,
        Processes::Logs { app, query } => super::logs::show(call, &app, query).await,
    }
}

async fn list(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let app = call.app(name)?;
    let columns = ["process", "state", "since", "release", "pid", "restarts", "command"];
    let mut listing = Listing::new(format!("{name} processes"), columns, why_nothing_runs(&app));
    for instance in call.platform.instances(&app).await {
        listing.row([
            instance.process.to_string().into(),
            instance.state.to_string().into(),
            timestamp(instance.since).into(),
            instance.release.to_string().into(),
            instance.pid.into(),
            instance.restarts.into(),
            instance.command.into(),
        ]);
    }
    call.console.print(&listing.render(form.json)).await;
    Ok(())
}

fn why_nothing_runs(app: &App) -> String {
    let name = &app.name;
    match app.current {
        None => format!("Not deployed yet: see `apps:info {name}` for where to push it"),
        Some(_) if app.stopped => format!("Stopped: `ps:start {name}` starts it"),
        Some(_) => format!("Scaled to nothing: `ps:scale {name} web=1`"),
    }
}

async fn scale(call: &mut Call<'_>, name: &AppName, wanted: Vec<Scale>, form: Form) -> Result<()> {
    let app = call.app(name)?;
    if wanted.is_empty() {
        return show_scale(call, &app, form).await;
    }
    let wanted: Vec<_> = wanted.into_iter().map(|Scale(kind, count)| (kind, count)).collect();
    let (output, text) = call.console.output();
    call.console.during(text, call.platform.scale(&app, &wanted, &output)).await?;
    for (kind, count) in wanted {
        call.console.print(&format!("       {kind}={count}\n")).await;
    }
    Ok(())
}

async fn show_scale(call: &mut Call<'_>, app: &App, form: Form) -> Result<()> {
    let scale = call.platform.store.scale(app.id)?;
    let types = if app.current.is_some() { call.platform.process_types(app)? } else { Vec::new() };
    let types = types.into_iter().filter_map(|kind| Some((kind.name.parse::<ProcessType>().ok()?, kind.command)));
    let types: Vec<_> = types.filter(|(kind, _)| !kind.is_release()).collect();
    let unknown = scale.iter().filter(|(kind, _)| types.iter().all(|(known, _)| known != kind));
    let rows: Vec<_> = types.iter().map(|(kind, command)| (kind, Some(command.clone()))).collect();
    let rows = rows.into_iter().chain(unknown.filter(|_| app.current.is_none()).map(|(kind, _)| (kind, None)));
    let mut listing =
        Listing::new(format!("{} scale", app.name), ["process", "instances", "command"], why_nothing_runs(app));
    for (kind, command) in rows {
        let count = scale.iter().find(|(known, _)| known == kind).map_or(0, |(_, count)| *count);
        listing.row([kind.as_str().into(), count.into(), command.into()]);
    }
    call.console.print(&listing.render(form.json)).await;
    Ok(())
}

async fn restart(call: &mut Call<'_>, name: &AppName, which: Option<&Selector>) -> Result<()> {
    let app = call.app(name)?;
    let (output, text) = call.console.output();
    call.console.during(text, call.platform.restart(&app, which, &output)).await?;
    let what = which.map_or_else(|| name.to_string(), |which| format!("{which} of {name}"));
    call.console.print(&format!("       Restarted {what}\n")).await;
    Ok(())
}

async fn stop(call: &mut Call<'_>, name: &AppName) -> Result<()> {
    let app = call.app(name)?;
    let (output, text) = call.console.output();
    call.console.during(text, call.platform.stop(&app, &output)).await?;
    call.console
        .print(&format!("-----> Stopped {name}\n       `ps:start {name}` or the next deploy starts it again\n"))
        .await;
    Ok(())
}

async fn start(call: &mut Call<'_>, name: &AppName) -> Result<()> {
    let app = call.app(name)?;
    let (output, text) = call.console.output();
    call.console.during(text, call.platform.start(&app, &output)).await?;
    call.console.print(&format!("-----> Started {name}\n")).await;
    Ok(())
}

async fn show_sleep(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let app = call.app(name)?;
    let details = Details::new(format!("{name} sleep"))
        .with("app", name.as_str())
        .with("after", app.sleep.map(|seconds| Cell::Seconds(seconds.into())))
        .with("asleep", app.asleep);
    call.console.print(&details.render(form.json)).await;
    Ok(())
}

async fn sleep(call: &mut Call<'_>, name: &AppName, SleepSetting(seconds): SleepSetting) -> Result<()> {
    let app = call.app(name)?;
    call.platform.set_sleep(&app, seconds).await?;
    let said = match seconds.map(|seconds| show_seconds(seconds.into())) {
        Some(after) => format!("sleeps after {after} without requests; the next request wakes it"),
        None => "does not sleep".to_owned(),
    };
    call.console.print(&format!("-----> {name} {said}\n")).await;
    Ok(())
}

async fn stop_all(call: &mut Call<'_>) -> Result<()> {
    call.platform.stop_all().await;
    call.console.print("-----> Stopped every app; the server ends\n").await;
    call.platform.shutdown.cancel();
    Ok(())
}
