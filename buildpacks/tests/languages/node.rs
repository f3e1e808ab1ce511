//! Node.js apps, with packages of a registry of our own.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::platform::{Platform, have};
use crate::registry::Registry;

/// A platform whose apps get `hello`, which needs `greeting`, and `tool`, which has a program.
fn platform() -> Option<(Platform, Registry)> {
    if !have("node") || !have("npm") {
        return None;
    }
    let registry = Registry::new(&[
        ("hello", "1.0.0", json!({"dependencies": {"greeting": "^1"}})),
        ("greeting", "1.2.0", json!({})),
        ("greeting", "2.0.0", json!({})),
        ("tool", "3.0.0", json!({"bin": {"tool": "bin/program.js"}})),
    ]);
    let mut platform = Platform::new("airstrip/node");
    platform.env.insert("npm_config_registry".to_owned(), registry.url());
    platform.env.insert("npm_config_fetch_retries".to_owned(), "0".to_owned());
    let version = Command::new("node").arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap().trim().trim_start_matches('v').to_owned();
    platform.redacted.push((format!("\"{}.x\"", version.split('.').next().unwrap()), "\"[MAJOR].x\""));
    platform.redacted.push((version, "[NODE]"));
    Some((platform, registry))
}

/// Writes the lock file that npm would.
fn lock(platform: &Platform) {
    let mut npm = Command::new("npm");
    npm.args(["install", "--package-lock-only", "--ignore-scripts", "--silent"])
        .current_dir(platform.path("app"))
        .envs(&platform.env);
    assert!(npm.env("npm_config_cache", platform.path("lock-cache")).status().unwrap().success());
}

const HELLO: &str = r#"{"name": "app", "scripts": {"start": "node server.js"}, "dependencies": {"hello": "^1"}, "devDependencies": {"tool": "3"}}"#;

#[test]
fn detects() {
    let platform = Platform::new("airstrip/node");
    assert_eq!(platform.detect(), Some(100));
    platform.file("package.json", "{}");
    assert_eq!(platform.detect(), Some(0));
}

