//! What to run and what it may see: plain data, written by the caller, enforced by an engine.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A sandbox: what it shows, who runs in it, and its first program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Host name seen inside.
    pub hostname: String,
    /// The user outside to which uid 1000 (`app`) inside is mapped. Only root can choose:
    /// without privileges it is always the daemon's own user.
    pub host_uid: u32,
    /// What of the host is shown, in order: a later mount may lie inside an earlier one.
    /// The base system (`/usr`, `/bin`, `/lib*`, chosen files of `/etc`, `/dev`, `/proc`, `/tmp`) is always there, read-only.
    pub mounts: Vec<Mount>,
    /// Symbolic links made in the sandbox's own tree (not inside mounts).
    pub symlinks: Vec<Symlink>,
    /// The first program.
    pub command: Command,
    /// Where the output of a launched instance goes. Not used for one-offs.
    pub log: Option<LogFile>,
    /// How much of the machine it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Where its outgoing connections may go.
    #[serde(default)]
    pub egress: Egress,
    /// Addresses that its connections may go to besides: an operator's proxy, a mirror in the private network. One on
    /// loopback is the host's, and is reached inside at the same address of the sandbox's own loopback. Not with [`Egress::None`].
    #[serde(default)]
    pub egress_exceptions: Vec<SocketAddr>,
    /// Where its connections to port 80 of every name `NAME.internal` go: to a server on the host. Not with [`Egress::None`].
    #[serde(default)]
    pub internal: Option<SocketAddr>,
}

/// How much of the machine a sandbox may use, all its processes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory, what lies in its private file systems included. Whatever needs more is ended as a whole.
    pub memory: Option<u64>,
    /// Thousandths of one processor.
    pub cpu: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Files that one process may hold open.
    pub open_files: u64,
    /// Bytes in `/tmp`, `/var/tmp`, `/dev/shm` and the home directory together.
    pub tmp: u64,
    /// Bytes written over [`MountKind::Scratch`] mounts.
    pub scratch: u64,
}

impl Default for Limits {
    /// No bound where a bound needs the kernel's accounting, a generous one elsewhere.
    fn default() -> Self {
        Self { memory: None, cpu: None, pids: None, open_files: 65_536, tmp: 1 << 30, scratch: 1 << 30 }
    }
}

/// Where a sandbox's outgoing connections may go. Never to the host's own addresses, to link-local ones (where clouds
/// keep secrets), nor to other sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    /// To public addresses, and to the host's name server by way of the engine.
    #[default]
    Internet,
    /// To private ranges, too.
    Private,
    /// Nowhere.
    None,
}

/// One directory or file of the host shown inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// How it may be used.
    pub kind: MountKind,
}

/// How a mounted directory may be used from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// Cannot be changed.
    ReadOnly,
    /// Changes reach the host and stay.
    ReadWrite,
    /// Changes are seen inside and thrown away at the end; the source stays as it is.
    Scratch,
}

/// `link` inside the sandbox points to `target`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symlink {
    /// Absolute path of the link.
    pub link: PathBuf,
    /// What it points to.
    pub target: PathBuf,
}

/// A program with its arguments, environment and working directory, all as seen inside.
/// The environment is complete: nothing is inherited.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program (searched in the `PATH` of `env` unless it has a slash) and its arguments.
    pub argv: Vec<String>,
    /// Names and values. Values may be secret: engines keep them out of logs, errors and command lines.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: PathBuf,
}

impl std::fmt::Debug for Command {
    /// Shows the names of variables, never their values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Command").field("argv", &self.argv).field("env", &names).field("cwd", &self.cwd).finish()
    }
}

/// A bounded log: one line per line of output, `TIME TAG TEXT`, TIME in RFC 3339 UTC with milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Appended to. When it would exceed `max_bytes` it is renamed to `PATH.1`, replacing an older one.
    /// Several instances may write to the same file.
    pub path: PathBuf,
    /// The second word of every line; has no spaces.
    pub tag: String,
    /// Bound of one file.
    pub max_bytes: u64,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}
