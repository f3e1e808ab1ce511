//! What a build may take, beyond what the engine keeps each of its steps to: time, room on the disk, output. The first bound that is passed
//! ends the build, and is what its user is told.
//!
//! What a build's directory holds is weighed again and again while it runs; between two looks it may write more than it may. A project
//! quota would be exact, but files do not move between projects: not from the cache into a build, nor from a build into a release. What
//! no directory shows (a file that was removed, but is still written) is noticed when it takes the server's last space.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use builder::BuildError;
use engine::quota::{self, Weight};
use nix::sys::statvfs::statvfs;
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Result};
use crate::limits::{BUILD, Limit, Limits, Resource};
use crate::names::AppName;

/// The least time between two looks at what a build holds. Most builds are shorter.
const TICK: Duration = Duration::from_millis(250);
/// Looking may take this part of the time.
const PART: u32 = 5;
/// The space on the server's disk that no build may take; of a small disk only a part.
const RESERVE: u64 = 1 << 30;
const RESERVED_PART: u64 = 50;

type Built<T> = std::result::Result<T, BuildError>;

/// The bounds of one build.
pub struct Bounds {
    app: AppName,
    limits: Limits,
    begun: Instant,
    printed: AtomicU64,
    passed: OnceLock<Passed>,
    over: CancellationToken,
}

/// Why a build was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Passed {
    Limit(Limit),
    NoSpace,
    Unmeasured(String),
}

impl Bounds {
    /// Of a build that begins now.
    pub fn new(app: &AppName, limits: Limits) -> Self {
        let (begun, printed) = (Instant::now(), AtomicU64::new(0));
        Self { app: app.clone(), limits, begun, printed, passed: OnceLock::new(), over: CancellationToken::new() }
    }

    /// What the engine is to enforce.
    pub fn for_engine(&self) -> engine::Limits {
        self.limits.for_engine()
    }

    /// The build has passed a limit. The first counts.
    pub fn pass(&self, resource: Resource) {
        self.end(Passed::Limit(Limit { resource, amount: self.limits.get(resource) }));
    }

    fn end(&self, passed: Passed) {
        let _first = self.passed.set(passed);
        self.over.cancel();
    }

    /// Cancelled when a bound was passed.
    pub fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// How much of what the build prints next may be shown.
    pub fn print(&self, bytes: &[u8]) -> usize {
        let most = self.limits.get(Resource::Log).unwrap_or(u64::MAX);
        let length = bytes.len() as u64;
        let before = self.printed.fetch_add(length, Ordering::Relaxed);
        if before.saturating_add(length) > most {
            self.pass(Resource::Log);
        }
        usize::try_from(most.saturating_sub(before)).unwrap_or(usize::MAX).min(bytes.len())
    }

    /// Does the work of the build, unless it passes a bound, or is cancelled. What the steps had started may still be ending.
    pub async fn hold<T>(
        &self,
        work: impl Future<Output = Built<T>>,
        directory: &Path,
        cancelled: &CancellationToken,
    ) -> Option<Built<T>> {
        let result = tokio::select! {
            result = work => Some(result),
            () = self.watch(directory) => None,
            () = cancelled.cancelled() => None,
        };
        match result {
            Some(Err(BuildError::TimedOut { phase: "detect", .. })) => self.pass(Resource::DetectTime),
            Some(Err(BuildError::TimedOut { .. })) => self.pass(Resource::Time),
            _ => {}
        }
        result
    }

    /// What came of it.
    pub fn judge<T>(&self, result: Option<Built<T>>) -> Result<Built<T>> {
        self.failure().map_or_else(|| result.ok_or_else(|| Failure::plain("cancelled")), Err)
    }

    /// Returns when a bound was passed, and looks now and then whether that of what `directory` holds is.
    async fn watch(&self, directory: &Path) {
        self.over.run_until_cancelled(self.look_again_and_again(directory)).await;
    }

    async fn look_again_and_again(&self, directory: &Path) {
        let at_first = available(directory);
        let mut pause = TICK;
        loop {
            tokio::time::sleep(pause).await;
            let begin = Instant::now();
            if is_taking_the_last(at_first, available(directory)) {
                self.end(Passed::NoSpace);
            }
            self.weigh(directory).await;
            pause = TICK.max(begin.elapsed() * (PART - 1));
        }
    }

    /// Looks at what a step has left, before anybody reads it; not after a moment, in which there is not much that can be written.
    pub async fn look_after_step(&self, directory: &Path) {
        if self.begun.elapsed() > TICK {
            self.weigh(directory).await;
        }
    }

    async fn weigh(&self, directory: &Path) {
        let most = |resource| self.limits.get(resource).unwrap_or(u64::MAX);
        let (disk, inodes, directory) = (most(Resource::Disk), most(Resource::Inodes), directory.to_owned());
        let stop = self.over.child_token();
        let _nobody_waits = stop.clone().drop_guard();
        let enough = move |found: Weight| found.bytes > disk || found.files > inodes || stop.is_cancelled();
        match tokio::task::spawn_blocking(move || quota::weigh(&directory, enough)).await {
            Ok(Ok(found)) if found.bytes > disk => self.pass(Resource::Disk),
            Ok(Ok(found)) if found.files > inodes => self.pass(Resource::Inodes),
            Ok(Err(error)) => self.end(Passed::Unmeasured(error.to_string())),
            Ok(Ok(_)) | Err(_) => {}
        }
    }

