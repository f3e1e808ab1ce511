//! Rust apps, without dependencies from a registry.

use std::process::Command;

use crate::platform::{Platform, have};

const MANIFEST: &str = "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
const LOCK: &str = "version = 3\n\n[[package]]\nname = \"shop\"\nversion = \"0.1.0\"\n";

/// With the toolchain itself, not a version manager's programs, which look for it in the home.
fn platform() -> Option<Platform> {
    if !have("rustc") || !have("cargo") {
        return None;
    }
    let mut platform = Platform::new("airstrip/rust");
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
    let bin = format!("{}/bin", String::from_utf8(sysroot).unwrap().trim());
    let version = Command::new(format!("{bin}/cargo")).arg("--version").output().unwrap().stdout;
    platform.redacted.push((String::from_utf8(version).unwrap().split(' ').nth(1).unwrap().to_owned(), "[RUST]"));
    let path = format!("{bin}:{}", platform.env["PATH"]);
    platform.env.insert("PATH".to_owned(), path);
    Some(platform)
}

#[test]
fn detects() {
    let platform = Platform::new("airstrip/rust");
    assert_eq!(platform.detect(), Some(100));
    platform.file("Cargo.toml", MANIFEST);
    assert_eq!(platform.detect(), Some(0));
}

#[test]
fn a_program_becomes_the_web_process() {
    let Some(platform) = platform() else { return };
    platform.file("Cargo.toml", MANIFEST).file("Cargo.lock", LOCK);
    platform.file("src/main.rs", "fn main() { println!(\"shop\") }\n").file("src/bin/other.rs", "fn main() {}\n");
    insta::assert_snapshot!(platform.build().text, @"
    -----> Rust app detected
    -----> Using Rust [RUST]
    -----> Compiling using 'cargo build --release --locked'
              Compiling shop v0.1.0 ([T]/app)
               Finished `release` profile [optimized] target(s) in [TIME]
    -----> Serving by the program shop
    ");
    insta::assert_snapshot!(platform.read("layers/launch.toml"), @r#"
    [[processes]]
    type = "web"
    command = ["shop"]
    default = true
    "#);
    let program = platform.path("layers/programs/bin/shop");
    assert_eq!(platform.launched(program.to_str().unwrap(), &[]), "shop\n");
    assert!(platform.path("layers/programs/bin/other").exists());

    platform.restore();
    platform.file("Procfile", "web: shop --now\n");
    insta::assert_snapshot!(platform.build().text, @"
    -----> Rust app detected
    -----> Using Rust [RUST]
    -----> Compiling using 'cargo build --release --locked'
               Finished `release` profile [optimized] target(s) in [TIME]
    ");
}

#[test]
fn failures_are_explained() {
    let Some(mut platform) = platform() else { return };
    platform.file("Cargo.toml", MANIFEST).file("Cargo.lock", LOCK).file("src/main.rs", "fn main() { nothing() }\n");
    platform.file("rust-toolchain", "1.2.3\n");
    insta::assert_snapshot!(ours(&platform), @"
    -----> Rust app detected
    -----> Using Rust [RUST]
    -----> Warning: the app asks for the toolchain 1.2.3, which is not what the server has
    -----> Compiling using 'cargo build --release --locked'
     !     Error: shop does not compile
     !
     !     The compiler's words are below.
     !
     !     Correct the code, and push again.
     !
     !     The tool's own words:
    ");
    platform.file("Cargo.toml", &MANIFEST.replace("0.1.0", "0.2.0"));
    insta::assert_snapshot!(ours(&platform), @"
    -----> Rust app detected
    -----> Using Rust [RUST]
    -----> Warning: the app asks for the toolchain 1.2.3, which is not what the server has
    -----> Compiling using 'cargo build --release --locked'
     !     Error: Cargo.lock is out of date
     !
     !     Cargo.toml was changed since Cargo.lock was written.
     !
     !     Run cargo build, commit Cargo.lock, and push again.
     !
     !     The tool's own words:
    ");
    platform.env.insert("PATH".to_owned(), "/nowhere".to_owned());
    insta::assert_snapshot!(ours(&platform), @"
    -----> Rust app detected
     !     Error: No Rust on the server
     !
     !     There is no cargo on the server's PATH.
     !
     !     Install Rust on the server, for example: apt-get install cargo
    ");
}

/// All but the tools' own words, which differ with their version.
fn ours(platform: &Platform) -> String {
    let build = platform.build();
    assert!(!build.ok, "{}", build.text);
    let ours = build.text.lines().filter(|line| !line.starts_with("  ") && !line.starts_with(" !       "));
    ours.collect::<Vec<_>>().join("\n")
}
