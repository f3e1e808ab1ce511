//! How much of the machine an app's instances and builds may use: what is set, for the app and for single process types, and what
//! holds by it. Enforcing it is the engine's, and for what only builds have [`crate::bounds`]'.

mod amount;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use amount::{parse_bytes, parse_count, parse_seconds, parse_thousandths};
pub use amount::{show_bytes, show_rough_bytes, show_seconds, show_thousandths};

use crate::names::{AppName, ProcessType};

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

use Resource as R;

/// The process type whose limits are those of an app's builds.
pub const BUILD: &str = "build";

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
    fn range(self) -> RangeInclusive<u64> {
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
    fn may_be_unlimited(self) -> bool {
        matches!(self, R::Memory | R::Cpu | R::Pids | R::Data)
    }

    /// What holds where nothing is set.
    fn usual(self) -> Option<u64> {
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
    fn usual_in_builds(self) -> Option<u64> {
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

    fn parse_amount(self, text: &str) -> Option<u64> {
        match self {
            R::Memory | R::Tmp | R::Code | R::Log | R::Data | R::Disk => parse_bytes(text),
            R::Cpu => parse_thousandths(text),
            R::Pids | R::Files | R::Inodes => parse_count(text),
            R::Time | R::DetectTime => parse_seconds(text),
        }
    }

    /// An amount of it, as [`Limit`] reads it.
    fn show(self, amount: Option<u64>) -> String {
        let Some(amount) = amount else { return "none".to_owned() };
        match self {
            R::Memory | R::Tmp | R::Code | R::Log | R::Data | R::Disk => show_bytes(amount),
            R::Cpu => show_thousandths(amount),
            R::Pids | R::Files | R::Inodes => amount.to_string(),
            R::Time | R::DetectTime => show_seconds(amount),
        }
    }

    fn example(self) -> &'static str {
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

/// `memory=512M`, `cpu=none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is limited.
    pub resource: Resource,
    /// To how much: bytes, thousandths of a processor, or a number.
    pub amount: Option<u64>,
}

/// Why a text is no [`Limit`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimit {
    /// It has another form.
    #[error("{0:?} is not KEY=VALUE, such as memory=512M")]
    Form(String),
    /// Its name is unknown.
    #[error(transparent)]
    Resource(#[from] NoSuchResource),
    /// Its amount cannot be read, or makes no sense.
    #[error("{0}={1:?}: it is from {least} to {most}, such as {0}={example}", least = .0.show(Some(*.0.range().start())),
        most = .0.show(Some(*.0.range().end())), example = .0.example())]
    Amount(Resource, String),
}

impl FromStr for Limit {
    type Err = InvalidLimit;
    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let (name, value) = text.split_once('=').ok_or_else(|| InvalidLimit::Form(text.to_owned()))?;
        let resource: Resource = name.parse()?;
        if value == "none" && resource.may_be_unlimited() {
            return Ok(Self { resource, amount: None });
        }
        let amount = resource.parse_amount(value).filter(|amount| resource.range().contains(amount));
        let amount = amount.ok_or_else(|| InvalidLimit::Amount(resource, value.to_owned()))?;
        Ok(Self { resource, amount: Some(amount) })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.resource, self.resource.show(self.amount))
    }
}

impl Limit {
    /// Twice as much, as far as that makes sense.
    #[must_use]
    pub fn twice(self) -> Self {
        let most = *self.resource.range().end();
        Self { amount: self.amount.map(|amount| amount.saturating_mul(2).min(most)), ..self }
    }
}

/// What to do about a process of this type that needed more memory than `limit`.
pub fn more_memory(app: &AppName, process: &str, limit: u64) -> String {
    let more = show_bytes(limit.saturating_mul(2));
    format!("if it really needs more: `resource:limit {app} {process} memory={more}`")
}

/// Limits that were set, by resource.
pub type Set = BTreeMap<Resource, Option<u64>>;

/// What is set for an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// For whatever runs of it, but its builds.
    app: Set,
    /// For single process types.
    types: BTreeMap<ProcessType, Set>,
}

