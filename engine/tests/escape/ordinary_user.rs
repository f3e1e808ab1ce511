//! The same attempts in a sandbox of an ordinary user's engine.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::attempts::read;
use crate::report::Column;

/// Runs a copy of this binary as `nobody`, because the original may lie where `nobody` cannot reach it.
pub(crate) fn column() -> Option<Column> {
    let dir = tempfile::Builder::new().prefix("airstrip-nobody-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = dir.path().join("escape");
    std::fs::copy("/proc/self/exe", &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).arg(crate::JSON).current_dir("/");
    let output = match command.stderr(Stdio::inherit()).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: every attempt as an ordinary user: setpriv: {error}");
            return None;
        }
    };
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    if said.starts_with("skipped") {
        print!("{said}");
        return None;
    }
    Some(Column::new("airstrip as an ordinary user", true, read(&said)))
}
