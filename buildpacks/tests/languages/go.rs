//! Go apps, without modules from elsewhere.

use std::process::Command;

use crate::platform::{Platform, have};

fn platform() -> Option<Platform> {
    if !have("go") {
        return None;
    }
    let mut platform = Platform::new("airstrip/go");
    let version = Command::new("go").arg("version").env("GOTOOLCHAIN", "local").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let version = version.split(' ').nth(2).unwrap().trim_start_matches("go").to_owned();
    platform.redacted.push((version, "[GO]"));
    platform.file("go.mod", "module example.org/shop\n\ngo 1.18\n");
    Some(platform)
}

#[test]
fn detects() {
    let platform = Platform::new("airstrip/go");
    assert_eq!(platform.detect(), Some(100));
    platform.file("go.mod", "module shop\n");
    assert_eq!(platform.detect(), Some(0));
}

#[test]
fn a_program_becomes_the_web_process() {
    let Some(platform) = platform() else { return };
    platform
        .file("main.go", "package main\n\nimport \"example.org/shop/goods\"\n\nfunc main() { println(goods.Name) }\n");
    platform.file("goods/goods.go", "package goods\n\nconst Name = \"goods\"\n");
    platform.file("cmd/migrate/main.go", "package main\n\nfunc main() {}\n");
    insta::assert_snapshot!(platform.build().text, @"
    -----> Go app detected
    -----> Using Go [GO]
    -----> Compiling using 'go build example.org/shop example.org/shop/cmd/migrate'
    -----> Serving by the program shop
    ");
    insta::assert_snapshot!(platform.read("layers/launch.toml"), @r#"
    [[processes]]
    type = "web"
    command = ["shop"]
    default = true
    "#);
    assert!(platform.path("layers/programs/bin/migrate").exists());
    let program = platform.path("layers/programs/bin/shop");
    assert_eq!(platform.launched(program.to_str().unwrap(), &[]), "");
}

#[test]
fn failures_are_explained() {
    let Some(mut platform) = platform() else { return };
    platform.file("goods/goods.go", "package goods\n");
    insta::assert_snapshot!(ours(&platform), @"
    -----> Go app detected
    -----> Using Go [GO]
     !     Error: No program
     !
     !     The module has no package main.
     !
     !     Push the program, not a library.
     !
     !     The tool's own words:
    ");
    platform.file("main.go", "package main\n\nfunc main() { nothing() }\n");
    insta::assert_snapshot!(ours(&platform), @"
    -----> Go app detected
    -----> Using Go [GO]
    -----> Compiling using 'go build example.org/shop'
     !     Error: The app does not compile
     !
     !     The compiler's words are below.
     !
     !     Correct the code, and push again.
     !
     !     The tool's own words:
    ");
    platform.file("main.go", "package main\n\nimport \"example.com/other\"\n\nfunc main() { other.Do() }\n");
    insta::assert_snapshot!(ours(&platform), @"
    -----> Go app detected
    -----> Using Go [GO]
    -----> Compiling using 'go build example.org/shop'
     !     Error: go.mod and go.sum are out of date
     !
     !     The code imports something that they do not name.
     !
     !     Run go mod tidy (and go mod vendor, if you commit vendor/), commit, and push again.
     !
     !     The tool's own words:
    ");
    platform.env.insert("PATH".to_owned(), "/nowhere".to_owned());
    insta::assert_snapshot!(ours(&platform), @"
    -----> Go app detected
     !     Error: No Go on the server
     !
     !     There is no go on the server's PATH.
     !
     !     Install Go on the server, for example: apt-get install golang-go
    ");
}

/// All but the tools' own words, which differ with their version.
fn ours(platform: &Platform) -> String {
    let build = platform.build();
    assert!(!build.ok, "{}", build.text);
    let ours = build.text.lines().filter(|line| !line.starts_with("  ") && !line.starts_with(" !       "));
    ours.collect::<Vec<_>>().join("\n")
}
