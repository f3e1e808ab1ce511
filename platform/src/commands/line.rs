//! What can be said: every command, its arguments, and what it needs.

use builder::reference::Reference;
use clap::{CommandFactory, Parser};

use super::arguments::{
    AppRole, Assignment, ChecksTimeout, ExportFormat, Form, GitSetting, KeptBuilds, NetworkSetting, Query, Scale, place,
};
use super::config::Scope;
use super::help;
use super::resources::{ClearWord, LimitWord};
use crate::access::Need;
use crate::engines::EngineName;
use crate::failure::Failure;
use crate::names::{AppName, ConfigKey, KeyName, Process, Selector, Version};
use crate::packages::Repository;

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

    /// List the apps
    #[command(visible_alias = "apps:list")]
    Apps(#[command(flatten)] Form),
    /// Make an app (a first push does that too)
    #[command(name = "apps:create")]
    AppsCreate { app: AppName },
    /// Remove an app and everything of it, its data too
    #[command(name = "apps:destroy")]
    AppsDestroy {
        app: AppName,
        /// The app's name once more
        #[arg(long, value_name = "APP")]
        confirm: Option<AppName>,
        /// Without asking for the name once more
        #[arg(long)]
        force: bool,
    },
    /// Give an app another name, and with it another address
    #[command(name = "apps:rename")]
    AppsRename {
        app: AppName,
        #[arg(value_name = "NEW")]
        to: AppName,
    },
    /// Show what is known about an app
    #[command(name = "apps:info")]
    AppsInfo {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Show where an app answers
    Url { app: AppName },

    /// List an app's instances
    Ps {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Change how many instances run; without TYPE=N show it
    #[command(name = "ps:scale")]
    PsScale {
        app: AppName,
        #[arg(value_name = "TYPE=N")]
        wanted: Vec<Scale>,
        #[command(flatten)]
        form: Form,
    },
    /// Replace instances by new ones of the same release
    #[command(name = "ps:restart", visible_alias = "restart")]
    PsRestart {
        app: AppName,
        /// `web`, or `web.2`
        #[arg(value_name = "PROCESS")]
        which: Option<Selector>,
    },
    /// End an app's instances
    #[command(name = "ps:stop")]
    PsStop { app: AppName },
    /// Start what ps:stop ended
    #[command(name = "ps:start")]
    PsStart { app: AppName },
    /// Build and release the tip of the deploy branch anew
    #[command(name = "ps:rebuild")]
    PsRebuild { app: AppName },
    /// End every instance, then the server; its next start launches the apps again
    #[command(name = "stop-all")]
    StopAll,

    /// Show an app's log
    Logs {
        app: AppName,
        #[command(flatten)]
        query: Query,
    },
    /// Run a command in a new instance of its own
    Run {
        app: AppName,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Open a shell in a running instance
    Enter { app: AppName, process: Option<Process> },

    /// Show an app's configuration
    Config {
        app: AppName,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        form: Form,
    },
    /// Show one value
    #[command(name = "config:get")]
    ConfigGet {
        app: AppName,
        key: ConfigKey,
        #[command(flatten)]
        scope: Scope,
    },
    /// Set variables; `-` reads a dotenv file from standard input
    #[command(name = "config:set")]
    ConfigSet {
        app: AppName,
        #[arg(required = true, value_name = "KEY=VALUE")]
        assignments: Vec<Assignment>,
        #[command(flatten)]
        scope: Scope,
        /// Keep it for the next release
        #[arg(long)]
        no_restart: bool,
    },
    /// Remove variables
    #[command(name = "config:unset")]
    ConfigUnset {
        app: AppName,
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<ConfigKey>,
        #[command(flatten)]
        scope: Scope,
        /// Keep it for the next release
        #[arg(long)]
        no_restart: bool,
    },

    /// List an app's releases
    Releases {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Compare every file of a release with what it was when it was made
    #[command(name = "releases:verify")]
    ReleasesVerify {
        app: AppName,
        /// Such as v12; without it the one that serves
        #[arg(value_name = "RELEASE")]
        version: Option<Version>,
        #[command(flatten)]
        form: Form,
    },
    /// Change of how many builds releases are kept to roll back to (10)
    #[command(name = "releases:keep")]
    ReleasesKeep {
        app: AppName,
        #[arg(value_name = "N")]
        builds: KeptBuilds,
    },
    /// Write a release to standard output, for Docker or for another server
    #[command(name = "releases:export")]
    ReleasesExport {
        app: AppName,
        /// Such as v12; without it the one that serves
        #[arg(value_name = "RELEASE")]
        version: Option<Version>,
        /// oci: an image for `docker load` and skopeo; tar: signed, for `deploy`. Configuration is in neither
        #[arg(long, value_name = "oci|tar", default_value = "oci")]
        format: ExportFormat,
        /// Put the image over the one on standard input, as `docker save` writes it; without it the image has no system of its own
        #[arg(long, value_name = "-", value_parser = ["-"])]
        base: Option<String>,
    },
    /// Print the public key with which this server signs releases
    #[command(name = "releases:key")]
    ReleasesKey,
    /// List whose releases can be deployed here
    #[command(name = "releases:trusted")]
    ReleasesTrusted(#[command(flatten)] Form),
    /// Trust releases that are signed with the public key on standard input
    #[command(name = "releases:trust")]
    ReleasesTrust { name: KeyName },
    /// Trust a signer no more
    #[command(name = "releases:distrust")]
    ReleasesDistrust { name: KeyName },
    /// Release the code, dependencies and configuration of an earlier release again
    Rollback {
        app: AppName,
        /// Such as v12; without it the one before
        #[arg(value_name = "RELEASE")]
        to: Option<Version>,
    },
    /// Deploy a tar or tar.gz from standard input: of a tree, or of another server's release
    Deploy { app: AppName },

    /// List the buildpacks chosen for an app; without APP those that the server has
    #[command(visible_alias = "buildpacks:list")]
    Buildpacks {
        app: Option<AppName>,
        #[command(flatten)]
        form: Form,
    },
    /// Choose one more buildpack for an app's builds, instead of the built-in order
    #[command(name = "buildpacks:add")]
    BuildpacksAdd {
        app: AppName,
        /// ID or ID@VERSION of one that the server has, or ./DIRECTORY of the app's repository
        #[arg(value_name = "BUILDPACK")]
        buildpack: Reference,
        /// Its place among them, from 1; without it the last
        #[arg(long, value_name = "N", value_parser = place)]
        index: Option<usize>,
    },
    /// Choose a buildpack instead of the first that is chosen
    #[command(name = "buildpacks:set")]
    BuildpacksSet {
        app: AppName,
        /// ID or ID@VERSION of one that the server has, or ./DIRECTORY of the app's repository
        #[arg(value_name = "BUILDPACK")]
        buildpack: Reference,
        /// Instead of the Nth
        #[arg(long, value_name = "N", value_parser = place)]
        index: Option<usize>,
    },
    /// Choose one buildpack less
    #[command(name = "buildpacks:remove")]
    BuildpacksRemove {
        app: AppName,
        #[arg(value_name = "BUILDPACK")]
        buildpack: Option<Reference>,
        /// The Nth
        #[arg(long, value_name = "N", value_parser = place, conflicts_with = "buildpack")]
        index: Option<usize>,
    },
    /// Choose none: project.toml says which, or the built-in ones are tried
    #[command(name = "buildpacks:clear")]
    BuildpacksClear { app: AppName },
    /// Say which buildpacks would build an app and why others would not, without building
    #[command(name = "buildpacks:detect")]
    BuildpacksDetect {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Give the server buildpacks: from standard input (tar or tar.gz of a directory, or .cnb), or a git repository
    #[command(name = "buildpacks:install")]
    BuildpacksInstall {
        /// https://HOST/PATH, or https://HOST/PATH#BRANCH-OR-TAG
        #[arg(value_name = "REPOSITORY")]
        from: Option<Repository>,
        /// Instead of those of the same name and version
        #[arg(long)]
        replace: bool,
    },

    /// Take a buildpack from the server, unless an app has chosen it
    #[command(name = "buildpacks:uninstall")]
    BuildpacksUninstall {
        /// ID@VERSION; without a version all of that ID
        #[arg(value_name = "BUILDPACK")]
        buildpack: Reference,
    },

    /// Write a tar of the app's data/ to standard output
    #[command(name = "data:export")]
    DataExport { app: AppName },
    /// Replace the app's data/ by the tar or tar.gz on standard input
    #[command(name = "data:import")]
    DataImport { app: AppName },

    /// List the host names at which an app answers
    Domains {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Let an app answer at more host names
    #[command(name = "domains:add")]
    DomainsAdd {
        app: AppName,
        #[arg(required = true, value_name = "DOMAIN")]
        domains: Vec<String>,
    },
    /// Take host names from an app
    #[command(name = "domains:remove")]
    DomainsRemove {
        app: AppName,
        #[arg(required = true, value_name = "DOMAIN")]
        domains: Vec<String>,
    },

    /// List the public keys that may come in
    Keys(#[command(flatten)] Form),
    /// Let the public key on standard input in
    #[command(name = "keys:add")]
    KeysAdd {
        name: KeyName,
        /// Only this app; without it the key is admin of everything
        #[arg(long)]
        app: Option<AppName>,
        /// deploy: push, logs, ps, releases, rollback, restart; admin: everything of the app
        #[arg(long, requires = "app")]
        role: Option<AppRole>,
    },
    /// Shut a key out
    #[command(name = "keys:remove")]
    KeysRemove { name: KeyName },

    /// Change how long a web process has to become healthy: timeout=SECONDS
    #[command(name = "checks:set")]
    ChecksSet {
        app: AppName,
        #[arg(value_name = "timeout=SECONDS")]
        setting: ChecksTimeout,
    },
    /// Change the branch whose pushes deploy: deploy-branch NAME
    #[command(name = "git:set")]
    GitSet {
        app: AppName,
        #[command(flatten)]
        setting: GitSetting,
    },
    /// Change what an app runs in: native (airstrip's own sandboxes) or docker
    #[command(name = "engine:set")]
    EngineSet {
        app: AppName,
        #[arg(value_name = "native|docker")]
        engine: EngineName,
    },
    /// Show how much of the machine each instance may use
    Resource {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Limit what each instance may use: memory, cpu, pids, files, tmp, code, log; what all share: data
    #[command(name = "resource:limit")]
    ResourceLimit {
        app: AppName,
        /// PROC: a process type, `run` for one-offs, `build` for builds; without it whatever runs.
        /// memory=512M, cpu=1.5 (processors), pids=256 (processes and threads), files=65536 (open at once),
        /// tmp=256M (in /tmp and the home), code=256M (written over the code), log=5M (each of two files),
        /// data=1G (in data/, which all of an app share: without PROC); memory, cpu, pids and data may be `none`.
        /// Builds only: time=15m, detect-time=60s (for finding out what builds it), disk=10G and inodes=1000000 (code, layers
        /// and /tmp together), log=16M (what one prints)
        #[arg(required = true, value_name = "[PROC] K=V")]
        words: Vec<LimitWord>,
    },
    /// Take limits back: all that were set, or those named
    #[command(name = "resource:limit-clear")]
    ResourceLimitClear {
        app: AppName,
        /// Names as for resource:limit; PROC first for those of one process type
        #[arg(value_name = "KEY")]
        words: Vec<ClearWord>,
    },
    /// Show where an app's connections may go
    Network {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Change where connections go: egress=internet|private|none, internal=on|off (APP.internal)
    #[command(name = "network:set")]
    NetworkSet {
        app: AppName,
        #[arg(value_name = "SETTING", required = true)]
        settings: Vec<NetworkSetting>,
    },
    /// Answer with a page that says so instead of the app
    #[command(name = "maintenance:on")]
    MaintenanceOn { app: AppName },
    /// Let the app answer again
    #[command(name = "maintenance:off")]
    MaintenanceOff { app: AppName },
    /// Print Host blocks for ~/.ssh/config, so that `ssh APP` works
    #[command(name = "ssh-config")]
    SshConfig,
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

    /// What the actor must be allowed, and with which app: the one place where access to commands is decided.
    pub(super) fn need(&self) -> (Need, Option<&AppName>) {
        use Command as C;
        match self {
            // They show each actor what it may see.
            C::Help { .. }
            | C::Version
            | C::Apps(_)
            | C::Buildpacks { app: None, .. }
            | C::Keys(_)
            | C::ReleasesKey
            | C::SshConfig => (Need::Nothing, None),
            C::AppsCreate { .. }
            | C::BuildpacksInstall { .. }
            | C::BuildpacksUninstall { .. }
            | C::KeysAdd { .. }
            | C::KeysRemove { .. }
            | C::ReleasesTrusted(_)
            | C::ReleasesTrust { .. }
            | C::ReleasesDistrust { .. }
            | C::StopAll => (Need::Admin, None),
            // A new name is taken from what all apps share.
            C::AppsRename { app, .. } => (Need::Admin, Some(app)),
            C::PsScale { app, wanted, .. } if wanted.is_empty() => (Need::Deploy, Some(app)),
            C::AppsInfo { app, .. }
            | C::Buildpacks { app: Some(app), .. }
            | C::BuildpacksDetect { app, .. }
            | C::Url { app }
            | C::Ps { app, .. }
            | C::PsRestart { app, .. }
            | C::PsRebuild { app }
            | C::Logs { app, .. }
            | C::Releases { app, .. }
            | C::ReleasesVerify { app, .. }
            | C::Rollback { app, .. }
            | C::Deploy { app }
            | C::Resource { app, .. }
            | C::Network { app, .. }
            | C::Domains { app, .. } => (Need::Deploy, Some(app)),
            C::AppsDestroy { app, .. }
            | C::PsScale { app, .. }
            | C::PsStop { app }
            | C::PsStart { app }
            | C::Run { app, .. }
            | C::Enter { app, .. }
            | C::Config { app, .. }
            | C::ConfigGet { app, .. }
            | C::ConfigSet { app, .. }
            | C::ConfigUnset { app, .. }
            | C::DataExport { app }
            | C::DataImport { app }
            | C::BuildpacksAdd { app, .. }
            | C::BuildpacksSet { app, .. }
            | C::BuildpacksRemove { app, .. }
            | C::BuildpacksClear { app }
            | C::DomainsAdd { app, .. }
            | C::DomainsRemove { app, .. }
            | C::ChecksSet { app, .. }
            | C::GitSet { app, .. }
            | C::ReleasesExport { app, .. }
            | C::ReleasesKeep { app, .. }
            | C::EngineSet { app, .. }
            | C::NetworkSet { app, .. }
            | C::ResourceLimit { app, .. }
            | C::ResourceLimitClear { app, .. }
            | C::MaintenanceOn { app }
            | C::MaintenanceOff { app } => (Need::AppAdmin, Some(app)),
        }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<Command, Failure> {
        Command::parse(line.split(' ').filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect())
    }

    fn shown(line: &str) -> String {
        match parse(line) {
            Ok(command) => format!("{command:?}"),
            Err(failure) => failure.lines().collect::<Vec<_>>().join("\n"),
        }
    }

    #[test]
    fn definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_is_known() {
        let lines = [
            "help",
            "help ps",
            "version",
            "apps",
            "apps:list",
            "apps --json",
            "apps:create a",
            "apps:destroy a --confirm a",
            "apps:destroy a --force",
            "apps:rename a b",
            "apps:info a --json",
            "url a",
            "ps a",
            "ps a --json",
            "ps:scale a",
            "ps:scale a --json",
            "ps:scale a web=2 worker=1",
            "ps:restart a",
            "ps:restart a web",
            "ps:restart a web.2",
            "restart a",
            "ps:stop a",
            "ps:start a",
            "ps:rebuild a",
            "logs a",
            "logs a -f",
            "logs a -t",
            "logs a --tail -n 5",
            "logs a --follow --num 5",
            "logs a -p web",
            "logs a --ps web.1",
            "logs a --process web.1 --release v3",
            "run a ls",
            "enter a",
            "enter a web.2",
            "config a",
            "config a --json",
            "config:get a K",
            "config:set a K=V L=",
            "config:set a -",
            "config:set a K=V --no-restart",
            "config:unset a K --build",
            "config:set a - --build",
            "config:set a --build K=V",
            "config:get a K --build",
            "config a --build",
            "config:unset a K L",
            "releases a",
            "releases a --json",
            "releases:keep a 3",
            "releases:export a",
            "releases:export a v3 --format tar",
            "releases:export a --base -",
            "releases:key",
            "releases:trusted --json",
            "releases:trust other",
            "releases:distrust other",
            "releases:verify a",
            "releases:verify a v3 --json",
            "rollback a",
            "rollback a v3",
            "deploy a",
            "domains a",
            "domains a --json",
            "domains:add a x.org y.org",
            "domains:remove a x.org",
            "keys",
            "keys --json",
            "keys:add me",
            "keys:add me --app a --role deploy",
            "keys:remove me",
            "checks:set a timeout=90",
            "git:set a deploy-branch main",
            "maintenance:on a",
            "maintenance:off a",
            "ssh-config",
            "stop-all",
            "buildpacks",
            "buildpacks --json",
            "buildpacks:list a --json",
            "buildpacks a",
            "buildpacks:add a heroku/procfile",
            "buildpacks:add a heroku/procfile@1.0.0 --index 1",
            "buildpacks:add a ./buildpacks/mine",
            "buildpacks:set a b",
            "buildpacks:set a b --index 2",
            "buildpacks:remove a b",
            "buildpacks:remove a --index 1",
            "buildpacks:clear a",
            "buildpacks:detect a --json",
            "buildpacks:install --replace",
        ];
        for line in lines {
            assert!(parse(line).is_ok(), "{line}: {}", shown(line));
        }
    }

    #[test]
    fn the_app_may_be_an_option() {
        for line in ["ps -a blog", "ps --app blog", "ps --app=blog", "ps blog"] {
            assert!(matches!(parse(line), Ok(Command::Ps { app, .. }) if app.as_str() == "blog"), "{line}");
        }
        insta::assert_snapshot!(shown("config:set A=1 -a blog B=2"), @r#"ConfigSet { app: AppName("blog"), assignments: [A=…, B=…], scope: Scope { build: false }, no_restart: false }"#);
        insta::assert_snapshot!(shown("run -a blog ls -a x"), @r#"Run { app: AppName("blog"), command: ["ls", "-a", "x"] }"#);
        insta::assert_snapshot!(shown("keys:add me --app blog"), @r#"KeysAdd { name: KeyName("me"), app: Some(AppName("blog")), role: None }"#);
        insta::assert_snapshot!(shown("ps -a"), @r"
        !     missing: APP
        !     usage: ps APP [OPTIONS] (see `help ps`)
        ");
    }

    #[test]
    fn the_words_of_run_are_left_alone() {
        insta::assert_snapshot!(shown("run blog python --help -h --app x -- -c"), @r#"Run { app: AppName("blog"), command: ["python", "--help", "-h", "--app", "x", "--", "-c"] }"#);
        insta::assert_snapshot!(shown("run blog --version"), @r#"Run { app: AppName("blog"), command: ["--version"] }"#);
        insta::assert_snapshot!(shown("run blog -- ls -- x"), @r#"Run { app: AppName("blog"), command: ["ls", "--", "x"] }"#);
        insta::assert_snapshot!(shown("run blog"), @r"
        !     missing: COMMAND…
        !     usage: run APP COMMAND… (see `help run`)
        ");
        insta::assert_snapshot!(shown("run --help"), @r#"Help { command: Some("run") }"#);
        insta::assert_snapshot!(shown("ps:scale --help"), @r#"Help { command: Some("ps:scale") }"#);
        insta::assert_snapshot!(shown("--help"), @r"Help { command: None }");
    }

    #[test]
    fn wrong_usage() {
        insta::assert_snapshot!(shown("restrat blog"), @r#"
        !     there is no command "restrat"
        !     did you mean restart or ps:restart? `help` lists all commands
        "#);
        insta::assert_snapshot!(shown("scale blog"), @r#"
        !     there is no command "scale"
        !     did you mean ps:scale? `help` lists all commands
        "#);
        insta::assert_snapshot!(shown("frobnicate"), @r#"
        !     there is no command "frobnicate"
        !     see `help` for the commands
        "#);
        insta::assert_snapshot!(shown("ps"), @r"
        !     missing: APP
        !     usage: ps APP [OPTIONS] (see `help ps`)
        ");
        insta::assert_snapshot!(shown("ps Blog"), @r#"
        !     "Blog" is not an app name: use 1 to 30 of a-z, 0-9 and '-', starting with a letter, not ending with '-', and none of airstrip, dokku, piku, git, root
        !     usage: ps APP [OPTIONS] (see `help ps`)
        "#);
        insta::assert_snapshot!(shown("ps blog more"), @r"
        !     unexpected argument 'more' found
        !     usage: ps APP [OPTIONS] (see `help ps`)
        ");
        insta::assert_snapshot!(shown("ps blog --jsno"), @r"
        !     unexpected argument '--jsno' found
        !     usage: ps APP [OPTIONS] (see `help ps`)
        ");
        insta::assert_snapshot!(shown("ps:scale blog web"), @r#"
        !     "web" is not TYPE=N, such as web=2
        !     usage: ps:scale APP [TYPE=N…] [OPTIONS] (see `help ps:scale`)
        "#);
        insta::assert_snapshot!(shown("ps:scale blog web=1000"), @r#"
        !     "web=1000": the number of instances is from 0 to 100
        !     usage: ps:scale APP [TYPE=N…] [OPTIONS] (see `help ps:scale`)
        "#);
        insta::assert_snapshot!(shown("logs blog -n many"), @r#"
        !     "many" is not a number of lines
        !     usage: logs APP [OPTIONS] (see `help logs`)
        "#);
        insta::assert_snapshot!(shown("keys:add me --role deploy"), @r"
        !     missing: --app APP
        !     usage: keys:add NAME [OPTIONS] (see `help keys:add`)
        ");
        insta::assert_snapshot!(shown("keys:add me --app a --role owner"), @r"
        !     invalid value 'owner' for '--role <ROLE>' [possible values: deploy, admin]
        !     usage: keys:add NAME [OPTIONS] (see `help keys:add`)
        ");
        insta::assert_snapshot!(shown("checks:set blog timeout=0"), @r#"
        !     "timeout=0" is not timeout=SECONDS, from 1 to 3600
        !     usage: checks:set APP timeout=SECONDS (see `help checks:set`)
        "#);
        insta::assert_snapshot!(shown("releases:keep blog 0"), @r#"
        !     "0" is not a number of builds, from 1 (the one that serves) to 1000
        !     usage: releases:keep APP N (see `help releases:keep`)
        "#);
        insta::assert_snapshot!(shown("git:set blog branch main"), @r"
        !     invalid value 'branch' for '<deploy-branch>' [possible values: deploy-branch]
        !     usage: git:set APP deploy-branch NAME (see `help git:set`)
        ");
        insta::assert_snapshot!(shown("buildpacks:add blog https://example.org/x.git"), @r"
        !     https://example.org/x.git would have to be fetched: install it (ssh airstrip@HOST buildpacks:install URL, or a tar of it on standard input), or put it into the app's repository
        !     usage: buildpacks:add APP BUILDPACK [OPTIONS] (see `help buildpacks:add`)
        ");
        insta::assert_snapshot!(shown("buildpacks:add blog b --index 0"), @r#"
        !     "0" is not a place among buildpacks, from 1
        !     usage: buildpacks:add APP BUILDPACK [OPTIONS] (see `help buildpacks:add`)
        "#);
        insta::assert_snapshot!(shown("config:set blog"), @r"
        !     missing: KEY=VALUE…
        !     usage: config:set APP KEY=VALUE… [OPTIONS] (see `help config:set`)
        ");
    }

    #[test]
    fn values_are_never_shown() {
        for line in [
            "config:set blog secret",
            "config:set blog K=V se/cret=x",
            "config:set blog --secret",
            "config:set blog K=V -s secret",
        ] {
            assert!(!shown(line).contains("secret"), "{}", shown(line));
        }
        assert!(shown("config:set blog 1K=secret").contains("\"1K\""));
        assert!(!shown("config:set blog 1K=secret K=secret").contains("secret"));
        assert!(!shown("config:set blog K=secret").contains("secret"));
    }

    #[test]
    fn needs() {
        use Need::{Admin, AppAdmin, Deploy, Nothing};
        let table = [
            ("apps", Nothing, None),
            ("keys", Nothing, None),
            ("help x", Nothing, None),
            ("apps:create a", Admin, None),
            ("keys:add me", Admin, None),
            ("keys:remove me", Admin, None),
            ("apps:destroy a", AppAdmin, Some("a")),
            ("restart a", Deploy, Some("a")),
            ("rollback a", Deploy, Some("a")),
            ("logs a", Deploy, Some("a")),
            ("ps:scale a", Deploy, Some("a")),
            ("ps:scale a web=2", AppAdmin, Some("a")),
            ("config a", AppAdmin, Some("a")),
            ("buildpacks", Nothing, None),
            ("buildpacks a", Deploy, Some("a")),
            ("buildpacks:detect a", Deploy, Some("a")),
            ("buildpacks:add a b", AppAdmin, Some("a")),
            ("buildpacks:install", Admin, None),
            ("buildpacks:uninstall a/b", Admin, None),
            ("config:get a K", AppAdmin, Some("a")),
            ("run a ls", AppAdmin, Some("a")),
            ("enter a", AppAdmin, Some("a")),
        ];
        for (line, need, app) in table {
            let command = parse(line).unwrap();
            assert_eq!((command.need().0, command.need().1.map(AppName::as_str)), (need, app), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_words_panic(words in prop::collection::vec("(run|ps|ps:scale|config:set|logs|-a|--app|--app=x|--|-|--json|-n|a|web=1|\\PC*)", 0..6)) {
            let _command = Command::parse(words);
        }
    }
}
