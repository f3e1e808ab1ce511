use proptest::prelude::*;

use super::*;
use crate::access::Need;
use crate::names::AppName;

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

/// One of each kind.
const COMMANDS: &[&str] = &[
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
    "certs",
    "certs a --json",
    "certs:add",
    "certs:add a",
    "certs:add a www.example.org",
    "certs:remove",
    "certs:remove a www.example.org",
    "certs:retry a",
    "certs:retry a www.example.org",
    "certs:ca",
    "http:set a https=redirect hsts=365d",
    "http:set a https=both hsts=off",
    "http a --json",
    "http:set a access-log=json",
    "maintenance:on a",
    "maintenance:off a",
    "ssh-config",
    "stop-all",
    "upgrade",
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
    "buildpacks:install https://example.org/x.git#v1 --replace",
    "buildpacks:uninstall a/b@1.0.0",
];

#[test]
fn every_command_of_the_contract_is_known() {
    for line in COMMANDS {
        assert!(parse(line).is_ok(), "{line}: {}", shown(line));
    }
}

#[test]
fn the_app_may_be_an_option() {
    for line in ["ps -a blog", "ps --app blog", "ps --app=blog", "ps blog"] {
        assert!(
            matches!(parse(line), Ok(Command::Processes(Processes::List { app, .. })) if app.as_str() == "blog"),
            "{line}"
        );
    }
    insta::assert_snapshot!(shown("config:set A=1 -a blog B=2"), @r#"Configuration(Set { app: AppName("blog"), assignments: [A=…, B=…], scope: Scope { build: false }, no_restart: false })"#);
    insta::assert_snapshot!(shown("run -a blog ls -a x"), @r#"Attached(Run { app: AppName("blog"), command: ["ls", "-a", "x"] })"#);
    insta::assert_snapshot!(shown("keys:add me --app blog"), @r#"Access(AddKey { name: KeyName("me"), app: Some(AppName("blog")), role: None })"#);
    insta::assert_snapshot!(shown("ps -a"), @r"
    !     missing: APP
    !     usage: ps APP [OPTIONS] (see `help ps`)
    ");
}

#[test]
fn the_words_of_run_are_left_alone() {
    insta::assert_snapshot!(shown("run blog python --help -h --app x -- -c"), @r#"Attached(Run { app: AppName("blog"), command: ["python", "--help", "-h", "--app", "x", "--", "-c"] })"#);
    insta::assert_snapshot!(shown("run blog --version"), @r#"Attached(Run { app: AppName("blog"), command: ["--version"] })"#);
    insta::assert_snapshot!(shown("run blog -- ls -- x"), @r#"Attached(Run { app: AppName("blog"), command: ["ls", "--", "x"] })"#);
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
