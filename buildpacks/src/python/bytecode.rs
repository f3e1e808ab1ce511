//! Bytecode for an environment that nobody can write to later.
//!
//! Measured with flask, gunicorn and requests: it takes half a second once, and saves as much at every start of the app.

use std::path::Path;
use std::process::{Command, Stdio};

use super::interpreter::Interpreter;

/// Compiles everything below `packages`; what is compiled is kept in `cache` for the next environment.
/// Without bytecode an app starts slowly, so a failure here is no failure of the build.
pub(super) fn compile(interpreter: &Interpreter, packages: &Path, cache: &Path) {
    let mut command = Command::new(&interpreter.program);
    command
        .args(["-I", "-S", "-W", "ignore", "-c", include_str!("compile.py")])
        .arg(packages)
        .arg(cache.join("compiled"));
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
