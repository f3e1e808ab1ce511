//! A server of the real binary in a temporary home.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use super::client::{Client, public_key};
use super::leftovers::{Found, mounts_that_mention, processes_that_mention};
use super::operator::{ORDINARY, binary_for, copy_package_settings, may_make_namespaces, path_with_installer};
use super::page::Http;
use super::reply::{Reply, run, wait};
use super::skipped::skipped;
use super::waiting::{PATIENCE, eventually, wait_until};

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

    /// A server whose home is a disk of `bytes`. None, with the reason printed, if that cannot be made.
    pub fn on_small_disk(bytes: u64) -> Option<Self> {
        if !geteuid().is_root() {
            skipped("only root can mount a small disk");
            return None;
        }
        Some(Self::begin(None, Some(bytes), &[]))
    }

    /// A server whose home is a disk of `bytes` with project quotas. None, with the reason printed, if that cannot be made.
    pub fn on_disk_with_quotas(bytes: u64) -> Option<Self> {
        if !geteuid().is_root() {
            skipped("only root can mount a disk with quotas");
            return None;
        }
        let mut server = Self::made(None, None, &[]);
        match server.mount_disk_with_quotas(bytes) {
            Ok(()) => Some(server.begun()),
            Err(reason) => {
                skipped(&format!("no disk with project quotas: {reason}"));
                None
            }
        }
    }

    fn mount_disk_with_quotas(&mut self, bytes: u64) -> Result<(), String> {
        let image = self.base.path().join("disk");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let mut make = Command::new("mkfs.ext4");
        tried(make.args(["-q", "-O", "quota,project"]).arg(&image))?;
        let mut mount = Command::new("mount");
        tried(mount.args(["-o", "loop,prjquota"]).arg(&image).arg(self.home()))?;
        self.own_disk = true;
        Ok(())
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
                let options = format!("size={bytes},mode=0755");
                mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
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

    /// Starts the daemon, after it was ended, on the addresses that it had.
    pub fn start_again(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        // A port that is free now may be taken for a moment by somebody's outgoing connection.
        eventually("the daemon takes its addresses", PATIENCE, || self.try_start());
    }

    fn try_start(&mut self) -> Option<()> {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = self.command_of(&self.program);
        command.arg("serve").arg("--home").arg(self.home());
        command.args(["--ssh", &self.ssh.to_string(), "--http", &self.http.0.to_string()]).args(&self.arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let said = lines(child.stdout.take().unwrap());
        self.first = self.first.take().or_else(|| Found::of(child.id()));
        self.daemon = Some(child);
        if let Ok(line) = said.recv_timeout(ENDING) {
            self.understand(line);
            return Some(());
        }
        assert!(self.log().contains("in use"), "the daemon is not ready:\n{}", self.log());
        self.daemon.take().unwrap().wait().unwrap();
        None
    }

    fn understand(&mut self, line: String) {
        let value = |name: &str| {
            let word = line.split(' ').find_map(|word| word.strip_prefix(name));
            word.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_owned()
        };
        self.ssh = value("ssh=").parse().unwrap();
        self.http = Http(value("http=").parse().unwrap());
        self.ready_line = line;
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.base.path().join("log")
    }

    /// `airstrip upgrade`: another daemon is the server afterwards. The old one may still answer what it has begun.
    pub fn upgrade(&mut self) -> Reply {
        let reply = self.local(&["upgrade"]);
        if reply.status == 0 {
            let text = reply.out();
            let pid = text.rsplit_once("(pid ").and_then(|(_, rest)| rest.trim_end().strip_suffix(')')?.parse().ok());
            self.replaced.push(self.daemon_pid());
            self.successor = Some(pid.unwrap_or_else(|| panic!("no pid in {reply}")));
        }
        reply
    }

    /// The binary itself.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// From now on a script stands where the daemon was started from.
    pub fn replace_program(&self, script: &str) {
        let made = self.program.with_extension("new");
        fs::write(&made, script).unwrap();
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(made, &self.program).unwrap();
    }

    /// The program is what it was.
    pub fn restore_program(&self) {
        fs::remove_file(&self.program).unwrap();
        symlink(&self.binary, &self.program).unwrap();
    }

    /// Waits until every daemon that was replaced has ended.
    pub fn wait_for_replaced(&mut self) {
        if self.successor.is_some()
            && let Some(daemon) = &mut self.daemon
        {
            wait(daemon, "the first daemon", ENDING);
        }
        let runs = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok();
        wait_until("replaced daemons end", ENDING, || !self.replaced.iter().any(runs));
        self.replaced.clear();
    }

    /// `kill -9` of the daemon alone.
    pub fn crash(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// SIGTERM to the daemon; gives its exit status.
    pub fn terminate(&mut self) -> Option<i32> {
        kill(Pid::from_raw(self.daemon_pid()), Signal::SIGTERM).unwrap();
        wait(&mut self.daemon.take().unwrap(), "airstrip serve", ENDING).code()
    }

    /// `airstrip stop-all`; the daemon ends too.
    pub fn stop_all(&mut self) -> Reply {
        let reply = self.local(&["stop-all"]);
        if reply.status == 0 {
            self.wait_for_replaced();
            self.successor = None;
            wait(&mut self.daemon.take().unwrap(), "airstrip serve", ENDING);
        }
        reply
    }

    /// The daemon's process.
    pub fn daemon_pid(&self) -> i32 {
        self.successor.unwrap_or_else(|| i32::try_from(self.daemon.as_ref().unwrap().id()).unwrap())
    }

    /// The most memory that the daemon has had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon_pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Every process of the server but the daemon, and but commands given to it.
    pub fn processes(&self) -> Vec<Found> {
        let daemon = self.daemon.as_ref().map(|_| self.daemon_pid());
        let found = processes_that_mention(&self.mark()).into_iter().filter(|found| Some(found.pid) != daemon);
        found.filter(|found| self.first.as_ref().is_some_and(|first| found.is_not_older_than(first))).collect()
    }

    /// Every directory of the home that a deploy may make, for comparison. Git's own fan-out and caches do not count.
    pub fn directories(&self) -> Vec<String> {
        let mut find = Command::new("find");
        let ignored = ["*/objects/??", "*/cache", "*/data", "*/releases/v*/*", "*/layers/*/*"];
        find.current_dir(self.home()).arg(".").args(["-type", "d"]);
        for pattern in ignored {
            find.args(["-not", "-path", pattern, "-not", "-path", &format!("{pattern}/*")]);
        }
        let mut found: Vec<String> = run(&mut find, b"", PATIENCE).out().lines().map(str::to_owned).collect();
        found.sort();
        found
    }

    /// Ends everything the normal way, also when the daemon was ended before.
    fn end(&mut self) -> Result<(), String> {
        if self.daemon.is_none() {
            self.start_again();
        }
        let reply = self.stop_all();
        if reply.status == 0 { Ok(()) } else { Err(reply.to_string()) }
    }

    /// Kills what is left, and says what it was.
    fn sweep(&mut self) -> Vec<String> {
        if let Some(mut daemon) = self.daemon.take() {
            let _gone = daemon.kill();
            let _reaped = daemon.wait();
        }
        let mut left = Vec::new();
        let begin = Instant::now();
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                break;
            }
            // What ends by itself just now is not left behind.
            if begin.elapsed() > Duration::from_secs(3) {
                left.extend(processes.iter().map(|found| format!("process {found}")));
                processes.iter().for_each(Found::kill);
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        left.extend(self.unmount());
        left.extend(entries(&self.scratch()).map(|path| format!("file {}", path.display())));
        left
    }

    /// Unmounts the home, if it is a disk; what else is mounted should not be.
    fn unmount(&self) -> Vec<String> {
        if self.own_disk {
            let _best = umount2(&self.home(), MntFlags::MNT_DETACH);
        }
        mounts_that_mention(&self.mark()).into_iter().map(|mount| format!("mount {mount}")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("--- the daemon's log\n{}---", self.log());
        }
        // A second panic while one is under way would abort the other stories.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.end()));
        let left = self.sweep();
        if failed {
            eprintln!("--- left behind: {left:#?}");
            return;
        }
        assert!(matches!(ended, Ok(Ok(()))), "stop-all: {ended:?}\n{}", self.log());
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

/// What a program has to say if it fails.
fn tried(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    if output.status.success() { Ok(()) } else { Err(said) }
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
}

/// Reads on to the end, so that the daemon never waits for us.
fn lines(pipe: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _unread = sender.send(line);
        }
    });
    receiver
}

#[test]
fn what_is_left_behind_fails_the_story_and_is_ended() {
    let mut stray = None;
    let story = std::panic::AssertUnwindSafe(|| {
        let server = Server::start();
        stray = Some(Command::new("sleep").arg("86387").env("LEFT_BY", server.home()).spawn().unwrap());
    });
    assert!(std::panic::catch_unwind(story).is_err(), "the harness should notice a process that is left");
    wait(&mut stray.unwrap(), "sleep", PATIENCE);
}
