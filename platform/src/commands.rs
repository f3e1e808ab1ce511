//! The commands of `ssh airstrip@HOST COMMAND` and of `airstrip COMMAND` on the server itself.
//!
//! Every one takes the same way: [`line`] makes the words a [`Command`], the actor is checked against what it needs,
//! and only then is anything looked at or done. Each subject has a file of its own.

mod apps;
mod arguments;
mod buildpacks;
mod config;
mod console;
mod data;
mod domains;
mod help;
mod keys;
mod line;
mod logs;
mod ps;
mod releases;
mod resources;
mod run;
mod settings;
mod signers;

use std::sync::Arc;

use gitd::{Channel, Ended};

use crate::access::Actor;
use crate::failure::Result;
use crate::names::AppName;
use crate::platform::Platform;
use crate::store::App;
use crate::words;

pub use console::Console;
use line::Command;

/// Carries out one command line.
pub async fn run_line(platform: &Arc<Platform>, actor: &Actor, line: &str, channel: Channel) -> Ended {
    match words::split(line) {
        Ok(words) => run(platform, actor, words, channel).await,
        Err(usage) => Console::new(channel).refuse(&usage).await,
    }
}

/// Carries out one command, given as words. No word at all asks for help.
pub async fn run(platform: &Arc<Platform>, actor: &Actor, words: Vec<String>, channel: Channel) -> Ended {
    let command = match Command::parse(words) {
        Ok(command) => command,
        Err(usage) => return Console::new(channel).refuse(&usage).await,
    };
    let (need, app) = command.need();
    if let Err(refused) = actor.check(need, app) {
        return Console::new(channel).end(Err(refused)).await;
    }
    match command {
        Command::Run { app, command } => run::one_off(platform, &app, command, channel).await,
        Command::DataExport { app } => data::export(platform, &app, channel).await,
        Command::Enter { app, process } => run::enter(platform, &app, process.as_ref(), channel).await,
        command => answer(platform, actor, command, channel).await,
    }
}

/// A command that talks in lines of text, and that Ctrl-C at a terminal interrupts.
async fn answer(platform: &Arc<Platform>, actor: &Actor, command: Command, mut channel: Channel) -> Ended {
    let keyboard = console::keyboard(&mut channel);
    let work = async {
        let mut call = Call { platform, actor, console: Console::new(channel) };
        let result = Box::pin(call.carry_out(command)).await;
        call.console.end(result).await
    };
    tokio::select! {
        ended = work => ended,
        never = keyboard => match never {},
    }
}

/// One command being carried out.
struct Call<'a> {
    platform: &'a Arc<Platform>,
    actor: &'a Actor,
    console: Console,
}

impl Call<'_> {
    async fn carry_out(&mut self, command: Command) -> Result<()> {
        use Command as C;
        match command {
            C::Help { command } => help::help(self, command.as_deref()).await,
            C::Version => help::version(self).await,
            C::Apps(form) => apps::list(self, form).await,
            C::AppsCreate { app } => apps::create(self, &app).await,
            C::AppsDestroy { app, confirm, force } => apps::destroy(self, &app, confirm.as_ref(), force).await,
            C::AppsRename { app, to } => apps::rename(self, &app, &to).await,
            C::AppsInfo { app, form } => apps::info(self, &app, form).await,
            C::Url { app } => apps::url(self, &app).await,
            C::SshConfig => apps::ssh_config(self).await,
            C::Ps { app, form } => ps::list(self, &app, form).await,
            C::PsScale { app, wanted, form } => ps::scale(self, &app, wanted, form).await,
            C::PsRestart { app, which } => ps::restart(self, &app, which.as_ref()).await,
            C::PsStop { app } => ps::stop(self, &app).await,
            C::PsStart { app } => ps::start(self, &app).await,
            C::PsRebuild { app } => releases::rebuild(self, &app).await,
            C::StopAll => ps::stop_all(self).await,
            C::Logs { app, query } => logs::show(self, &app, query).await,
            C::Config { app, scope, form } => config::list(self, &app, scope, form).await,
            C::ConfigGet { app, key, scope } => config::get(self, &app, &key, scope).await,
            C::ConfigSet { app, assignments, scope, no_restart } => {
                config::set(self, &app, assignments, scope, no_restart).await
            }
            C::ConfigUnset { app, keys, scope, no_restart } => config::unset(self, &app, keys, scope, no_restart).await,
            C::Releases { app, form } => releases::list(self, &app, form).await,
            C::ReleasesVerify { app, version, form } => releases::verify(self, &app, version, form).await,
            C::ReleasesKeep { app, builds } => releases::keep(self, &app, builds).await,
            C::ReleasesExport { app, version, format, base } => {
                releases::export(self, &app, version, format, base.is_some()).await
            }
            C::ReleasesKey => signers::key(self).await,
            C::ReleasesTrusted(form) => signers::list(self, form).await,
            C::ReleasesTrust { name } => signers::trust(self, &name).await,
            C::ReleasesDistrust { name } => signers::distrust(self, &name).await,
            C::Rollback { app, to } => releases::rollback(self, &app, to).await,
            C::Deploy { app } => releases::deploy(self, &app).await,
            C::DataImport { app } => data::import(self, &app).await,
            C::Domains { app, form } => domains::list(self, &app, form).await,
            C::DomainsAdd { app, domains } => domains::add(self, &app, domains).await,
            C::DomainsRemove { app, domains } => domains::remove(self, &app, domains).await,
            C::Keys(form) => keys::list(self, form).await,
            C::KeysAdd { name, app, role } => keys::add(self, &name, app.as_ref(), role).await,
            C::KeysRemove { name } => keys::remove(self, &name).await,
            C::ChecksSet { app, setting } => settings::checks(self, &app, setting).await,
            C::GitSet { app, setting } => settings::git(self, &app, setting).await,
            C::EngineSet { app, engine } => settings::engine(self, &app, engine).await,
            C::Resource { app, form } => resources::show(self, &app, form).await,
            C::ResourceLimit { app, words } => resources::limit(self, &app, words).await,
            C::ResourceLimitClear { app, words } => resources::clear(self, &app, words).await,
            C::Network { app, form } => settings::show_network(self, &app, form).await,
            C::NetworkSet { app, settings } => settings::network(self, &app, &settings).await,
            C::Buildpacks { app, form } => buildpacks::list(self, app.as_ref(), form).await,
            C::BuildpacksAdd { app, buildpack, index } => buildpacks::add(self, &app, buildpack, index).await,
            C::BuildpacksSet { app, buildpack, index } => buildpacks::set(self, &app, buildpack, index).await,
            C::BuildpacksRemove { app, buildpack, index } => buildpacks::remove(self, &app, buildpack, index).await,
            C::BuildpacksClear { app } => buildpacks::clear(self, &app).await,
            C::BuildpacksDetect { app, form } => Box::pin(buildpacks::detect(self, &app, form)).await,
            C::BuildpacksInstall { from, replace } => buildpacks::install(self, from.as_ref(), replace).await,
            C::BuildpacksUninstall { buildpack } => buildpacks::uninstall(self, &buildpack).await,
            C::MaintenanceOn { app } => settings::maintenance(self, &app, true).await,
            C::MaintenanceOff { app } => settings::maintenance(self, &app, false).await,
            // They take the channel as it is; see `run`.
            C::Run { .. } | C::Enter { .. } | C::DataExport { .. } => Ok(()),
        }
    }

    fn app(&self, name: &AppName) -> Result<App> {
        self.platform.app(name)
    }
}
