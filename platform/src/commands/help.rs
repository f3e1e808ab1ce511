//! What the commands are, how each is used, and what was meant by something that is none.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Call;
use super::line::definition;
use crate::failure::{Failure, Result};

const GROUPS: &[(&str, &[&str])] = &[
    ("Apps", &["apps", "apps:create", "apps:info", "apps:rename", "apps:destroy", "url"]),
    (
        "Deploys",
        &[
            "builds",
            "builds:cancel",
            "releases",
            "releases:keep",
            "releases:verify",
            "releases:export",
            "rollback",
            "ps:rebuild",
            "deploy",
            "git:set",
        ],
    ),
    ("Releases of other servers", &["releases:key", "releases:trusted", "releases:trust", "releases:distrust"]),
    (
        "Buildpacks",
        &[
            "buildpacks",
            "buildpacks:add",
            "buildpacks:set",
            "buildpacks:remove",
            "buildpacks:clear",
            "buildpacks:detect",
            "buildpacks:install",
            "buildpacks:uninstall",
        ],
    ),
    ("Processes", &["ps", "ps:scale", "ps:restart", "ps:stop", "ps:start", "ps:sleep", "logs", "run", "enter"]),
    ("Configuration", &["config", "config:get", "config:set", "config:unset", "checks:set", "engine:set"]),
    ("Limits", &["resource", "resource:limit", "resource:limit-clear", "network", "network:set"]),
    ("Data", &["data:export", "data:import"]),
    ("Web", &["domains", "domains:add", "domains:remove", "http", "http:set", "maintenance:on", "maintenance:off"]),
    ("Certificates", &["certs", "certs:add", "certs:remove", "certs:retry", "certs:ca"]),
    ("Access", &["keys", "keys:add", "keys:remove", "ssh-config"]),
    ("The server", &["help", "version", "upgrade", "stop-all"]),
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

const HOW: &str = "Usage: ssh airstrip@HOST COMMAND [ARGUMENTS]
       airstrip COMMAND [ARGUMENTS]      on the server itself
";
const MORE: &str = "
`help COMMAND` tells more. `-a APP` may stand anywhere instead of APP.
";

fn overview() -> String {
    let definition = definition();
    let named = |name: &&str| definition.find_subcommand(name);
    let usages = GROUPS.iter().flat_map(|(_, names)| names.iter().filter_map(named)).map(short_usage);
    let width = usages.map(|usage| usage.len()).max().unwrap_or(0);
    let groups = GROUPS.iter().map(|(group, names)| {
        let line = |command| format!("  {:<width$}  {}\n", short_usage(command), about(command));
        let heading = std::iter::once(format!("\n{group}\n"));
        heading.chain(names.iter().filter_map(named).map(line)).collect::<Vec<_>>().concat()
    });
    [HOW, &groups.collect::<Vec<_>>().concat(), MORE].concat()
}

/// `apps:rename APP NEW`
fn short_usage(command: &clap::Command) -> String {
    let arguments = command.get_positionals().map(|argument| {
        let name = argument.get_value_names().into_iter().flatten().next().map_or("", clap::builder::Str::as_str);
        let repeats = argument.get_num_args().is_some_and(|count| count.max_values() > 1);
        let name = format!("{name}{}", if repeats { "…" } else { "" });
        if argument.is_required_set() { format!(" {name}") } else { format!(" [{name}]") }
    });
    arguments.fold(command.get_name().to_owned(), |usage, argument| usage + &argument)
}

/// What a command does, and its other names.
fn about(command: &clap::Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let names: Vec<&str> = command.get_visible_aliases().collect();
    if names.is_empty() { about } else { format!("{about} (also: {})", names.join(", ")) }
}

/// `help COMMAND`
fn details(name: &str) -> Option<String> {
    let command = definition().find_subcommand(name)?.clone();
    let arguments: Vec<(String, String)> = command.get_arguments().filter_map(described).collect();
    let width = arguments.iter().map(|(argument, _)| argument.len()).max().unwrap_or(0);
    let next_line = format!("\n{:width$}    ", "");
    let lines = arguments.iter().map(|(argument, about)| {
        let about = about.replace('\n', &next_line);
        format!("  {argument:<width$}  {about}\n")
    });
    let gap = if arguments.is_empty() { "" } else { "\n" };
    let head = format!("Usage: {}\n\n{}\n{gap}", full_usage(&command), about(&command));
    Some(std::iter::once(head).chain(lines).collect())
}

fn full_usage(command: &clap::Command) -> String {
    let options = command.get_arguments().any(|argument| !argument.is_positional());
    short_usage(command) + if options { " [OPTIONS]" } else { "" }
}

/// An argument that has something to be said about it: `-n, --num N`
fn described(argument: &clap::Arg) -> Option<(String, String)> {
    let about = argument.get_help()?.to_string();
    let value = argument.get_value_names().into_iter().flatten().next().map(clap::builder::Str::as_str);
    let value = value.filter(|_| argument.get_action().takes_values());
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
        return format!("missing: {}", missing.join(" ").replace(['<', '>'], "").replace("...", "…"));
    }
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}

