//! The rust buildpack: `cargo build --release` with the server's toolchain, whose programs become a layer.
//!
//! Dependencies are downloaded and compiled once: cargo's home and target directory are kept for the next build of the same app.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcnb::build::{BuildContext, BuildResult};
use libcnb::detect::{DetectContext, DetectResult};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use serde::Deserialize;

use crate::message::{Message, between, has, message};
use crate::output;
use crate::program::{self, ToolError, run_tool};

/// Its `buildpack.toml`.
pub(crate) const DESCRIPTOR: &str = concat!(
    "api = \"0.10\"\n\n[buildpack]\nid = \"airstrip/rust\"\nversion = \"",
    env!("CARGO_PKG_VERSION"),
    "\"\nname = \"Rust\"\n\n[[stacks]]\nid = \"*\"\n\n[[targets]]\nos = \"linux\"\n"
);

/// See the module.
pub(crate) struct RustBuildpack;

/// A line of cargo's about something it has made.
#[derive(Debug, Deserialize)]
struct Made {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
}

impl libcnb::Buildpack for RustBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = ToolError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, ToolError> {
        program::detect(&context, "Cargo.toml")
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, ToolError> {
        output::step("Rust app detected");
        let app = &context.app_dir;
        let version = version()?;
        output::step(&format!("Using Rust {version}"));
        if let Some(wish) = wish(app).filter(|wish| !version.starts_with(wish.as_str())) {
            output::step(&format!("Warning: the app asks for the toolchain {wish}, which is not what the server has"));
        }
        let cache = program::cache(&context)?;
        let made = compile(app, &cache)?;
        let bin = program::layer(&context)?;
        for (name, executable) in &made {
            fs::copy(executable, bin.join(name)).map_err(ToolError::io(format!("copying {name}")))?;
        }
        let names: Vec<String> = made.into_iter().map(|(name, _)| name).collect();
        program::built(program::web(app, &names, main(app).as_deref()))
    }

    fn on_error(&self, error: libcnb::Error<ToolError>) {
        program::tell(error, known);
    }
}

/// `1.89.0`.
fn version() -> Result<String, ToolError> {
    let output = Command::new("cargo").arg("--version").current_dir("/").output();
    let missing = ToolError::Missing { program: "cargo", language: "Rust", install: "apt-get install cargo" };
    let Ok(output) = output else { return Err(missing) };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1).map(str::to_owned).ok_or(missing)
}

/// The version that the app asks for; channels like `stable` are whatever the server has.
fn wish(app: &Path) -> Option<String> {
    let text =
        ["rust-toolchain.toml", "rust-toolchain"].iter().find_map(|file| fs::read_to_string(app.join(file)).ok())?;
    let table: Option<toml::Table> = text.parse().ok();
    let channel = table.as_ref().and_then(|table| table.get("toolchain")?.get("channel")?.as_str());
    let channel = channel.unwrap_or_else(|| text.trim());
    channel.starts_with(|c: char| c.is_ascii_digit()).then(|| channel.to_owned())
}

/// The program that `cargo run` would start, or that has the package's name.
fn main(app: &Path) -> Option<String> {
    let table: toml::Table = fs::read_to_string(app.join("Cargo.toml")).ok()?.parse().ok()?;
    let package = table.get("package")?;
    let named = |key: &str| package.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    named("default-run").or_else(|| named("name"))
}

/// Builds all programs; their names and files.
fn compile(app: &Path, cache: &Path) -> Result<Vec<(String, PathBuf)>, ToolError> {
    let locked = app.join("Cargo.lock").is_file();
    if !locked {
        output::step(
            "Warning: no Cargo.lock, so each build may get other versions; commit the one that cargo build writes",
        );
    }
    output::step(&format!("Compiling using 'cargo build --release{}'", if locked { " --locked" } else { "" }));
    let mut command = Command::new("cargo");
    command
        .args(["build", "--release", "--bins", "--message-format=json-render-diagnostics"])
        .args(locked.then_some("--locked"));
    command.current_dir(app).env("CARGO_HOME", cache.join("cargo")).env("CARGO_TARGET_DIR", cache.join("target"));
    command.env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_PROGRESS_WHEN", "never");
    let mut made = Vec::new();
    run_tool(&mut command, &mut |line| {
        let is_for_us = line.starts_with('{');
        if is_for_us {
            made.extend(executable(line));
        }
        is_for_us
    })?;
    made.sort();
    Ok(made)
}

