//! The daemon: started, replaced, ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ENDING, Server};
use crate::harness::leftovers::Found;
use crate::harness::page::Http;
use crate::harness::reply::{Reply, wait};
use crate::harness::waiting::{PATIENCE, eventually, wait_until};

impl Server {
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