fn unknown(name: &str) -> Failure {
    let near = nearest(name);
    let known = if near.is_empty() {
        "see `help` for the commands".to_owned()
    } else {
        format!("did you mean {}? `help` lists all commands", near.join(" or "))
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
    fn what_help_shows_of_all() {
        insta::assert_snapshot!(overview(), @r"
        Usage: ssh airstrip@HOST COMMAND [ARGUMENTS]
               airstrip COMMAND [ARGUMENTS]      on the server itself

        Apps
          apps                               List the apps (also: apps:list)
          apps:create APP                    Make an app (a first push does that too)
          apps:info APP                      Show what is known about an app
          apps:rename APP NEW                Give an app another name, and with it another address
          apps:destroy APP                   Remove an app and everything of it, its data too
          url APP                            Show where an app answers

        Deploys
          builds APP                         List an app's builds: who wanted them, which wait, and what became of them
          builds:cancel APP [BUILD]          End the build that is under way; nothing changes
          releases APP                       List an app's releases
          releases:keep APP N                Change of how many builds releases are kept to roll back to (10)
          releases:verify APP [RELEASE]      Compare every file of a release with what it was when it was made
          releases:export APP [RELEASE]      Write a release to standard output, for Docker or for another server
          rollback APP [RELEASE]             Release the code, dependencies and configuration of an earlier release again
          ps:rebuild APP                     Build and release the tip of the deploy branch anew
          deploy APP                         Deploy a tar or tar.gz from standard input: of a tree, or of another server's release
          git:set APP deploy-branch NAME     Change the branch whose pushes deploy: deploy-branch NAME

        Releases of other servers
          releases:key                       Print the public key with which this server signs releases
          releases:trusted                   List whose releases can be deployed here
          releases:trust NAME                Trust releases that are signed with the public key on standard input
          releases:distrust NAME             Trust a signer no more

        Buildpacks
          buildpacks [APP]                   List the buildpacks chosen for an app; without APP those that the server has (also: buildpacks:list)
          buildpacks:add APP BUILDPACK       Choose one more buildpack for an app's builds, instead of the built-in order
          buildpacks:set APP BUILDPACK       Choose a buildpack instead of the first that is chosen
          buildpacks:remove APP [BUILDPACK]  Choose one buildpack less
          buildpacks:clear APP               Choose none: project.toml says which, or the built-in ones are tried
          buildpacks:detect APP              Say which buildpacks would build an app and why others would not, without building
          buildpacks:install [REPOSITORY]    Give the server buildpacks: from standard input (tar or tar.gz of a directory, or .cnb), or a git repository
          buildpacks:uninstall BUILDPACK     Take a buildpack from the server, unless an app has chosen it

        Processes
          ps APP                             List an app's instances
          ps:scale APP [TYPE=N…]             Change how many instances run; without TYPE=N show it
          ps:restart APP [PROCESS]           Replace instances by new ones of the same release (also: restart)
          ps:stop APP                        End an app's instances
          ps:start APP                       Start what ps:stop ended
          ps:sleep APP [after=TIME|off]      Let an app sleep after a time without requests, until the next: after=TIME or off; without show it
          logs APP                           Show an app's log
          run APP COMMAND…                   Run a command in a new instance of its own
          enter APP [PROCESS]                Open a shell in a running instance

        Configuration
          config APP                         Show an app's configuration
          config:get APP KEY                 Show one value
          config:set APP KEY=VALUE…          Set variables; `-` reads a dotenv file from standard input
          config:unset APP KEY…              Remove variables
          checks:set APP timeout=SECONDS     Change how long a web process has to become healthy: timeout=SECONDS
          engine:set APP native|docker       Change what an app runs in: native (airstrip's own sandboxes) or docker

        Limits
          resource APP                       Show how much of the machine each instance may use
          resource:limit APP [PROC] K=V…     Limit what each instance may use: memory, cpu, pids, files, tmp, code, log; what all share: data
          resource:limit-clear APP [KEY…]    Take limits back: all that were set, or those named
          network APP                        Show where an app's connections may go
          network:set APP SETTING…           Change where connections go: egress=internet|private|none, internal=on|off (APP.internal)

        Data
          data:export APP                    Write a tar of the app's data/ to standard output
          data:import APP                    Replace the app's data/ by the tar or tar.gz on standard input

        Web
          domains APP                        List the host names at which an app answers
          domains:add APP DOMAIN…            Let an app answer at more host names
          domains:remove APP DOMAIN…         Take host names from an app
          http APP                           Show how an app's requests are handled
          http:set APP SETTING…              Change how requests are handled: https, hsts, wait, drain, sticky, body, in-flight, rate, protocol, access-log, compress, server-timing
          maintenance:on APP                 Answer with a page that says so instead of the app
          maintenance:off APP                Let the app answer again

        Certificates
          certs [APP]                        Show with which certificates apps' host names are served
          certs:add [APP] [DOMAIN]           Serve an app, one of its domains, or all apps with the certificate and key on standard input
          certs:remove [APP] [DOMAIN]        Forget certificates that were given: of an app, one of its domains, or all apps
          certs:retry APP [DOMAIN]           Ask again at once for certificates that the authority refused
          certs:ca                           Show the certificate of the server's own authority, for clients that are to trust it

        Access
          keys                               List the public keys that may come in
          keys:add NAME                      Let the public key on standard input in
          keys:remove NAME                   Shut a key out
          ssh-config                         Print Host blocks for ~/.ssh/config, so that `ssh APP` works

        The server
          help [COMMAND]                     List the commands, or show how one is used
          version                            Show the server's version
          upgrade                            Replace the server by the program that is now at its path, without losing a request
          stop-all                           End every instance, then the server; its next start launches the apps again

        `help COMMAND` tells more. `-a APP` may stand anywhere instead of APP.
        ");
    }

    #[test]
    fn what_help_of_a_command_shows() {
        insta::assert_snapshot!(details("logs").unwrap(), @r"
        Usage: logs APP [OPTIONS]

        Show an app's log

          -f, --follow           Go on with new lines as they come (also -t, --tail)
          -n, --num N            So many of the newest lines
          -p, --process PROCESS  Only of these: `web`, or `web.2`
          --release RELEASE      Only of this release
        ");
        insta::assert_snapshot!(details("restart").unwrap(), @r"
        Usage: ps:restart APP [PROCESS]

        Replace instances by new ones of the same release (also: restart)

          PROCESS  `web`, or `web.2`
        ");
        insta::assert_snapshot!(details("keys:add").unwrap(), @r"
        Usage: keys:add NAME [OPTIONS]

        Let the public key on standard input in

          --app APP    Only this app; without it the key is admin of everything
          --role ROLE  deploy: push, logs, ps, releases, rollback, restart; admin: everything of the app
        ");
        let settings = details("http:set").unwrap();
        assert!(settings.contains("\n  SETTING  https=auto|redirect|both  who"), "{settings}");
        assert!(settings.contains("\n           rate=20|off               more"), "{settings}");
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
