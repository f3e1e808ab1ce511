//! Which buildpacks build an app, and which the server has.

use builder::reference::Reference;
use builder::{BuildpackVerdict, GroupVerdict};

use super::Call;
use super::arguments::Form;
use super::line::Buildpacks;
use crate::failure::{Failure, Result};
use crate::listing::Listing;
use crate::names::AppName;
use crate::packages::Repository;
use crate::store::App;

/// Carries out one of them.
pub(super) async fn carry_out(call: &mut Call<'_>, command: Buildpacks) -> Result<()> {
    match command {
        Buildpacks::List { app, form } => list(call, app.as_ref(), form).await,
        Buildpacks::Add { app, buildpack, index } => add(call, &app, buildpack, index).await,
        Buildpacks::Set { app, buildpack, index } => set(call, &app, buildpack, index).await,
        Buildpacks::Remove { app, buildpack, index } => remove(call, &app, buildpack, index).await,
        Buildpacks::Clear { app } => clear(call, &app).await,
        Buildpacks::Detect { app, form } => Box::pin(detect(call, &app, form)).await,
        Buildpacks::Install { from, replace } => install(call, from.as_ref(), replace).await,
        Buildpacks::Uninstall { buildpack } => uninstall(call, &buildpack).await,
    }
}

/// All that the server has, or those chosen for an app.
async fn list(call: &mut Call<'_>, name: Option<&AppName>, form: Form) -> Result<()> {
    let text = match name {
        Some(name) => chosen(&call.app(name)?).render(form.json),
        None => installed(call)?.render(form.json),
    };
    call.console.print(&text).await;
    Ok(())
}

fn chosen(app: &App) -> Listing<2> {
    let empty = "None: project.toml says which, or the built-in ones are tried in their order";
    let mut listing = Listing::new(format!("{} buildpacks", app.name), ["index", "buildpack"], empty);
    for (index, reference) in (1_u64..).zip(&app.buildpacks) {
        listing.row([index.into(), reference.to_string().into()]);
    }
    listing
}

fn installed(call: &Call<'_>) -> Result<Listing<4>> {
    let mut listing = Listing::new("buildpacks", ["id", "version", "built_in", "composed_of"], "None");
    for buildpack in call.platform.known_buildpacks()? {
        let built_in = call.platform.buildpacks.iter().any(|own| own.name() == buildpack.name());
        let groups = buildpack.order.0.iter();
        let parts = groups.flat_map(|group| group.group.iter().map(ToString::to_string)).collect::<Vec<_>>();
        listing.row([buildpack.id.into(), buildpack.version.into(), built_in.into(), parts.into()]);
    }
    Ok(listing)
}

async fn add(call: &mut Call<'_>, name: &AppName, reference: Reference, index: Option<usize>) -> Result<()> {
    let app = call.app(name)?;
    known(call, &reference)?;
    let mut buildpacks = app.buildpacks.clone();
    if buildpacks.contains(&reference) {
        return Err(Failure::plain(format!("{reference} is one of them already")));
    }
    let at = index.map_or(buildpacks.len(), |index| (index - 1).min(buildpacks.len()));
    buildpacks.insert(at, reference);
    keep(call, &app, buildpacks).await
}

/// Replaces the one at an index (else the first), or is the first.
async fn set(call: &mut Call<'_>, name: &AppName, reference: Reference, index: Option<usize>) -> Result<()> {
    let app = call.app(name)?;
    known(call, &reference)?;
    let mut buildpacks = app.buildpacks.clone();
    let at = index.unwrap_or(1) - 1;
    if at > buildpacks.len() {
        return Err(no_index(&app, at + 1));
    }
    buildpacks.splice(at..buildpacks.len().min(at + 1), [reference]);
    keep(call, &app, buildpacks).await
}

async fn remove(call: &mut Call<'_>, name: &AppName, reference: Option<Reference>, index: Option<usize>) -> Result<()> {
    let app = call.app(name)?;
    let mut buildpacks = app.buildpacks.clone();
    let at = match (&reference, index) {
        (Some(reference), _) => buildpacks.iter().position(|chosen| chosen == reference),
        (None, Some(index)) => (index <= buildpacks.len()).then_some(index - 1),
        (None, None) => return Err(Failure::new("which one?", "name it, or give --index N")),
    };
    let missing = || match reference {
        Some(reference) => {
            Failure::new(format!("{reference} is not chosen for {name}"), format!("see `buildpacks {name}`"))
        }
        None => no_index(&app, index.unwrap_or_default()),
    };
    buildpacks.remove(at.ok_or_else(missing)?);
    keep(call, &app, buildpacks).await
}

async fn clear(call: &mut Call<'_>, name: &AppName) -> Result<()> {
    let app = call.app(name)?;
    keep(call, &app, Vec::new()).await
}

async fn install(call: &mut Call<'_>, from: Option<&Repository>, replace: bool) -> Result<()> {
    let installed = if let Some(from) = from {
        let (output, text) = call.console.output();
        call.console.during(text, call.platform.fetch_buildpacks(from, replace, &output)).await?
    } else {
        let archive = call.console.take_stdin()?;
        let (output, text) = call.console.output();
        call.console.during(text, call.platform.install_buildpacks(archive, replace, &output)).await?
    };
    for buildpack in installed {
        call.console.print(&format!("-----> Installed {}\n", buildpack.name())).await;
    }
    Ok(())
}

