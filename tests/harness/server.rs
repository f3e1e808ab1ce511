//! A server of the real binary in a temporary home.

mod daemon;
mod disk;
mod sweep;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use nix::unistd::geteuid;
use tempfile::TempDir;

use super::client::{Client, public_key};
use super::leftovers::Found;
use super::operator::{ORDINARY, binary_for, copy_package_settings, may_make_namespaces, path_with_installer};
use super::page::Http;
use super::reply::{Reply, run};
use super::skipped::skipped;

/// How long the daemon may take to end: what runs gets 30 s to stop.
const ENDING: Duration = Duration::from_secs(60);

/// A running server, and its first client (an admin of everything).
///
/// When dropped it stops everything, and fails the story if a process, a mount or a directory is left.
pub struct Server {
    /// Short (sockets have paths of at most 107 bytes), and open to others (apps have users of their own).
    base: TempDir,
    binary: PathBuf,
    /// What the daemon is started as: a link to the binary.
    program: PathBuf,
    user: Option<u32>,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// The home is a file system of its own.
    own_disk: bool,
    daemon: Option<Child>,
    /// The daemon that has taken over from it, if one has. Not the harness's child.
    successor: Option<i32>,
    /// Those that were replaced, as long as they answer what they have begun.
    replaced: Vec<i32>,
    /// The first daemon: what is older cannot be the server's.
    first: Option<Found>,
    pub ssh: SocketAddr,
    pub http: Http,
    /// What the daemon said when it was ready.
    pub ready_line: String,
    client: Option<Client>,
}

impl Server {
    /// A server as whoever runs the tests.
    pub fn start() -> Self {
        Self::begin(None, None, &[])
    }

    /// The same with more arguments to `serve`.
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::begin(None, None, arguments)
    }

    /// The same with more variables in the daemon's environment.
    pub fn start_with_variables(variables: &[(&str, &str)]) -> Self {
        let mut server = Self::made(None, None, &[]);
        server.variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        server.begun()
    }

    /// A server without privileges. None, with the reason printed, where there is nothing to try.
    pub fn as_ordinary_user() -> Option<Self> {
        if !geteuid().is_root() {
            skipped("the tests run as an ordinary user already, so every other story does");
            return None;
        }
        if !may_make_namespaces() {
            skipped("this machine gives ordinary users no user namespaces");
            return None;
        }
        Some(Self::begin(Some(ORDINARY), None, &[]))
    }

    fn begin(user: Option<u32>, disk: Option<u64>, arguments: &[&str]) -> Self {
        Self::made(user, disk, arguments).begun()
    }

    fn begun(mut self) -> Self {
        self.start_again();
        self.client = Some(self.client_with_key("admin", &[]));
        self
    }

    fn made(user: Option<u32>, disk: Option<u64>, arguments: &[&str]) -> Self {
        let base = tempfile::Builder::new().prefix("as-").tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let binary = binary_for(user, base.path());
        let program = base.path().join("program");
        symlink(&binary, &program).unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Self {
            base,
            binary,
            program,
            user,
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            variables: Vec::new(),
            own_disk: disk.is_some(),
            daemon: None,
            successor: None,
            replaced: Vec::new(),
            first: None,
            ssh: nowhere,
            http: Http(nowhere),
            ready_line: String::new(),
            client: None,
        };
        server.make_directories(disk);
        server
    }

    fn make_directories(&self, disk: Option<u64>) {
        for directory in [self.home(), self.scratch(), self.operator_home()] {
            fs::create_dir(&directory).unwrap();
            if directory == self.home()
                && let Some(bytes) = disk
            {
                disk::mount_small(&directory, bytes);
            }
            std::os::unix::fs::chown(&directory, self.user, self.user).unwrap();
        }
        copy_package_settings(&self.operator_home());
    }

    /// The server's `--home`.
    pub fn home(&self) -> PathBuf {
        self.base.path().join("h")
    }

    /// Where the daemon finds `TMPDIR`; nothing may be left there.
    fn scratch(&self) -> PathBuf {
        self.base.path().join("t")
    }

    /// The home directory of the user who runs the server.
    pub fn operator_home(&self) -> PathBuf {
        self.base.path().join("o")
    }

    /// Names this server in everything that belongs to it.
    fn mark(&self) -> String {
        self.base.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    /// The first client.
    pub fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    /// Another client, whose key the server does not know.
    pub fn stranger(&self, name: &str) -> Client {
        Client::new(&self.base.path().join(name), self.ssh)
    }

    /// Another client, whose key the server knows; `arguments` to `keys:add` say what it may do.
    pub fn client_with_key(&self, name: &str, arguments: &[&str]) -> Client {
        let client = self.stranger(name);
        let words: Vec<_> = ["keys:add", name].iter().chain(arguments).copied().collect();
        self.local_with(&words, &public_key(&client.key())).ok();
        client
    }

    /// `airstrip --home HOME ARGUMENTS…` on the server itself.
    pub fn local(&self, arguments: &[&str]) -> Reply {
        self.local_with(arguments, b"")
    }

    /// The same with something on standard input.
    pub fn local_with(&self, arguments: &[&str], stdin: &[u8]) -> Reply {
        let mut command = self.command();
        run(command.arg("--home").arg(self.home()).args(arguments), stdin, ENDING)
    }

    /// The binary with the operator's environment.
    pub fn command(&self) -> Command {
        self.command_of(&self.binary)
    }

    fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AIRSTRIP_")) {
            command.env_remove(name);
        }
        command.env("HOME", self.operator_home()).env("TMPDIR", self.scratch()).env_remove("XDG_DATA_HOME");
        command.env("PATH", path_with_installer()).current_dir(self.base.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }
}
