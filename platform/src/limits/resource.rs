//! What is limited, and what of it makes sense.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::Resource as R;
use super::amount::{
    parse_bytes, parse_count, parse_seconds, parse_thousandths, show_bytes, show_seconds, show_thousandths,
};

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Memory of all processes together.
    Memory,
    /// Thousandths of a processor.
    Cpu,
    /// Processes and threads.
    Pids,
    /// Files that one process holds open.
    Files,
    /// Bytes in `/tmp` and the home directory.
    Tmp,
    /// Bytes written over the code.
    Code,
    /// Bytes of one log file; each place has two. Of a build: bytes that it prints.
    Log,
    /// Bytes in `data/`, which all instances of an app share.
    Data,
    /// Seconds that the build may take, of a build.
    Time,
    /// Seconds that finding out what builds it may take, of a build.
    DetectTime,
    /// Bytes on the disk of a build: code, layers and `/tmp` together.
    Disk,
    /// Files and directories of a build there.
    Inodes,
}

impl Resource {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 12] = [
        R::Memory,
        R::Cpu,
        R::Pids,
        R::Files,
        R::Tmp,
        R::Code,
        R::Log,
        R::Data,
        R::Time,
        R::DetectTime,
        R::Disk,
        R::Inodes,
    ];

    /// Whether an app has one limit for all that runs of it, instead of one for each instance.
    pub fn is_shared(self) -> bool {
        self == R::Data
    }

    /// Whether only builds have it.
    pub fn is_of_builds(self) -> bool {
        matches!(self, R::Time | R::DetectTime | R::Disk | R::Inodes)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            R::Memory => "memory",
            R::Cpu => "cpu",
            R::Pids => "pids",
            R::Files => "files",
            R::Tmp => "tmp",
            R::Code => "code",
            R::Log => "log",
            R::Data => "data",
            R::Time => "time",
            R::DetectTime => "detect-time",
            R::Disk => "disk",
            R::Inodes => "inodes",
        }
    }

    /// What makes sense: less, and hardly anything starts; more, and it is a slip.
    pub(super) fn range(self) -> RangeInclusive<u64> {
        match self {
            R::Memory => 16 << 20..=64 << 40,
            R::Cpu => 10..=1_024_000,
            R::Pids => 8..=4_194_304,
            R::Files => 64..=1_048_576,
            R::Tmp | R::Code | R::Data | R::Disk => 1 << 20..=64 << 40,
            R::Log => 64 << 10..=1 << 40,
            R::Time | R::DetectTime => 1..=24 * 3600,
            R::Inodes => 100..=1_000_000_000,
        }
    }

    /// Whether it may be unlimited: what the kernel accounts for, and what is worth keeping. The others fill the machine.
    pub(super) fn may_be_unlimited(self) -> bool {
        matches!(self, R::Memory | R::Cpu | R::Pids | R::Data)
    }

    /// What holds where nothing is set.
    pub(super) fn usual(self) -> Option<u64> {
        match self {
            R::Memory => Some(512 << 20),
            R::Cpu | R::Data => None,
            R::Pids => Some(512),
            R::Files => Some(65_536),
            R::Tmp | R::Code => Some(256 << 20),
            R::Log => Some(5 << 20),
            R::Time | R::DetectTime | R::Disk | R::Inodes => self.usual_in_builds(),
        }
    }

    /// The same for builds, whose `/tmp` is on the disk.
    pub(super) fn usual_in_builds(self) -> Option<u64> {
        match self {
            R::Memory => Some(2 << 30),
            R::Tmp | R::Code => Some(1 << 30),
            R::Log => Some(16 << 20),
            R::Time => Some(15 * 60),
            R::DetectTime => Some(60),
            R::Disk => Some(10 << 30),
            R::Inodes => Some(1_000_000),
            other => other.usual(),
        }
    }

    pub(super) fn parse_amount(self, text: &str) -> Option<u64> {
        match self {
            R::Memory | R::Tmp | R::Code | R::Log | R::Data | R::Disk => parse_bytes(text),
            R::Cpu => parse_thousandths(text),
            R::Pids | R::Files | R::Inodes => parse_count(text),
            R::Time | R::DetectTime => parse_seconds(text),
        }
    }

    /// An amount of it, as [`Limit`] reads it.
    pub(super) fn show(self, amount: Option<u64>) -> String {
        let Some(amount) = amount else { return "none".to_owned() };
        match self {
            R::Memory | R::Tmp | R::Code | R::Log | R::Data | R::Disk => show_bytes(amount),
            R::Cpu => show_thousandths(amount),
            R::Pids | R::Files | R::Inodes => amount.to_string(),
            R::Time | R::DetectTime => show_seconds(amount),
        }
    }

    pub(super) fn example(self) -> &'static str {
        match self {
            R::Memory => "512M",
            R::Cpu => "1.5",
            R::Pids => "256",
            R::Files => "65536",
            R::Tmp | R::Code => "256M",
            R::Log => "5M",
            R::Data => "1G",
            R::Time => "15m",
            R::DetectTime => "60s",
            R::Disk => "10G",
            R::Inodes => "1000000",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names nothing that is limited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no limit: there are memory, cpu, pids, files, tmp, code, log and data, and for builds time, detect-time, disk and inodes"
)]
pub struct NoSuchResource(String);

impl FromStr for Resource {
    type Err = NoSuchResource;
    fn from_str(text: &str) -> Result<Self, NoSuchResource> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or_else(|| NoSuchResource(text.to_owned()))
    }
}
