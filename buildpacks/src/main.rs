//! The built-in buildpacks as a program of their own: link it as `bin/detect` and `bin/build` of a buildpack's directory.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    buildpacks::run_if_buildpack();
    buildpacks::run_if_static_server();
    let _ = writeln!(
        std::io::stderr(),
        "to be started as bin/detect or bin/build of a buildpack, with CNB_BUILDPACK_DIR set"
    );
    ExitCode::from(2)
}
