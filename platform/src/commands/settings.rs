//! Single settings of an app: its check's timeout, its deploy branch, its engine, its network, maintenance.

use std::str::FromStr;

use engine::Egress;

use super::Call;
use super::arguments::{ChecksTimeout, Form, GitSetting, NetworkSetting};
use super::http;
use super::line::Settings;
use crate::engines::EngineName;
use crate::failure::Result;
use crate::listing::Details;
use crate::names::AppName;
use crate::network::EgressName;
use crate::store::App;
use crate::terms::Terms;

/// Carries out one of them.
pub(super) async fn carry_out(call: &mut Call<'_>, command: Settings) -> Result<()> {
    match command {
        Settings::ImportData { app } => super::data::import(call, &app).await,
        Settings::Checks { app, setting } => checks(call, &app, setting).await,
        Settings::Git { app, setting } => git(call, &app, setting).await,
        Settings::Engine { app, engine: chosen } => engine(call, &app, chosen).await,
        Settings::Network { app, form } => show_network(call, &app, form).await,
        Settings::SetNetwork { app, settings } => network(call, &app, &settings).await,
        Settings::Http { app, form } => http::show(call, &app, form).await,
        Settings::SetHttp { app, settings } => http::set(call, &app, &settings).await,
        Settings::MaintenanceOn { app } => maintenance(call, &app, true).await,
        Settings::MaintenanceOff { app } => maintenance(call, &app, false).await,
    }
}

async fn checks(call: &mut Call<'_>, name: &AppName, ChecksTimeout(seconds): ChecksTimeout) -> Result<()> {
    let app = call.app(name)?;
    call.platform.store.set_checks_timeout(app.id, seconds)?;
    call.console.print(&format!("-----> {name}: a web process has {seconds} s to become healthy\n")).await;
    Ok(())
}

async fn git(call: &mut Call<'_>, name: &AppName, setting: GitSetting) -> Result<()> {
    let app = call.app(name)?;
    let BranchName(branch) = &setting.branch;
    call.platform.store.set_deploy_branch(app.id, branch)?;
    call.console.print(&format!("-----> {name}: pushes of {branch} deploy from now on\n")).await;
    Ok(())
}

async fn engine(call: &mut Call<'_>, name: &AppName, engine: EngineName) -> Result<()> {
    let app = call.app(name)?;
    set_terms(call, &app, |terms| terms.engine = engine).await?;
    call.console.print(&format!("-----> {name} runs in {engine}\n")).await;
    Ok(())
}

async fn network(call: &mut Call<'_>, name: &AppName, settings: &[NetworkSetting]) -> Result<()> {
    let app = call.app(name)?;
    let alter = |terms: &mut Terms| {
        for setting in settings {
            match *setting {
                NetworkSetting::Egress(egress) => terms.egress = egress,
                NetworkSetting::Internal(internal) => terms.internal = internal,
            }
        }
    };
    set_terms(call, &app, alter).await?;
    let app = call.app(name)?;
    call.platform.route_of(app.id);
    let said = format!("-----> {name}: connections out reach {}\n", reaches(&app.terms));
    call.console.print(&said).await;
    Ok(())
}

async fn show_network(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let terms = call.app(name)?.terms;
    let unavailable = call.platform.engines.abilities_of(terms.engine).await.egress.err();
    let details = Details::new(format!("{name} network"))
        .with("app", name.as_str())
        .with("egress", EgressName(terms.egress).as_str())
        .with("internal", terms.internal)
        .with("reaches", reaches(&terms))
        .with("unavailable", unavailable);
    call.console.print(&details.render(form.json)).await;
    Ok(())
}

fn reaches(terms: &Terms) -> String {
    let apps = match (terms.internal, terms.egress) {
        (true, Egress::Internet | Egress::Private) => "; of other apps those with internal=on, as http://APP.internal",
        (true, Egress::None) => ", no app either; apps with internal=on reach it",
        (false, Egress::None) => "",
        (false, _) => "; no other app",
    };
    format!("{}{apps}", EgressName(terms.egress).reaches())
}

async fn set_terms(call: &mut Call<'_>, app: &App, alter: impl FnOnce(&mut Terms)) -> Result<()> {
    let alter = |terms: &mut Terms| {
        alter(terms);
        Ok(())
    };
    let (output, text) = call.console.output();
    call.console.during(text, call.platform.set_terms(app, alter, &output)).await
}

async fn maintenance(call: &mut Call<'_>, name: &AppName, on: bool) -> Result<()> {
    let app = call.app(name)?;
    call.platform.store.set_maintenance(app.id, on)?;
    call.platform.route_of(app.id);
    let state = if on { "visitors see a maintenance page" } else { "the app answers again" };
    call.console.print(&format!("-----> {name}: {state}\n")).await;
    Ok(())
}

/// The name of a branch, without `refs/heads/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BranchName(String);

impl FromStr for BranchName {
    type Err = String;
    /// The rules of `git check-ref-format`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let name = text.strip_prefix("refs/heads/").unwrap_or(text);
        let locked = |part: &str| part.rsplit_once('.').is_some_and(|(_, ending)| ending == "lock");
        let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !locked(part);
        let character = |c: char| !c.is_control() && !" ~^:?*[\\".contains(c);
        let valid = name.len() <= 200
            && name.split('/').all(part)
            && name.chars().all(character)
            && !name.contains("..")
            && !name.contains("@{")
            && !name.starts_with('-')
            && !name.ends_with('.')
            && name != "@";
        if valid { Ok(Self(name.to_owned())) } else { Err(format!("{text:?} is not the name of a branch")) }
    }
}

#[cfg(test)]
mod tests {
    use super::BranchName;

    #[test]
    fn branches() {
        for good in ["main", "feature/x", "v1.0", "é", "refs/heads/main"] {
            assert!(good.parse::<BranchName>().is_ok(), "{good}");
        }
        assert_eq!("refs/heads/main".parse(), Ok(BranchName("main".into())));
        for bad in [
            "", "a b", "a..b", "-a", ".a", "a/.b", "a.lock", "a/", "/a", "a//b", "a~1", "a:b", "@", "a@{1}", "a.",
            "a\u{7}",
        ] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad}");
        }
    }
}