fn executable(line: &str) -> Option<(String, PathBuf)> {
    let made: Made = serde_json::from_str(line).ok()?;
    let target = made.target.filter(|target| target.kind.iter().any(|kind| kind == "bin"))?;
    Some((target.name, made.executable?))
}

/// Words for what cargo says.
fn known(text: &str) -> Option<Message> {
    if has(text, &["because --locked was passed", "but --locked was passed"]) {
        return Some(message(
            "Cargo.lock is out of date",
            "Cargo.toml was changed since Cargo.lock was written.",
            &["Run cargo build, commit Cargo.lock, and push again."],
        ));
    }
    if has(
        text,
        &["failed to download", "Could not resolve host", "spurious network error", "failed to query replaced source"],
    ) {
        return Some(message(
            "The package registry cannot be reached",
            "The server could not download one of the crates.",
            &["Push again: the cause may be temporary.", "Check the server's network and proxy settings."],
        ));
    }
    if text.contains("requires rustc") {
        return Some(message(
            "The server's Rust is too old",
            "One of the crates needs a newer Rust; the tool's words say which.",
            &["Update Rust on the server.", "Choose an older version of the crate, and commit Cargo.lock."],
        ));
    }
    if has(text, &["linker `cc` not found", "linking with `cc` failed"]) {
        return Some(message(
            "Linking failed",
            "The server lacks the C compiler, or a library that one of the crates needs.",
            &["Install it on the server, for example: apt-get install build-essential"],
        ));
    }
    if let Some(name) = between(text, "failed to run custom build command for `", &['`']) {
        return Some(message(
            format!("The crate {name} cannot be built"),
            "Its build script failed, often because a library or tool is not on the server.",
            &["Install what its words below ask for on the server."],
        ));
    }
    let name = between(text, "could not compile `", &['`'])?;
    Some(message(
        format!("{name} does not compile"),
        "The compiler's words are below.",
        &["Correct the code, and push again."],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_makes() {
        let line =
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"shop"},"executable":"/t/release/shop"}"#;
        assert_eq!(executable(line), Some(("shop".to_owned(), "/t/release/shop".into())));
        assert_eq!(executable(&line.replace("bin\"]", "lib\"]")), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn what_the_app_asks_for() {
        let app = tempfile::tempdir().unwrap();
        let asked = |text: &str| {
            fs::write(app.path().join("rust-toolchain"), text).unwrap();
            wish(app.path())
        };
        assert_eq!(asked("1.80\n").as_deref(), Some("1.80"));
        assert_eq!(asked("[toolchain]\nchannel = \"1.75.0\"\n").as_deref(), Some("1.75.0"));
        assert_eq!(asked("[toolchain]\nchannel = \"stable\"\n"), None);
    }

    #[test]
    fn what_cargo_says() {
        let cases = [
            (
                "error: cannot update the lock file /x/Cargo.lock because --locked was passed to prevent this",
                "Cargo.lock is out of date",
            ),
            ("error: could not compile `shop` (bin \"shop\") due to 1 previous error", "shop does not compile"),
            (
                "error: failed to run custom build command for `openssl-sys v0.9`",
                "The crate openssl-sys v0.9 cannot be built",
            ),
            ("error: linker `cc` not found", "Linking failed"),
        ];
        for (text, title) in cases {
            assert_eq!(known(text).unwrap().title, title);
        }
        assert!(known("something else").is_none());
    }
}
