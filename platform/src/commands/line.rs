//! What can be said: every command and its arguments, by subject, and what it needs.

mod access;
mod apps;
mod attached;
mod buildpacks;
mod certs;
mod changes;
mod configuration;
mod need;
mod processes;
mod releases;
mod resources;
mod settings;

use clap::{CommandFactory, Parser};

use super::help;
use crate::failure::Failure;

pub(super) use access::Access;
pub(super) use apps::Apps;
pub(super) use attached::Attached;
pub(super) use buildpacks::Buildpacks;
pub(super) use certs::Certs;
pub(super) use configuration::Configuration;
pub(super) use processes::Processes;
pub(super) use releases::Releases;
pub(super) use resources::Resources;
pub(super) use settings::Settings;

#[derive(Debug, clap::Parser)]
#[command(name = "airstrip", no_binary_name = true, disable_help_subcommand = true, disable_help_flag = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// A command with its arguments, all of them parsed.
#[derive(Debug, clap::Subcommand)]
#[command(disable_help_flag = true)]
pub(super) enum Command {
    /// List the commands, or show how one is used
    Help { command: Option<String> },
    /// Show the server's version
    Version,
    /// Replace the server by the program that is now at its path, without losing a request
    Upgrade,
    #[command(flatten)]
    Apps(Apps),
    #[command(flatten)]
    Processes(Processes),
    #[command(flatten)]
    Configuration(Configuration),
    #[command(flatten)]
    Releases(Releases),
    #[command(flatten)]
    Buildpacks(Buildpacks),
    #[command(flatten)]
    Access(Access),
    #[command(flatten)]
    Certs(Certs),
    #[command(flatten)]
    Settings(Settings),
    #[command(flatten)]
    Attached(Attached),
    #[command(flatten)]
    Resources(Resources),
}

impl Command {
    /// Makes words a command. No word at all is `help`.
    pub(super) fn parse(words: Vec<String>) -> Result<Self, Failure> {
        let Some(name) = words.first().cloned() else { return Ok(Self::Help { command: None }) };
        if asks_for_help(&words) {
            return Ok(Self::Help { command: (!name.starts_with('-')).then_some(name) });
        }
        let parsed = Line::try_parse_from(app_first(words));
        parsed.map(|line| line.command).map_err(|error| help::usage(&error, &name))
    }
}

/// The definition of every command.
pub(super) fn definition() -> clap::Command {
    Line::command()
}

/// How far the words are airstrip's own: what follows the app's name in `run` is somebody else's.
fn own_words(words: &[String]) -> usize {
    match words.first().map(String::as_str) {
        Some("run") => words.len().min(2),
        _ => words.iter().position(|word| word == "--").unwrap_or(words.len()),
    }
}

fn asks_for_help(words: &[String]) -> bool {
    words.iter().take(own_words(words)).any(|word| word == "--help" || word == "-h")
}

/// `-a APP` and `--app APP` become the first argument, where a command begins with an app.
fn app_first(mut words: Vec<String>) -> Vec<String> {
    let definition = definition();
    let command = words.first().and_then(|name| definition.find_subcommand(name));
    let first = command.and_then(|command| command.get_positionals().next());
    if first.is_none_or(|argument| argument.get_id() != "app") {
        return words;
    }
    let own = own_words(&words);
    let Some(at) =
        words.iter().take(own).position(|word| matches!(word.as_str(), "-a" | "--app") || word.starts_with("--app="))
    else {
        return words;
    };
    let option = words.remove(at);
    let app = match option.strip_prefix("--app=") {
        Some(app) => Some(app.to_owned()),
        None if at < words.len() => Some(words.remove(at)),
        None => None,
    };
    words.splice(1..1, app);
    words
}

#[cfg(test)]
mod tests;
