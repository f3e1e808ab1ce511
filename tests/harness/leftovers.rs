//! What a server left behind, searched for in `/proc`.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that has to do with a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub pid: i32,
    /// When it was started, in the kernel's ticks.
    born: u64,
    /// Its words.
    pub command: String,
}

impl Found {
    /// This process, whatever it mentions.
    pub fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        let directory = Path::new("/proc").join(pid.to_string());
        let command = words(&fs::read(directory.join("cmdline")).ok()?);
        let stat = fs::read_to_string(directory.join("stat")).ok()?;
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let zombie = fields.first() == Some(&"Z");
        let born = fields.get(19)?.parse().ok()?;
        (!zombie).then_some(Self { pid, born, command })
    }

    /// Whether it was started when `other` was, or later.
    pub fn is_not_older_than(&self, other: &Self) -> bool {
        self.born >= other.born
    }

    /// The processes that it has started and that have not ended.
    pub fn children(&self) -> Vec<Self> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().filter_map(Result::ok);
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let pids: Vec<u32> =
            lists.flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
        pids.into_iter().filter_map(Self::of).collect()
    }

    /// Whether it still is there.
    pub fn lives(&self) -> bool {
        u32::try_from(self.pid).ok().and_then(Self::of).as_ref().is_some_and(|now| now.born == self.born)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _gone = kill(Pid::from_raw(self.pid), signal);
    }

    /// Ends it.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.command)
    }
}

/// Every process with `text` in its words, its environment, the sources of its mounts or its directories, by pid.
pub fn processes_that_mention(text: &str) -> Vec<Found> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != std::process::id()).filter_map(Found::of);
    let mut found: Vec<Found> = others.filter(|found| mentions(found, text)).collect();
    found.sort();
    found
}

/// Mounts of this machine with `text` in them.
pub(super) fn mounts_that_mention(text: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Processes come and go while one looks: what cannot be read does not mention anything.
fn mentions(found: &Found, text: &str) -> bool {
    let directory = Path::new("/proc").join(found.pid.to_string());
    let environment = fs::read(directory.join("environ")).unwrap_or_default();
    let links = ["cwd", "root", "exe"].iter().filter_map(|name| fs::read_link(directory.join(name)).ok());
    let mut paths = links.map(|path| path.to_string_lossy().into_owned()).chain(mounted_from(&directory));
    found.command.contains(text) || contains(&environment, text.as_bytes()) || paths.any(|path| path.contains(text))
}

/// What is mounted from elsewhere in a file system, as in an instance. What the stories themselves see mounted says nothing:
/// every process of the machine sees it, and none of them may be taken for a server's.
fn mounted_from(process: &Path) -> Vec<String> {
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    if namespace(process) == namespace(Path::new("/proc/self")) {
        return Vec::new();
    }
    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    mounts.lines().filter_map(|line| line.split(' ').nth(3)).map(str::to_owned).collect()
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

fn words(command: &[u8]) -> String {
    String::from_utf8_lossy(command).replace('\0', " ").trim_end().to_owned()
}
