//! What the commands are, how each is used, and what was meant by something that is none.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Call;
use super::line::definition;
use crate::failure::{Failure, Result};

const GROUPS: &[(&str, &[&str])] = &[
    ("Apps", &["apps", "apps:create", "apps:info", "apps:rename", "apps:destroy", "url"]),
    ("Deploys", &["releases", "rollback", "ps:rebuild", "deploy", "git:set"]),
    ("Processes", &["ps", "ps:scale", "ps:restart", "ps:stop", "ps:start", "logs", "run", "enter"]),
    ("Configuration", &["config", "config:get", "config:set", "config:unset", "checks:set"]),
    ("Web", &["domains", "domains:add", "domains:remove", "maintenance:on", "maintenance:off"]),
    ("Access", &["keys", "keys:add", "keys:remove", "ssh-config"]),
    ("The server", &["help", "version", "stop-all"]),
];

pub(super) async fn version(call: &mut Call<'_>) -> Result<()> {
    call.console.print(concat!("airstrip ", env!("CARGO_PKG_VERSION"), "\n")).await;
    Ok(())
}

pub(super) async fn help(call: &mut Call<'_>, command: Option<&str>) -> Result<()> {
    let text = match command {
        None => overview(),
        Some(name) => details(name).ok_or_else(|| unknown(name))?,
    };
    call.console.print(&text).await;
    Ok(())
}

fn overview() -> String {
    let definition = definition();
    let mut text = String::from(
        "Usage: ssh airstrip@HOST COMMAND [ARGUMENTS]\n       airstrip COMMAND [ARGUMENTS]      on the server itself\n",
    );
    let rows = GROUPS.iter().flat_map(|(_, names)| names.iter()).filter_map(|name| definition.find_subcommand(name));
    let width = rows.map(|command| short_usage(command).len()).max().unwrap_or(0);
    for (group, names) in GROUPS {
        text += &format!("\n{group}\n");
        for command in names.iter().filter_map(|name| definition.find_subcommand(name)) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            text += &format!("  {:<width$}  {about}{}\n", short_usage(command), aliases(command));
        }
    }
    text + "\n`help COMMAND` tells more. `-a APP` may stand anywhere instead of APP.\n"
}

/// `apps:rename APP NEW`
fn short_usage(command: &clap::Command) -> String {
    let arguments = command.get_positionals().map(|argument| {
        let name = argument.get_value_names().into_iter().flatten().next().map_or("", |name| name.as_str());
        let repeats = argument.get_num_args().is_some_and(|count| count.max_values() > 1);
        let name = format!("{name}{}", if repeats { "…" } else { "" });
        if argument.is_required_set() { format!(" {name}") } else { format!(" [{name}]") }
    });
    arguments.fold(command.get_name().to_owned(), |usage, argument| usage + &argument)
}

fn aliases(command: &clap::Command) -> String {
    let names: Vec<&str> = command.get_visible_aliases().collect();
    if names.is_empty() { String::new() } else { format!(" (also: {})", names.join(", ")) }
}

/// `help COMMAND`
fn details(name: &str) -> Option<String> {
    let command = definition().find_subcommand(name)?.clone();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("Usage: {}\n\n{about}{}\n", full_usage(&command), aliases(&command));
    let options: Vec<(String, String)> = command.get_arguments().filter_map(described).collect();
    let width = options.iter().map(|(option, _)| option.len()).max().unwrap_or(0);
    if !options.is_empty() {
        text.push('\n');
    }
    for (option, about) in options {
        text += &format!("  {option:<width$}  {about}\n");
    }
    Some(text)
}

fn full_usage(command: &clap::Command) -> String {
    let options = command.get_arguments().any(|argument| !argument.is_positional());
    short_usage(command) + if options { " [OPTIONS]" } else { "" }
}

/// An argument that has something to be said about it: `-n, --num N`
fn described(argument: &clap::Arg) -> Option<(String, String)> {
    let about = argument.get_help()?.to_string();
    let value = argument.get_value_names().into_iter().flatten().next().map(|name| name.as_str());
    let value = value.filter(|_| argument.get_num_args().is_none_or(|count| count.takes_values()));
    let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let long = argument.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    let words = [short + &long, value.unwrap_or_default().to_owned()];
    Some((words.iter().filter(|word| !word.is_empty()).cloned().collect::<Vec<_>>().join(" "), about))
}

/// A command line that cannot be carried out: what is wrong with it, and how the command is used.
pub(super) fn usage(error: &clap::Error, name: &str) -> Failure {
    let Some(command) = definition().find_subcommand(name).cloned() else { return unknown(name) };
    let remedy = format!("usage: {} (see `help {name}`)", full_usage(&command));
    let reason = match error.kind() {
        ErrorKind::ValueValidation => std::error::Error::source(error).map(ToString::to_string),
        // Whatever clap would quote may be part of a secret.
        _ if name == "config:set" && error.kind() != ErrorKind::MissingRequiredArgument => None,
        _ => Some(first_paragraph(error)),
    };
    Failure::new(reason.unwrap_or_else(|| "an argument is not of the form".into()), remedy)
}

/// clap's own words, on one line.
fn first_paragraph(error: &clap::Error) -> String {
    if let Some(ContextValue::Strings(missing)) =
        error.get(ContextKind::InvalidArg).filter(|_| error.kind() == ErrorKind::MissingRequiredArgument)
    {
        return format!("missing: {}", missing.join(" ").replace(['<', '>'], ""));
    }
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}

fn unknown(name: &str) -> Failure {
    let near = nearest(name);
    let known = match near.is_empty() {
        true => "see `help` for the commands".to_owned(),
        false => format!("did you mean {}? `help` lists all commands", near.join(" or ")),
    };
    Failure::new(format!("there is no command {name:?}"), known)
}

/// The names most like this one: those of few typing errors, and those that hold it as a part.
fn nearest(wrong: &str) -> Vec<String> {
    let definition = definition();
    let names = definition
        .get_subcommands()
        .flat_map(|command| std::iter::once(command.get_name()).chain(command.get_visible_aliases()));
    let part = |name: &str| name.split(':').any(|part| part == wrong);
    let mut near: Vec<(bool, f64, &str)> = names
        .map(|name| (part(name), strsim::jaro_winkler(wrong, name), name))
        .filter(|(part, likeness, _)| *part || *likeness > 0.8)
        .collect();
    near.sort_by(|a, b| (b.0, b.1).partial_cmp(&(a.0, a.1)).unwrap_or(std::cmp::Ordering::Equal));
    near.into_iter().take(3).map(|(_, _, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let mut listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let definition = definition();
        let mut known: Vec<&str> = definition.get_subcommands().map(clap::Command::get_name).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn what_help_shows() {
        insta::assert_snapshot!(overview(), @r"");
        insta::assert_snapshot!(details("logs").unwrap(), @r"");
        insta::assert_snapshot!(details("restart").unwrap(), @r"");
        insta::assert_snapshot!(details("keys:add").unwrap(), @r"");
        assert_eq!(details("nonsense"), None);
    }

    #[test]
    fn nearest_names() {
        for (wrong, near) in [
            ("restrat", "restart"),
            ("scale", "ps:scale"),
            ("config:show", "config:set"),
            ("log", "logs"),
            ("app:create", "apps:create"),
        ] {
            assert!(nearest(wrong).contains(&near.to_owned()), "{wrong}: {:?}", nearest(wrong));
        }
        assert!(nearest("xyzzy").is_empty());
    }
}
