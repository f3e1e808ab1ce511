//! How much of the machine an app's process types may use.

use std::str::FromStr;

use super::Call;
use super::arguments::Form;
use super::line::Resources;
use crate::engines::EngineName;
use crate::failure::{Failure, Result};
use crate::limits::{BUILD, Limit, Limits, Resource};
use crate::listing::{Cell, Listing};
use crate::names::{AppName, InvalidName, ProcessType};
use crate::platform::Platform;
use crate::quota::{DataUse, over};
use crate::store::App;
use crate::terms::Terms;

/// Carries out one of them.
pub(super) async fn carry_out(call: &mut Call<'_>, command: Resources) -> Result<()> {
    match command {
        Resources::List { app, form } => show(call, &app, form).await,
        Resources::Limit { app, words } => limit(call, &app, words).await,
        Resources::Clear { app, words } => clear(call, &app, words).await,
    }
}

/// What is expected of the first release.
const WEB: &str = "web";
/// A one-off's process type.
const RUN: &str = "run";

/// What `resource:limit` takes: `worker memory=1G`.
#[derive(Debug, Clone)]
pub(super) enum LimitWord {
    Type(ProcessType),
    Limit(Limit),
}

impl FromStr for LimitWord {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.contains('=') {
            return text.parse().map(Self::Limit).map_err(|error: crate::limits::InvalidLimit| error.to_string());
        }
        text.parse().map(Self::Type).map_err(|error: InvalidName| error.to_string())
    }
}

/// What `resource:limit-clear` takes: `worker memory`.
#[derive(Debug, Clone)]
pub(super) enum ClearWord {
    Type(ProcessType),
    Resource(Resource),
}

impl FromStr for ClearWord {
    type Err = InvalidName;
    fn from_str(text: &str) -> std::result::Result<Self, InvalidName> {
        text.parse().map(Self::Resource).or_else(|_| text.parse().map(Self::Type))
    }
}

async fn show(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let app = call.app(name)?;
    let columns = [
        "process",
        "memory",
        "cpu",
        "pids",
        "files",
        "tmp",
        "code",
        "log",
        "data",
        "data_used",
        "time",
        "detect_time",
        "disk",
        "inodes",
        "not_enforced",
    ];
    let mut listing =
        Listing::new(format!("{name} limits (for each instance, but data: for all together)"), columns, "");
    let in_builds = call.platform.engines.unenforced(engine_of(&app, BUILD)).await;
    let data = call.platform.data_use(&app).await;
    let unenforced = unenforced(call.platform, &app, None, data.as_ref()).await;
    for process in types(call, &app)? {
        let builds = process == BUILD;
        let limits = if builds { app.terms.limits.of_builds() } else { app.terms.limits.of(&process) };
        let data = data.as_ref().filter(|_| !builds);
        listing.row(row(process, &limits, data, if builds { &in_builds } else { &unenforced }));
    }
    call.console.print(&listing.render_turned(form.json)).await;
    if !form.json {
        tell_unenforced(call, &unenforced).await;
        tell_data(call, name, data.as_ref()).await;
    }
    Ok(())
}

/// The limits that nothing enforces for what runs of an app, or for one process type, and why.
async fn unenforced(
    platform: &Platform,
    app: &App,
    process: Option<&ProcessType>,
    data: Option<&DataUse>,
) -> Vec<(Resource, String)> {
    let mut all = platform.engines.unenforced(engine_of(app, process.map_or("", ProcessType::as_str))).await;
    let why = data.and_then(|data| data.unenforced.clone());
    all.extend(why.map(|why| (Resource::Data, why)));
    all
}

/// What else there is to say of `data/`.
async fn tell_data(call: &mut Call<'_>, name: &AppName, data: Option<&DataUse>) {
    let said = match data {
        Some(DataUse { limit, used: Ok(used), .. }) if used > limit => over(name, *limit),
        Some(DataUse { used: Err(why), .. }) => format!("what data/ holds is not known: {why}"),
        _ => return,
    };
    call.console.print(&format!(" !     {said}\n")).await;
}

/// Builds run natively, always.
fn engine_of(app: &App, process: &str) -> EngineName {
    if process == BUILD { EngineName::Native } else { app.terms.engine }
}

/// Mostly all of them lack the same.
async fn tell_unenforced(call: &mut Call<'_>, unenforced: &[(Resource, String)]) {
    for group in unenforced.chunk_by(|(_, one), (_, other)| one == other) {
        let names: Vec<&str> = group.iter().map(|(resource, _)| resource.as_str()).collect();
        let why = group.first().map_or("", |(_, why)| why);
        call.console.print(&format!(" !     not enforced on this machine: {}; {why}\n", names.join(", "))).await;
    }
}

fn row(process: String, limits: &Limits, data: Option<&DataUse>, unenforced: &[(Resource, String)]) -> [Cell; 15] {
    let size = |resource| limits.get(resource).map(Cell::Size);
    let time = |resource| limits.get(resource).map(Cell::Seconds);
    [
        process.into(),
        size(Resource::Memory).into(),
        limits.get(Resource::Cpu).map(Cell::Thousandths).into(),
        limits.get(Resource::Pids).into(),
        limits.get(Resource::Files).into(),
        size(Resource::Tmp).into(),
        size(Resource::Code).into(),
        size(Resource::Log).into(),
        data.map(|data| Cell::Size(data.limit)).into(),
        data.and_then(|data| data.used.clone().ok()).map(Cell::Rough).into(),
        time(Resource::Time).into(),
        time(Resource::DetectTime).into(),
        size(Resource::Disk).into(),
        limits.get(Resource::Inodes).into(),
        unenforced.iter().map(|(resource, _)| resource.to_string()).collect::<Vec<_>>().into(),
    ]
}