impl Settings {
    /// Sets limits: the app's, or those of one process type.
    pub fn set(&mut self, process: Option<&ProcessType>, limits: &[Limit]) {
        self.place(process).extend(limits.iter().map(|limit| (limit.resource, limit.amount)));
    }

    /// Removes limits; all of them if none is named. Gives the first that was not set.
    pub fn clear(&mut self, process: Option<&ProcessType>, resources: &[Resource]) -> Option<Resource> {
        let set = self.place(process);
        if resources.is_empty() {
            set.clear();
        }
        let missing = resources.iter().copied().find(|resource| set.remove(resource).is_none());
        self.types.retain(|_, set| !set.is_empty());
        missing
    }

    /// The process types that something is set for.
    pub fn types(&self) -> impl Iterator<Item = &ProcessType> {
        self.types.keys()
    }

    fn place(&mut self, process: Option<&ProcessType>) -> &mut Set {
        match process {
            None => &mut self.app,
            Some(process) => self.types.entry(process.clone()).or_default(),
        }
    }

    /// What holds for instances of a process type.
    pub fn of(&self, process: &str) -> Limits {
        let set = |resource| self.own(process).and_then(|own| own.get(&resource)).or_else(|| self.app.get(&resource));
        let own = R::ALL.into_iter().filter(|resource| !resource.is_shared() && !resource.is_of_builds());
        Limits::by(own, |resource| set(resource).copied().unwrap_or_else(|| resource.usual()))
    }

    /// What `data/` may hold; None: as much as the disk has room for.
    pub fn data(&self) -> Option<u64> {
        self.app.get(&R::Data).copied().flatten()
    }

    /// What holds for builds. What is set for the app is meant for what it runs.
    pub fn of_builds(&self) -> Limits {
        let set = |resource| self.own(BUILD).and_then(|own| own.get(&resource));
        let own = R::ALL.into_iter().filter(|resource| !resource.is_shared());
        Limits::by(own, |resource| set(resource).copied().unwrap_or_else(|| resource.usual_in_builds()))
    }

    fn own(&self, process: &str) -> Option<&Set> {
        self.types.iter().find(|(known, _)| known.as_str() == process).map(|(_, set)| set)
    }
}

/// What holds for a process type: every resource has its amount, but those that all share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits(Set);

/// Memory that a web server's worker should have for itself.
const WORKER_BYTES: u64 = 128 << 20;
/// More workers than this are for whoever runs the app to wish for.
const MOST_WORKERS: u64 = 8;

impl Limits {
    fn by(own: impl Iterator<Item = Resource>, amount: impl Fn(Resource) -> Option<u64>) -> Self {
        Self(own.map(|resource| (resource, amount(resource))).collect())
    }

    /// Of one resource; None: no limit.
    pub fn get(&self, resource: Resource) -> Option<u64> {
        self.0.get(&resource).copied().flatten()
    }

    /// Of a resource that is time.
    pub fn time(&self, resource: Resource) -> Duration {
        self.get(resource).map_or(Duration::MAX, Duration::from_secs)
    }

    /// Bound of one log file.
    pub fn log_bytes(&self) -> u64 {
        self.get(R::Log).unwrap_or(u64::MAX)
    }

    /// What the engine is to enforce.
    pub fn for_engine(&self) -> engine::Limits {
        let number = |resource| self.get(resource).map(|amount| u32::try_from(amount).unwrap_or(u32::MAX));
        let generous = engine::Limits::default();
        engine::Limits {
            memory: self.get(R::Memory),
            cpu: number(R::Cpu),
            pids: number(R::Pids),
            open_files: self.get(R::Files).unwrap_or(generous.open_files),
            tmp: self.get(R::Tmp).unwrap_or(generous.tmp),
            scratch: self.get(R::Code).unwrap_or(generous.scratch),
        }
    }