async fn uninstall(call: &mut Call<'_>, reference: &Reference) -> Result<()> {
    let Reference::Known(entry) = reference else {
        return Err(Failure::new(format!("{reference} is an app's own"), "remove it from the app's repository"));
    };
    for name in call.platform.uninstall_buildpacks(entry)? {
        call.console.print(&format!("-----> Uninstalled {name}\n")).await;
    }
    Ok(())
}

/// Says which buildpacks would build an app, and why the others would not.
async fn detect(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let app = call.app(name)?;
    let (output, text) = call.console.output();
    let detection = call.console.during(text, call.platform.explain_buildpacks(&app, &output)).await?;
    let text = if form.json {
        as_listing(name, &detection.groups).render(true)
    } else {
        format!("=====> {name}: {}\n{}", detection.of, as_text(&detection.groups))
    };
    call.console.print(&text).await;
    Ok(())
}

fn as_listing(name: &AppName, groups: &[GroupVerdict]) -> Listing<6> {
    let columns = ["group", "buildpack", "optional", "detected", "said", "builds"];
    let mut listing = Listing::new(format!("{name} buildpacks"), columns, "None");
    let first = groups.iter().position(|group| group.result.is_ok());
    for (index, group) in groups.iter().enumerate() {
        for verdict in &group.buildpacks {
            let takes_part = group.result.as_ref().is_ok_and(|members| members.contains(&verdict.buildpack));
            listing.row([
                (index as u64 + 1).into(),
                verdict.buildpack.clone().into(),
                verdict.optional.into(),
                verdict.passed.into(),
                verdict.said.clone().into(),
                (takes_part && first == Some(index)).into(),
            ]);
        }
    }
    listing
}

fn as_text(groups: &[GroupVerdict]) -> String {
    let first = groups.iter().position(|group| group.result.is_ok());
    let mut lines = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        lines.extend(group.buildpacks.iter().map(in_words));
        lines.push(match &group.result {
            Ok(members) if first == Some(index) => format!("-----> {} would build\n", members.join(", ")),
            Ok(members) => format!("-----> {} would build, if no group before did\n", members.join(", ")),
            Err(reason) => format!("-----> no build: {reason}\n"),
        });
    }
    if first.is_none() {
        lines.push(" !     no buildpack would build this app\n".into());
    }
    lines.concat()
}

fn in_words(verdict: &BuildpackVerdict) -> String {
    let optional = if verdict.optional { " (optional)" } else { "" };
    let mut lines = verdict.said.lines();
    let first = format!("       {}{optional} {}\n", verdict.buildpack, lines.next().unwrap_or_default());
    lines.fold(first, |text, line| format!("{text}         {line}\n"))
}

/// A name that the server does not know cannot be built with. What is in the app's tree is seen at the build.
fn known(call: &Call<'_>, reference: &Reference) -> Result<()> {
    let Reference::Known(entry) = reference else { return Ok(()) };
    let known = call.platform.known_buildpacks()?;
    if entry.find(&known).is_some() {
        return Ok(());
    }
    let names: Vec<_> = known.iter().map(builder::Buildpack::name).collect();
    let remedy =
        format!("there are {}; `buildpacks:install` takes others as a tar on standard input", names.join(", "));
    Err(Failure::new(format!("there is no buildpack {entry} on this server"), remedy))
}

fn no_index(app: &App, index: usize) -> Failure {
    let count = app.buildpacks.len();
    Failure::new(
        format!("{} has {count} chosen buildpacks, none at {index}", app.name),
        format!("see `buildpacks {}`", app.name),
    )
}

async fn keep(call: &mut Call<'_>, app: &App, buildpacks: Vec<Reference>) -> Result<()> {
    call.platform.store.set_buildpacks(app.id, &buildpacks)?;
    let names: Vec<_> = buildpacks.iter().map(ToString::to_string).collect();
    let now = if names.is_empty() { "no chosen ones".to_owned() } else { names.join(", ") };
    let text = format!("-----> {}: the next build uses {now} (`ps:rebuild {}` builds now)\n", app.name, app.name);
    call.console.print(&text).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_for_people() {
        let verdict = |buildpack: &str, optional, passed, said: &str| BuildpackVerdict {
            buildpack: buildpack.into(),
            optional,
            passed,
            said: said.into(),
        };
        let groups = [
            GroupVerdict {
                buildpacks: vec![
                    verdict("a@1.0.0", false, false, "does not want this app:\nno Gemfile\nnor anything"),
                    verdict("b@1.0.0", true, true, "wants this app"),
                ],
                result: Err("a is needed, and does not want this app".into()),
            },
            GroupVerdict {
                buildpacks: vec![verdict("c@1.0.0", false, true, "wants this app")],
                result: Ok(vec!["c@1.0.0".into()]),
            },
            GroupVerdict {
                buildpacks: vec![verdict("d@1.0.0", false, true, "wants this app")],
                result: Ok(vec!["d@1.0.0".into()]),
            },
        ];
        insta::assert_snapshot!(as_text(&groups), @r"
               a@1.0.0 does not want this app:
                 no Gemfile
                 nor anything
               b@1.0.0 (optional) wants this app
        -----> no build: a is needed, and does not want this app
               c@1.0.0 wants this app
        -----> c@1.0.0 would build
               d@1.0.0 wants this app
        -----> d@1.0.0 would build, if no group before did
        ");
        assert!(as_text(&groups[..1]).ends_with(" !     no buildpack would build this app\n"));
    }
}
