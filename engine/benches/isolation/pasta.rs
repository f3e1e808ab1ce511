//! The same through pasta, of the project passt: a network in user space for ordinary users.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Fails where it is not installed, or may not make devices (`/dev/net/tun` is open to everybody on most machines).
pub(crate) fn find() -> io::Result<()> {
    let tried = command(Path::new("true"), &[]).output()?;
    let said = String::from_utf8_lossy(&tried.stderr);
    let error = || io::Error::other(said.lines().last().unwrap_or("it failed").to_owned());
    tried.status.success().then_some(()).ok_or_else(error)
}

/// The program in a network that pasta makes, which would not do so for root. IPv4 alone, as for the others.
pub(crate) fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "30", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args(["pasta", "--config-net", "--no-map-gw", "--ipv4-only", "--quiet", "--"]);
    command.arg(program).args(arguments).stdin(Stdio::null());
    command
}
