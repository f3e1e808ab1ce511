//! The built-in buildpacks, each a Cloud Native Buildpack on libcnb, all in one program.
//!
//! The program is started under the name `bin/detect` or `bin/build` of a buildpack's directory and finds which buildpack it is
//! in `$CNB_BUILDPACK_DIR/buildpack.toml`. Nothing here knows airstrip: any platform that speaks CNB can run these.

mod python;

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

/// Every built-in buildpack, in the order in which they are to be tried.
pub const BUILT_IN: &[BuiltIn] = &[];

/// A program that buildpacks use if it is on the `PATH`, and that can be had from the package index.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Name of the package and of its program.
    pub name: &'static str,
    /// The version known to work.
    pub version: &'static str,
    /// A requirements file that pins it by hash for every supported machine.
    pub requirements: &'static str,
}

/// The installer that the python buildpack prefers.
pub const UV: Tool = Tool { name: "uv", version: "", requirements: "" };

/// Runs as a buildpack if the program was started as one (by the last part of its name); otherwise returns.
pub fn run_if_buildpack() {
    todo!()
}
