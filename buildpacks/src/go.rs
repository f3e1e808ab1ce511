//! The go buildpack: `go build` of the module's programs with the server's toolchain, which become a layer.
//!
//! Go's module and build caches are kept for the next build of the same app; a `vendor` directory is used if there is one.

use std::fs;
use std::path::Path;
use std::process::Command;

use libcnb::build::{BuildContext, BuildResult};
use libcnb::detect::{DetectContext, DetectResult};
use libcnb::generic::{GenericMetadata, GenericPlatform};

use crate::message::{Message, between, has, message};
use crate::output;
use crate::program::{self, ToolError, run_tool};

/// Its `buildpack.toml`.
pub(crate) const DESCRIPTOR: &str = concat!(
    "api = \"0.10\"\n\n[buildpack]\nid = \"airstrip/go\"\nversion = \"",
    env!("CARGO_PKG_VERSION"),
    "\"\nname = \"Go\"\n\n[[stacks]]\nid = \"*\"\n\n[[targets]]\nos = \"linux\"\n"
);

/// See the module.
pub(crate) struct GoBuildpack;

impl libcnb::Buildpack for GoBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = ToolError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, ToolError> {
        program::detect(&context, "go.mod")
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, ToolError> {
        output::step("Go app detected");
        output::step(&format!("Using Go {}", version()?));
        let app = &context.app_dir;
        let cache = program::cache(&context)?;
        let packages = programs(app, &cache)?;
        if packages.is_empty() {
            let log = vec!["no package of the module is called main".to_owned()];
            return Err(ToolError::Failed { command: "go list ./...".to_owned(), log }.into());
        }
        let bin = program::layer(&context)?;
        output::step(&format!("Compiling using 'go build {}'", packages.join(" ")));
        // With the slash it is a directory for any number of programs.
        let target = format!("{}/", bin.display());
        run_tool(go(app, &cache).args(["build", "-trimpath", "-o", &target]).args(&packages), &mut |_| false)?;
        let names = names(&bin).map_err(ToolError::io("reading the programs"))?;
        program::built(program::web(app, &names, module(app).as_deref()))
    }

    fn on_error(&self, error: libcnb::Error<ToolError>) {
        program::tell(error, known);
    }
}

/// `1.22.1`.
fn version() -> Result<String, ToolError> {
    let missing = ToolError::Missing { program: "go", language: "Go", install: "apt-get install golang-go" };
    let output = Command::new("go").arg("version").env("GOTOOLCHAIN", "local").current_dir("/").output();
    let Ok(output) = output else { return Err(missing) };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(2).map(|version| version.trim_start_matches("go").to_owned()).ok_or(missing)
}

/// The go command in the app's directory. Nobody but this app's builds writes to its caches.
fn go(app: &Path, cache: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(app).env("GOMODCACHE", cache.join("modules")).env("GOCACHE", cache.join("build"));
    // Directories that their owner cannot write to, nobody could remove; there is no repository; another Go is not fetched.
    command.env("GOFLAGS", "-modcacherw -buildvcs=false").env("GOTOOLCHAIN", "local");
    command
}

/// The import paths of the module's programs.
fn programs(app: &Path, cache: &Path) -> Result<Vec<String>, ToolError> {
    let mut packages = Vec::new();
    let format = "main {{if eq .Name \"main\"}}{{.ImportPath}}{{end}}";
    run_tool(go(app, cache).args(["list", "-f", format, "./..."]), &mut |line| {
        let listed = line.strip_prefix("main ").or((line == "main").then_some(""));
        packages.extend(listed.filter(|path| !path.is_empty()).map(str::to_owned));
        listed.is_some()
    })?;
    Ok(packages)
}

/// The last part of the module's path, which is what the program at its root is called.
fn module(app: &Path) -> Option<String> {
    let text = fs::read_to_string(app.join("go.mod")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("module "))?.trim().trim_matches('"');
    let mut parts = path.rsplit('/');
    let last = parts.next()?;
    // A major version is no name: example.org/shop/v2.
    let is_major = last.strip_prefix('v').is_some_and(|major| major.parse::<u32>().is_ok());
    Some(if is_major { parts.next().unwrap_or(last) } else { last }.to_owned())
}

fn names(bin: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(bin)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Words for what go says.
fn known(text: &str) -> Option<Message> {
    if text.contains("no package of the module is called main") {
        return Some(message("No program", "The module has no package main.", &["Push the program, not a library."]));
    }
    if has(
        text,
        &["updates to go.mod needed", "missing go.sum entry", "inconsistent vendoring", "no required module provides"],
    ) {
        return Some(message(
            "go.mod and go.sum are out of date",
            "The code imports something that they do not name.",
            &["Run go mod tidy (and go mod vendor, if you commit vendor/), commit, and push again."],
        ));
    }
    if let Some(version) = between(text, "go.mod requires go >= ", &[' ', ')', '\n']) {
        return Some(message(
            "The server's Go is too old",
            format!("go.mod asks for Go {version}."),
            &["Update Go on the server.", "Lower the line go in go.mod."],
        ));
    }
    if has(text, &["dial tcp", "no such host", "i/o timeout", "proxyconnect"]) {
        return Some(message(
            "A module cannot be downloaded",
            "The server has no connection to the module proxy or repository.",
            &["Push again: the cause may be temporary.", "Commit the modules: go mod vendor"],
        ));
    }
    text.lines().any(|line| line.contains(".go:")).then(|| {
        message("The app does not compile", "The compiler's words are below.", &["Correct the code, and push again."])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_name() {
        let app = tempfile::tempdir().unwrap();
        for (text, name) in [("module shop\n", "shop"), ("// x\nmodule example.org/a/shop/v2\ngo 1.20\n", "shop")] {
            fs::write(app.path().join("go.mod"), text).unwrap();
            assert_eq!(module(app.path()).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_go_says() {
        let cases = [
            ("go: updates to go.mod needed; to update it:", "go.mod and go.sum are out of date"),
            ("go: go.mod requires go >= 1.30 (running go 1.22; GOTOOLCHAIN=local)", "The server's Go is too old"),
            ("./main.go:3:8: undefined: x", "The app does not compile"),
        ];
        for (text, title) in cases {
            assert_eq!(known(text).unwrap().title, title);
        }
    }
}