#[test]
fn a_lock_file_becomes_a_layer_that_is_kept() {
    let Some((mut platform, _registry)) = platform() else { return };
    platform.file("package.json", HELLO).file("index.js", "console.log(require('hello'))\n");
    lock(&platform);
    insta::assert_snapshot!(platform.build().text, @"
    -----> Node.js app detected
    -----> Using Node.js [NODE]
    -----> Installing dependencies using 'npm ci --omit=dev'
           added 2 packages in [TIME]
    -----> Serving by scripts.start of package.json
           web: exec node server.js
    ");
    insta::assert_snapshot!(platform.read("layers/launch.toml"), @r#"
    [[processes]]
    type = "web"
    command = ["sh", "-c"]
    args = ["exec node server.js"]
    default = true
    "#);
    assert_eq!(platform.launched("node", &["index.js"]), "hello 1.0.0\n");
    let mut installed: Vec<_> = fs::read_dir(platform.path("layers/modules/node_modules"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    installed.sort();
    assert_eq!(installed, ["greeting", "hello"]);
    let listed = fs::read_dir(platform.path("layers/modules")).unwrap().count();
    assert_eq!(listed, 1, "nothing but node_modules");
    assert_eq!(platform.read("layers/node/env.launch/NODE_ENV.default").trim(), "production");

    platform.restore();
    let asked = platform
        .launched("node", &["-p", "[process.execPath, process.versions.node, process.versions.modules].join('\\n')"]);
    for (name, value) in ["BP_NODE", "BP_NODE_VERSION", "BP_NODE_ABI"].iter().zip(asked.lines()) {
        let value = if *name == "BP_NODE_ABI" {
            format!("{value}-{}", platform.launched("node", &["-p", "process.arch"]).trim())
        } else {
            value.to_owned()
        };
        platform.env.insert((*name).to_owned(), value);
    }
    let started = platform.note_programs(&["node", "npm"]);
    platform.file("package.json", &HELLO.replace("\"app\"", "\"app\", \"version\": \"2.0.0\""));
    insta::assert_snapshot!(platform.build().text, @"
    -----> Node.js app detected
    -----> Using Node.js [NODE]
    -----> Using the node_modules of the previous release: its dependencies are unchanged
    -----> Serving by scripts.start of package.json
           web: exec node server.js
    ");
    assert!(!started.exists(), "{}", fs::read_to_string(started).unwrap());
    assert!(platform.path("app/node_modules").is_symlink());
    assert!(platform.read("layers/modules.toml").contains("launch = true"));
}

#[test]
fn a_build_script_has_the_development_dependencies() {
    let Some((platform, _registry)) = platform() else { return };
    let package = HELLO.replace("\"start\"", "\"build\": \"tool built\", \"start\"");
    platform.file("package.json", &package).file("index.js", "console.log(require('hello'))\n");
    lock(&platform);
    insta::assert_snapshot!(platform.build().text, @"
    -----> Node.js app detected
    -----> Using Node.js [NODE]
    -----> Installing dependencies using 'npm ci --include=dev'
           added 3 packages in [TIME]
    -----> Running 'npm run build'
           > build
           > tool built
    -----> Removing development dependencies using 'npm prune --omit=dev --ignore-scripts'
           removed 1 package in [TIME]
    -----> Serving by scripts.start of package.json
           web: exec node server.js
    ");
    assert_eq!(platform.read("app/built"), "production\n");
    assert!(!platform.path("layers/modules/node_modules/tool").exists());
    assert_eq!(platform.launched("node", &["index.js"]), "hello 1.0.0\n");

    platform.restore();
    insta::assert_snapshot!(platform.build().text, @"
    -----> Node.js app detected
    -----> Using Node.js [NODE]
    -----> Using the node_modules of the last build: its dependencies are unchanged
    -----> Running 'npm run build'
           > build
           > tool built
    -----> Using the node_modules of the previous release: its dependencies are unchanged
    -----> Serving by scripts.start of package.json
           web: exec node server.js
    ");
    assert_eq!(fs::read_link(platform.path("app/node_modules")).unwrap(), platform.path("layers/modules/node_modules"));
}

#[test]
fn what_a_build_script_changes_is_launched() {
    let Some((platform, _registry)) = platform() else { return };
    let package = HELLO.replace("\"start\"", "\"build\": \"tool node_modules/hello/generated.js\", \"start\"");
    platform.file("package.json", &package);
    lock(&platform);
    for _ in 0..2 {
        let build = platform.build();
        assert!(build.ok && build.text.contains("Installing dependencies"), "{}", build.text);
        assert!(platform.path("layers/modules/node_modules/hello/generated.js").exists(), "{}", build.text);
        platform.restore();
    }
}

#[test]
fn scripts_at_install_work_in_the_apps_directory() {
    let Some((platform, _registry)) = platform() else { return };
    let package = HELLO.replace("\"start\"", "\"postinstall\": \"tool installed\", \"start\"");
    platform.file("package.json", &package).file("index.js", "console.log(require('hello'))\n");
    lock(&platform);
    insta::assert_snapshot!(platform.build().text, @"
    -----> Node.js app detected
    -----> Using Node.js [NODE]
    -----> Installing into the app's directory: package.json has a script 'postinstall'
    -----> Installing dependencies using 'npm ci --include=dev'
           > postinstall
           > tool installed
           added 3 packages in [TIME]
    -----> Removing development dependencies using 'npm prune --omit=dev --ignore-scripts'
           removed 1 package in [TIME]
    -----> Serving by scripts.start of package.json
           web: exec node server.js
    ");
    assert!(platform.path("app/installed").exists());
    assert!(!platform.path("app/node_modules/tool").exists());
    assert_eq!(platform.launched("node", &["index.js"]), "hello 1.0.0\n");
}

#[test]
fn workspaces_are_installed_in_place() {
    let Some((platform, _registry)) = platform() else { return };
    platform.file("package.json", r#"{"workspaces": ["part"], "dependencies": {"part": "*"}}"#);
    platform.file("part/package.json", r#"{"name": "part", "version": "1.0.0", "dependencies": {"hello": "^1"}}"#);
    platform.file("part/index.js", "module.exports = 'part with ' + require('hello')\n");
    platform.file("server.js", "console.log(require('part'))\n");
    lock(&platform);
    insta::assert_snapshot!(platform.build().text, @"
    -----> Node.js app detected
    -----> Using Node.js [NODE]
    -----> Installing into the app's directory: the app has workspaces
    -----> Installing dependencies using 'npm ci --include=dev'
           added 3 packages in [TIME]
    -----> Serving by server.js
           web: exec node server.js
    ");
    assert_eq!(platform.launched("node", &["server.js"]), "part with hello 1.0.0\n");
}

#[test]
fn without_a_lock_file_there_is_a_warning() {
    let Some((platform, _registry)) = platform() else { return };
    platform.file("package.json", r#"{"dependencies": {"greeting": "*"}}"#);
    insta::assert_snapshot!(platform.build().text, @"
    -----> Node.js app detected
    -----> Using Node.js [NODE]
    -----> Warning: no lock file, so each build may get other versions; run npm install and commit package-lock.json
    -----> Installing dependencies using 'npm install --omit=dev'
           added 1 package in [TIME]
    ");
    assert!(!platform.path("app/package-lock.json").exists());
}

#[test]
fn nothing_to_install() {
    let Some((platform, _registry)) = platform() else { return };
    platform.file("package.json", r#"{"engines": {"node": ">=1"}}"#).file("server.js", "");
    insta::assert_snapshot!(platform.build().text, @"
    -----> Node.js app detected
    -----> Using Node.js [NODE] (package.json asks for >=1)
    -----> Nothing to install: package.json has no dependencies
    -----> Serving by server.js
           web: exec node server.js
    ");
}

#[test]
fn failures_are_explained() {
    let Some((platform, _registry)) = platform() else { return };
    platform.file("package.json", "{\"name\": }");
    insta::assert_snapshot!(failed(&platform), @"
    !     Error: package.json cannot be read
    !
    !     expected value at line 1 column 10
    !
    !     Correct the file.
    ");
    platform.file("package.json", r#"{"engines": {"node": "^3 || 5.x"}}"#);
    insta::assert_snapshot!(failed(&platform), @r#"
    !     Error: Node.js ^3 || 5.x is not available
    !
    !     engines.node of package.json asks for ^3 || 5.x. Available on this server: [NODE].
    !
    !     What to do, one of:
    !     1. Ask for the version that is there: "engines": {"node": "[MAJOR].x"}
    !     2. Delete engines.node from package.json to use the server's Node.js.
    !     3. Install Node.js ^3 || 5.x on the server.
    "#);
    platform.file("package.json", r#"{"engines": {"node": "latest"}}"#);
    insta::assert_snapshot!(failed(&platform), @r#"
    !     Error: Unknown Node.js version
    !
    !     engines.node of package.json: "latest" is no version.
    !
    !     Write a version such as 20.x, or delete it to use the server's Node.js.
    "#);
    platform.file("package.json", HELLO);
    lock(&platform);
    platform.file("package.json", &HELLO.replace("\"hello\": \"^1\"", "\"greeting\": \"^2\""));
    insta::assert_snapshot!(failed(&platform), @"
    !     Error: package-lock.json is out of date
    !
    !     package.json was changed since package-lock.json was written.
    !
    !     Run npm install, commit package-lock.json, and push again.
    !
    ");
    platform.file("yarn.lock", "");
    insta::assert_snapshot!(failed(&platform), @"
    !     Error: Two lock files
    !
    !     The app has both package-lock.json and yarn.lock, which belong to different tools.
    !
    !     Delete the one that is not kept up to date.
    ");
}

#[test]
fn packages_that_do_not_exist_are_named() {
    let Some((platform, _registry)) = platform() else { return };
    platform.file("package.json", r#"{"dependencies": {"nowhere": "1"}}"#);
    insta::assert_snapshot!(failed(&platform), @"
    !     Error: No such package: nowhere
    !
    !     The registry does not know a package that package.json, or one of its packages, asks for.
    !
    !     Correct the name in package.json, write the lock file anew, and commit both.
    !
    ");
    platform.file("package.json", r#"{"dependencies": {"greeting": "^9"}}"#);
    insta::assert_snapshot!(failed(&platform), @"
    !     Error: No such version: greeting@^9
    !
    !     package.json asks for a version that the registry does not have.
    !
    !     What to do, one of:
    !     1. See which versions there are: npm view greeting versions
    !     2. Correct package.json, write the lock file anew, and commit both.
    !
    ");
}

#[test]
fn a_failing_script_is_named() {
    let Some((platform, _registry)) = platform() else { return };
    platform.file("package.json", r#"{"scripts": {"build": "webpack --prod"}}"#);
    insta::assert_snapshot!(failed(&platform), @"
    !     Error: webpack is missing
    !
    !     'npm run build' starts webpack, which neither the app's dependencies nor the server bring.
    !
    !     Add the package that brings it to package.json, write the lock file anew, and commit both.
    !
    ");
}

#[test]
fn no_node() {
    let Some((mut platform, _registry)) = platform() else { return };
    platform.env.insert("PATH".to_owned(), "/nowhere".to_owned());
    platform.file("package.json", "{}");
    insta::assert_snapshot!(failed(&platform), @"
    !     Error: No Node.js on the server
    !
    !     There is no node on the server's PATH, and none could be had from the package index.
    !
    !     Install Node.js on the server, for example: apt-get install nodejs npm
    ");
}

/// What our own words are; the tool's come after them and differ with its version.
fn failed(platform: &Platform) -> String {
    let build = platform.build();
    assert!(!build.ok, "{}", build.text);
    let ours: Vec<_> = build.text.lines().skip_while(|line| !line.starts_with(" !")).collect();
    let end = ours.iter().position(|line| line.contains("The tool's own words")).unwrap_or(ours.len());
    ours[..end].join("\n")
}