    /// Whether what was passed is a bound of what it may write.
    pub fn is_disk_concerned(&self) -> bool {
        let by_disk = |limit: &Limit| matches!(limit.resource, Resource::Disk | Resource::Inodes);
        self.passed.get().is_some_and(|passed| if let Passed::Limit(limit) = passed { by_disk(limit) } else { true })
    }

    /// What the user is told, if a bound was passed.
    fn failure(&self) -> Option<Failure> {
        Some(match self.passed.get()? {
            Passed::NoSpace => Failure::disk_full(),
            Passed::Unmeasured(why) => {
                Failure::plain(format!("build failed: what it has made cannot be measured: {why}"))
            }
            Passed::Limit(limit) => Failure::new(
                format!("build failed: {} than its limit {limit}", has_done(limit.resource)),
                format!("if it really needs more: `resource:limit {} {BUILD} {}`", self.app, limit.twice()),
            ),
        })
    }
}

fn has_done(resource: Resource) -> &'static str {
    match resource {
        Resource::Memory => "it needed more memory",
        Resource::Pids => "it wanted more processes and threads",
        Resource::Time => "it took longer",
        Resource::DetectTime => "finding out what builds it took longer",
        Resource::Disk => "it wrote more (code, layers and /tmp together)",
        Resource::Inodes => "it made more files and directories (code, layers and /tmp together)",
        Resource::Log => "it printed more",
        _ => "it needed more",
    }
}

/// The space that is left on a disk, and what no build may take of it.
#[derive(Clone, Copy)]
struct Space {
    left: u64,
    reserved: u64,
}

fn available(directory: &Path) -> Option<Space> {
    let found = statvfs(directory).ok()?;
    let reserved = (found.blocks() * found.fragment_size() / RESERVED_PART).min(RESERVE);
    Some(Space { left: found.blocks_available() * found.fragment_size(), reserved })
}

/// On a disk that was full before, small builds still succeed.
fn is_taking_the_last(at_first: Option<Space>, now: Option<Space>) -> bool {
    let (Some(at_first), Some(now)) = (at_first, now) else { return false };
    now.left < now.reserved && at_first.left.saturating_sub(now.left) > now.reserved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Settings;

    fn bounds(limits: &[&str]) -> Bounds {
        let mut settings = Settings::default();
        let limits: Vec<Limit> = limits.iter().map(|limit| limit.parse().unwrap()).collect();
        settings.set(Some(&BUILD.parse().unwrap()), &limits);
        Bounds::new(&"blog".parse().unwrap(), settings.of_builds())
    }

    fn told(bounds: &Bounds) -> String {
        bounds.failure().map_or_else(String::new, |failure| failure.lines().collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn the_first_bound_that_is_passed_is_told() {
        let bounds = bounds(&["time=20m"]);
        assert!(bounds.failure().is_none() && !bounds.over().is_cancelled());
        bounds.pass(Resource::Time);
        bounds.pass(Resource::Memory);
        assert!(bounds.over().is_cancelled());
        insta::assert_snapshot!(told(&bounds), @r"
         !     build failed: it took longer than its limit time=20m
         !     if it really needs more: `resource:limit blog build time=40m`
        ");
    }

    #[test]
    fn output_is_shown_up_to_the_limit() {
        let bounds = bounds(&["log=64K"]);
        assert_eq!(bounds.print(&vec![0; 65_000]), 65_000);
        assert_eq!(bounds.print(&[0; 536]), 536);
        assert!(bounds.failure().is_none());
        assert_eq!(bounds.print(&[0; 10]), 0);
        assert!(told(&bounds).contains("it printed more than its limit log=64K"));
    }

    #[tokio::test]
    async fn what_is_written_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::File::create(directory.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        for (limits, word) in [(["disk=1M", "inodes=200"], "disk=1M"), (["disk=2G", "inodes=100"], "inodes=100")] {
            let bounds = bounds(&limits);
            let mut file = 0;
            let write = async {
                loop {
                    std::fs::write(directory.path().join(file.to_string()), "").unwrap();
                    file += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                () = bounds.watch(directory.path()) => {}
                () = write => {}
            }
            assert!(told(&bounds).contains(word), "{}", told(&bounds));
        }
    }

    #[test]
    fn the_last_space_is_nobodys() {
        let space = |left| Some(Space { left, reserved: 100 });
        for (at_first, now, ends) in
            [(1000, 500, false), (1000, 99, true), (1000, 100, false), (150, 90, false), (50, 0, false)]
        {
            assert_eq!(is_taking_the_last(space(at_first), space(now)), ends, "{at_first} {now}");
        }
        assert!(!is_taking_the_last(None, space(0)));
    }
}
