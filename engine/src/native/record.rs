//! What is kept on disk of an instance: who it is, and how it ended.
//!
//! `RUN_DIR/ID/instance.json` is written by the shim once the program runs, `exit.json` when it has ended, and `control` is
//! the shim's socket. Whether an instance lives is never read from these files: a shim that lives answers on its socket.
//!
//! Instances outlive the daemon that started them, and so its version. `protocol` in `instance.json` says what an instance can do. The number
//! grows when a daemon must treat older instances in another way, and what a number means never changes:
//!
//! 1. (also where it is missing) The instance shares the host's network: it is reached by the host's loopback.
//! 2. The instance has a network of its own: its first process answers `Serve`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::Exit;

/// The shim's socket.
pub(super) const CONTROL: &str = "control";
/// Of the instances that this version starts.
const PROTOCOL: u32 = 2;
const INSTANCE: &str = "instance.json";
const EXIT: &str = "exit.json";

/// An instance that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) labels: String,
    pub(super) started_at_ms: u64,
    /// The first process: trusted only in the same boot and with the same start time.
    pid: i32,
    pid_started: u64,
    boot: String,
    /// What the instance can do; see the module.
    #[serde(default = "oldest")]
    protocol: u32,
}

fn oldest() -> u32 {
    1
}

impl Record {
    pub(super) fn new(labels: String, started_at_ms: u64, pid: Pid) -> io::Result<Self> {
        Ok(Self {
            labels,
            started_at_ms,
            pid: pid.as_raw(),
            pid_started: start_time(pid)?,
            boot: boot_id()?,
            protocol: PROTOCOL,
        })
    }

    /// Not synced: after a power cut the instance is gone whatever this file says.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let aside = dir.join("instance.json.new");
        fs::write(&aside, serde_json::to_vec(self)?)?;
        fs::rename(aside, dir.join(INSTANCE))
    }

    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        read_json(&dir.join(INSTANCE))
    }

    /// The number of the first process.
    pub(super) fn pid(&self) -> Option<u32> {
        u32::try_from(self.pid).ok()
    }

    /// True unless the instance was started by a version that left it in the host's network.
    pub(super) fn has_network(&self) -> bool {
        self.protocol >= 2
    }

    /// The first process if it is still the one that was recorded.
    pub(super) fn living(&self) -> Option<Pid> {
        let pid = Pid::from_raw(self.pid);
        let same =
            boot_id().is_ok_and(|boot| boot == self.boot) && start_time(pid).is_ok_and(|at| at == self.pid_started);
        same.then_some(pid)
    }
}

/// Keeps how an instance ended, durably.
pub(super) fn write_exit(dir: &Path, exit: Exit) -> io::Result<()> {
    let aside = dir.join("exit.json.new");
    let mut file = File::create(&aside)?;
    file.write_all(&serde_json::to_vec(&exit)?)?;
    file.sync_all()?;
    fs::rename(aside, dir.join(EXIT))?;
    File::open(dir)?.sync_all()
}

/// How an instance ended, if that was witnessed.
pub(super) fn read_exit(dir: &Path) -> io::Result<Option<Exit>> {
    read_json(&dir.join(EXIT))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        // A file cut short by a power cut counts as absent.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When a process started, in clock ticks since the boot.
fn start_time(pid: Pid) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Stat::parse(&stat).map(|stat| stat.start_time).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) parent: i32,
    pub(super) session: i32,
    /// The foreground process group of its terminal; -1 without one.
    pub(super) foreground: i32,
    pub(super) start_time: u64,
    /// True for a process that has ended and waits to be reaped.
    pub(super) zombie: bool,
}

impl Stat {
    /// The second field is the program's name in parentheses, which may hold spaces and parentheses itself.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        Some(Self {
            zombie: matches!(*fields.first()?, "Z" | "X"),
            parent: number(1)?,
            session: number(3)?,
            foreground: number(5)?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }

    /// Every process that `/proc` shows, with its pid.
    pub(super) fn all() -> io::Result<Vec<(i32, Self)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process may end between the two reads.
            let Ok(text) = fs::read(format!("/proc/{pid}/stat")) else { continue };
            all.extend(Self::parse(&String::from_utf8_lossy(&text)).map(|stat| (pid, stat)));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Record, Stat, read_exit, write_exit};
    use crate::Exit;

    #[test]
    fn a_process_name_may_hold_anything() {
        let stat = "7 (a) b (c) S 1 7 6 34816 9 4194560 1 0 0 0 1 2 3 4 20 0 1 0 12345 0 0";
        let expected = Stat { parent: 1, session: 6, foreground: 9, start_time: 12345, zombie: false };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("7 (a"), None);
    }

    #[test]
    fn a_record_is_not_trusted_for_another_process_of_the_same_number() {
        let own = Record::new(String::new(), 0, nix::unistd::getpid()).unwrap();
        assert_eq!(own.living(), Some(nix::unistd::getpid()));
        assert_eq!(Record { pid_started: own.pid_started + 1, ..own.clone() }.living(), None);
        assert_eq!(Record { boot: "other".to_owned(), ..own }.living(), None);
    }

    #[test]
    fn exits_survive() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_exit(dir.path()).unwrap(), None);
        write_exit(dir.path(), Exit::Signal(9)).unwrap();
        assert_eq!(read_exit(dir.path()).unwrap(), Some(Exit::Signal(9)));
        std::fs::write(dir.path().join("exit.json"), "{").unwrap();
        assert_eq!(read_exit(dir.path()).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_stat_panics(text in ".{0,200}") {
            let _ = Stat::parse(&text);
        }
    }
}