/// The process types of the app's release (before the first: web, and those that limits were set for), then one-offs and
/// builds.
fn types(call: &Call<'_>, app: &App) -> Result<Vec<String>> {
    let mut types: Vec<String> = match app.current {
        Some(_) => call.platform.process_types(app)?.into_iter().map(|kind| kind.name).collect(),
        None => app.terms.limits.types().map(ToString::to_string).collect(),
    };
    types.retain(|kind| kind != RUN && kind != BUILD);
    if app.current.is_none() && !types.iter().any(|kind| kind == WEB) {
        types.insert(0, WEB.to_owned());
    }
    types.extend([RUN, BUILD].map(str::to_owned));
    Ok(types)
}

async fn limit(call: &mut Call<'_>, name: &AppName, words: Vec<LimitWord>) -> Result<()> {
    let mut words = words.into_iter().peekable();
    let first = words.next_if(|word| matches!(word, LimitWord::Type(_)));
    let process = first.and_then(|word| if let LimitWord::Type(kind) = word { Some(kind) } else { None });
    let limits = words.map(|word| match word {
        LimitWord::Limit(limit) => Ok(limit),
        LimitWord::Type(kind) => Err(Failure::new(format!("{kind} is no limit"), "write KEY=VALUE, as in memory=512M")),
    });
    let limits: Vec<Limit> = limits.collect::<Result<_>>()?;
    if limits.is_empty() {
        return Err(Failure::new("there is nothing to set", "write KEY=VALUE, as in memory=512M"));
    }
    if let (Some(process), Some(shared)) = (&process, limits.iter().find(|limit| limit.resource.is_shared())) {
        return Err(Failure::new(
            format!("{process} has no {} of its own: all that runs of {name} shares it", shared.resource),
            format!("leave {process} out: `resource:limit {name} {shared}`"),
        ));
    }
    let of_builds = limits.iter().find(|limit| limit.resource.is_of_builds());
    if let Some(limit) = of_builds.filter(|_| process.as_ref().is_none_or(|process| process.as_str() != BUILD)) {
        return Err(Failure::new(
            format!("only builds have a limit of {}", limit.resource),
            format!("say so: `resource:limit {name} {BUILD} {limit}`"),
        ));
    }
    let shown: Vec<String> = limits.iter().map(ToString::to_string).collect();
    let said = format!("-----> {}: {}\n", subject(name, process.as_ref()), shown.join(" "));
    alter(call, name, process.as_ref(), |terms| {
        terms.limits.set(process.as_ref(), &limits);
        Ok(())
    })
    .await?;
    call.console.print(&said).await;
    let app = call.app(name)?;
    let set = |resource: Resource| limits.iter().any(|limit| limit.resource == resource);
    let data = if set(Resource::Data) { call.platform.data_use(&app).await } else { None };
    let mut unenforced = unenforced(call.platform, &app, process.as_ref(), data.as_ref()).await;
    unenforced.retain(|(resource, _)| set(*resource));
    tell_unenforced(call, &unenforced).await;
    tell_data(call, name, data.as_ref()).await;
    Ok(())
}

async fn clear(call: &mut Call<'_>, name: &AppName, words: Vec<ClearWord>) -> Result<()> {
    let mut words = words.into_iter().peekable();
    let first = words.next_if(|word| matches!(word, ClearWord::Type(_)));
    let process = first.and_then(|word| if let ClearWord::Type(kind) = word { Some(kind) } else { None });
    let resources = words.map(|word| match word {
        ClearWord::Resource(resource) => Ok(resource),
        ClearWord::Type(kind) => Err(Failure::new(format!("{kind} is no limit"), format!("see `resource {name}`"))),
    });
    let resources: Vec<Resource> = resources.collect::<Result<_>>()?;
    let subject = subject(name, process.as_ref());
    alter(call, name, None, |terms| match terms.limits.clear(process.as_ref(), &resources) {
        None => Ok(()),
        Some(missing) => {
            Err(Failure::new(format!("{missing} is not set for {subject}"), format!("see `resource {name}`")))
        }
    })
    .await?;
    call.console.print(&format!("-----> {subject}: back to what holds otherwise; see `resource {name}`\n")).await;
    Ok(())
}

async fn alter(
    call: &mut Call<'_>,
    name: &AppName,
    process: Option<&ProcessType>,
    alter: impl FnOnce(&mut Terms) -> Result<()>,
) -> Result<()> {
    let app = call.app(name)?;
    if let (Some(process), Some(_)) = (process, app.current) {
        let known = types(call, &app)?;
        if !known.iter().any(|kind| kind == process.as_str()) {
            let remedy = format!("there are {}", known.join(", "));
            return Err(Failure::new(format!("{name} has no process {process}"), remedy));
        }
    }
    let (output, text) = call.console.output();
    call.console.during(text, call.platform.set_terms(&app, alter, &output)).await
}

/// `worker of blog`
fn subject(name: &AppName, process: Option<&ProcessType>) -> String {
    process.map_or_else(|| name.to_string(), |process| format!("{process} of {name}"))
}
