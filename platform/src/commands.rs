//! The commands of `ssh airstrip@HOST COMMAND` and of `airstrip COMMAND` on the server itself.
//!
//! Every one takes the same way: [`line`] makes the words a [`Command`], the actor is checked against what it needs,
//! and only then is anything looked at or done. Each subject has a file of its own.

mod apps;
mod arguments;
mod buildpacks;
mod builds;
mod certs;
mod config;
mod console;
mod data;
mod domains;
mod help;
mod http;
mod keys;
mod line;
mod logs;
mod ps;
mod releases;
mod resources;
mod run;
mod settings;
mod signers;
mod upgrade;

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
        Command::Attached(command) => run::attached(platform, command, channel).await,
        command => answer(platform, actor, command, channel).await,
    }
}

/// A command that talks in lines of text, and that Ctrl-C at a terminal interrupts.
async fn answer(platform: &Arc<Platform>, actor: &Actor, command: Command, mut channel: Channel) -> Ended {
    let keyboard = console::keyboard(&mut channel);
    let work = async {
        let mut call = Call { platform, actor, console: Console::new(channel) };
        let result = call.in_turn(command).await;
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
    /// Not while another daemon takes over.
    async fn in_turn(&mut self, command: Command) -> Result<()> {
        let _pass = if command.changes() {
            let (output, text) = self.console.output();
            Some(self.console.during(text, self.platform.gate.enter(&output)).await?)
        } else {
            None
        };
        Box::pin(self.carry_out(command)).await
    }

    async fn carry_out(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Help { command } => help::help(self, command.as_deref()).await,
            Command::Version => help::version(self).await,
            Command::Upgrade => upgrade::upgrade(self).await,
            Command::Apps(command) => apps::carry_out(self, command).await,
            Command::Processes(command) => ps::carry_out(self, command).await,
            Command::Configuration(command) => config::carry_out(self, command).await,
            Command::Releases(command) => releases::carry_out(self, command).await,
            Command::Buildpacks(command) => buildpacks::carry_out(self, command).await,
            Command::Certs(command) => certs::carry_out(self, command).await,
            Command::Access(command) => keys::carry_out(self, command).await,
            Command::Settings(command) => settings::carry_out(self, command).await,
            Command::Resources(command) => resources::carry_out(self, command).await,
            // They take the channel as it is; see `run`.
            Command::Attached(_) => Ok(()),
        }
    }

    fn app(&self, name: &AppName) -> Result<App> {
        self.platform.app(name)
    }
}