    /// Workers that a web server should start on a machine with so many processors: as many as can run at once, and as
    /// have room.
    pub fn workers(&self, processors: u64) -> u64 {
        let cpu = self.get(R::Cpu).map_or(u64::MAX, |thousandths| thousandths.div_ceil(1000));
        let memory = self.get(R::Memory).map_or(u64::MAX, |bytes| bytes / WORKER_BYTES);
        processors.min(cpu).min(memory).clamp(1, MOST_WORKERS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(text: &str) -> Limit {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn amounts() {
        let cases = [
            ("memory=512M", Some(512 << 20), "memory=512M"),
            ("memory=512m", Some(512 << 20), "memory=512M"),
            ("memory=512MB", Some(512 << 20), "memory=512M"),
            ("memory=512MiB", Some(512 << 20), "memory=512M"),
            ("memory=512Mi", Some(512 << 20), "memory=512M"),
            ("memory=1536M", Some(1536 << 20), "memory=1536M"),
            ("memory=2048M", Some(2 << 30), "memory=2G"),
            ("memory=16777217B", Some((16 << 20) + 1), "memory=16777217B"),
            ("memory=none", None, "memory=none"),
            ("cpu=1.0", Some(1000), "cpu=1"),
            ("cpu=0.5", Some(500), "cpu=0.5"),
            ("cpu=1.25", Some(1250), "cpu=1.25"),
            ("cpu=0.075", Some(75), "cpu=0.075"),
            ("pids=256", Some(256), "pids=256"),
            ("log=64K", Some(64 << 10), "log=64K"),
            ("data=1024M", Some(1 << 30), "data=1G"),
            ("data=none", None, "data=none"),
            ("time=90s", Some(90), "time=90s"),
            ("time=900s", Some(900), "time=15m"),
            ("time=120m", Some(7200), "time=2h"),
            ("detect-time=1m", Some(60), "detect-time=1m"),
            ("disk=10G", Some(10 << 30), "disk=10G"),
            ("inodes=5000", Some(5000), "inodes=5000"),
        ];
        for (text, amount, shown) in cases {
            assert_eq!((limit(text).amount, limit(text).to_string().as_str()), (amount, shown), "{text}");
        }
    }

    #[test]
    fn counted_bytes() {
        let cases =
            [(0, "0B"), (1023, "1023B"), (4096, "4.0K"), ((12 << 20) + 345_678, "12.3M"), (u64::MAX, "16777215.9T")];
        for (bytes, shown) in cases {
            assert_eq!(show_rough_bytes(bytes), shown);
        }
    }

    #[test]
    fn what_is_no_limit() {
        for bad in [
            "memory",
            "memory=",
            "memory=512",
            "memory=15M",
            "memory=-512M",
            "memory=+512M",
            "memory=65T",
            "memory=M",
            "memory=1.5G",
            "memory=512MM",
            "memory=512X",
            "memory=512MBi",
            "memory=99999999999999999999G",
            "room=1G",
            "time=15",
            "time=0s",
            "time=25h",
            "time=1.5h",
            "time=none",
            "time=m",
            "detect_time=1m",
            "disk=none",
            "inodes=10",
            "cpu=0",
            "cpu=.5",
            "cpu=1.",
            "cpu=1.2345",
            "cpu=1e3",
            "cpu=2000",
            "pids=7",
            "pids=1M",
            "files=none",
            "files=2000000",
            "tmp=none",
            "log=1K",
            "data=1K",
            "Memory=512M",
            "=512M",
            "memory=５M",
        ] {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
        let said = "memory=15M".parse::<Limit>().unwrap_err().to_string();
        assert_eq!(said, "memory=\"15M\": it is from 16M to 64T, such as memory=512M");
        let said = "time=15".parse::<Limit>().unwrap_err().to_string();
        assert_eq!(said, "time=\"15\": it is from 1s to 24h, such as time=15m");
    }

    #[test]
    fn only_builds_have_a_time() {
        let build: ProcessType = BUILD.parse().unwrap();
        let mut settings = Settings::default();
        let before = (settings.of("web"), settings.of_builds());
        assert_eq!((before.0.get(R::Time), before.1.get(R::Time)), (None, Some(900)));
        settings.set(Some(&build), &[limit("time=20m"), limit("disk=1G")]);
        assert_eq!(settings.of("web"), before.0);
        assert_eq!((settings.of_builds().get(R::Time), settings.of_builds().get(R::Disk)), (Some(1200), Some(1 << 30)));
        assert_eq!(limit("time=20h").twice().to_string(), "time=24h");
        assert_eq!(limit("disk=3G").twice().to_string(), "disk=6G");
    }

    #[test]
    fn the_closest_setting_holds() {
        let mut settings = Settings::default();
        let worker: ProcessType = "worker".parse().unwrap();
        settings.set(None, &[limit("memory=1G"), limit("cpu=2")]);
        settings.set(Some(&worker), &[limit("memory=128M"), limit("cpu=none")]);
        let got = |process: &str, resource| settings.of(process).get(resource);
        assert_eq!((got("web", R::Memory), got("web", R::Cpu)), (Some(1 << 30), Some(2000)));
        assert_eq!((got("worker", R::Memory), got("worker", R::Cpu)), (Some(128 << 20), None));
        assert_eq!(got("worker", R::Pids), Some(512));
        assert_eq!(settings.of_builds().get(R::Memory), Some(2 << 30));
        assert_eq!(settings.clear(Some(&worker), &[R::Memory]), None);
        assert_eq!(settings.of("worker").get(R::Memory), Some(1 << 30));
        assert_eq!(settings.clear(Some(&worker), &[R::Tmp]), Some(R::Tmp));
        settings.clear(Some(&worker), &[]);
        settings.clear(None, &[]);
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn what_all_share_concerns_no_instance() {
        let mut settings = Settings::default();
        let before = settings.of("web");
        settings.set(None, &[limit("data=1G")]);
        assert_eq!((settings.data(), settings.of("web")), (Some(1 << 30), before.clone()));
        assert_eq!(settings.clear(None, &[R::Data]), None);
        assert_eq!((settings.data(), settings.of("web")), (None, before));
    }

    #[test]
    fn settings_are_kept_as_json() {
        let mut settings = Settings::default();
        settings.set(Some(&"web".parse().unwrap()), &[limit("memory=64M"), limit("cpu=none")]);
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(text, r#"{"app":{},"types":{"web":{"memory":67108864,"cpu":null}}}"#);
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
        assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
    }

    #[test]
    fn workers_by_processors_and_room() {
        let workers = |limits: &[&str], processors| {
            let mut settings = Settings::default();
            settings.set(None, &limits.iter().map(|text| limit(text)).collect::<Vec<_>>());
            settings.of("web").workers(processors)
        };
        assert_eq!(workers(&[], 2), 2);
        assert_eq!(workers(&[], 16), 4, "512M have room for four");
        assert_eq!(workers(&["memory=none"], 16), 8);
        assert_eq!(workers(&["memory=16M"], 16), 1);
        assert_eq!(workers(&["cpu=0.5"], 16), 1);
        assert_eq!(workers(&["cpu=1.5", "memory=2G"], 16), 2);
    }

    proptest! {
        #[test]
        fn any_text_is_a_limit_or_refused(text in "(memory|cpu|pids|files|tmp|code|log|data|time|detect-time|disk|inodes)?=?[0-9.]{0,22}[a-zA-Z]{0,4}\\PC{0,3}") {
            if let Ok(limit) = text.parse::<Limit>() {
                prop_assert_eq!(limit.to_string().parse::<Limit>(), Ok(limit));
            }
        }

        #[test]
        fn every_amount_is_read_as_it_is_shown(resource in proptest::sample::select(R::ALL.to_vec()), amount in any::<u64>()) {
            let range = resource.range();
            let amount = range.start() + amount % (range.end() - range.start() + 1);
            let limit = Limit { resource, amount: Some(amount) };
            prop_assert_eq!(limit.to_string().parse::<Limit>(), Ok(limit));
        }
    }
}
