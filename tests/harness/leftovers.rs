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
    /// Its words.
    pub command: String,
}

impl Found {
    /// Ends it.
    pub fn kill(&self) {
        let _gone = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.command)
    }
}

/// Every process with `text` in its words, its environment, its mounts or its directories, by pid.
pub fn processes_that_mention(text: &str) -> Vec<Found> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).unwrap();
    let mut found: Vec<Found> = pids.filter(|pid| *pid != own).filter_map(|pid| mentions(pid, text)).collect();
    found.sort();
    found
}

/// Mounts of this machine with `text` in them.
pub(super) fn mounts_that_mention(text: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Processes come and go while one looks: what cannot be read does not mention anything.
fn mentions(pid: i32, text: &str) -> Option<Found> {
    let directory = Path::new("/proc").join(pid.to_string());
    let command = fs::read(directory.join("cmdline")).ok()?;
    if is_zombie(&directory) {
        return None;
    }
    let files = ["environ", "mountinfo"].iter().filter_map(|name| fs::read(directory.join(name)).ok());
    let links = ["cwd", "root", "exe"].iter().filter_map(|name| fs::read_link(directory.join(name)).ok());
    let links = links.map(|path| path.into_os_string().into_encoded_bytes());
    let mut all = files.chain(links).chain([command.clone()]);
    all.any(|bytes| contains(&bytes, text.as_bytes())).then(|| Found { pid, command: words(&command) })
}

fn is_zombie(directory: &Path) -> bool {
    let stat = fs::read_to_string(directory.join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

fn words(command: &[u8]) -> String {
    String::from_utf8_lossy(command).replace('\0', " ").trim_end().to_owned()
}
