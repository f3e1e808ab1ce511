//! Takes away what nobody needs any more: releases before the last builds, layers of no release, caches of apps that rest.
//!
//! One task does it, whenever a build or a change has ended, and at start. What is taken away first loses its name, so that a crash
//! in between leaves only what the next start removes. Nothing is taken that could still be rolled back to ([`collectable`]), that
//! runs (also of an earlier daemon), or that a one-off or a rollback uses ([`crate::uses`]). Layers go only while no build is
//! under way: a build may be about to use any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use builder::Digest;
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Result};
use crate::home::sync_directory;
use crate::instance::Labels;
use crate::line::Job;
use crate::names::Version;
use crate::platform::Platform;
use crate::release::Manifest;
use crate::store::{App, AppId, Release};

/// Prefix of names of what is being removed, in an app's directory and among its releases; a start removes what crashes left.
pub const GONE: &str = ".gone-";
/// The cache of an app that has not been built for so long is removed.
const RESTED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The shared cache is removed when it takes more bytes.
const SHARED_MOST: u64 = 8 << 30;

/// Versions that run, by app.
type Running = BTreeMap<AppId, BTreeSet<Version>>;

/// Collects whenever there may be something, until the server ends.
pub async fn collector(platform: Arc<Platform>) {
    let mut shared = SharedCache::default();
    while platform.duties.run_until_cancelled(platform.uses.idle.notified()).await.is_some() {
        if let Err(error) = platform.collect().await {
            platform.uses.keep_stale();
            tracing::warn!(%error, "taking away what nobody needs");
        }
        if let Err(error) = shared.bound(&platform).await {
            tracing::warn!(%error, "bounding the shared cache");
        }
    }
}

/// What was loaded to make layers that apps share: it grows with every new lock, and goes as a whole once it is too large.
#[derive(Debug, Default)]
struct SharedCache {
    /// When a shared layer had been made last, when it was measured last.
    measured: Option<SystemTime>,
}

impl SharedCache {
    async fn bound(&mut self, platform: &Platform) -> Result<()> {
        let (layers, cache) = (platform.home.shared().join("layers"), platform.home.shared().join("cache"));
        let made = std::fs::metadata(layers).and_then(|layers| layers.modified()).ok();
        if made == self.measured {
            return Ok(());
        }
        let measured = tokio::task::spawn_blocking({
            let cache = cache.clone();
            move || engine::quota::measure(&cache, |bytes| bytes > SHARED_MOST)
        });
        let measured = measured.await.map_err(|e| Failure::plain(e.to_string()))??;
        if measured.bytes > SHARED_MOST {
            // A build may be using it; its end calls again.
            let Some(_nobody_builds) = platform.uses.nobody() else { return Ok(()) };
            remove(aside(&cache)?.into_iter().collect()).await?;
        }
        self.measured = made;
        Ok(())
    }
}

impl Platform {
    async fn collect(&self) -> Result<()> {
        let running = self.running_versions().await?;
        for app in self.store.apps()?.into_iter().filter(|app| !app.destroying) {
            let runs = running.get(&app.id).cloned().unwrap_or_default();
            let gone = self.collect_releases(&app, &runs)?.into_iter().chain(self.collect_cache(&app));
            let gone: Vec<PathBuf> = gone.collect();
            if !gone.is_empty() {
                self.uses.look_through_layers();
            }
            remove(gone).await?;
        }
        self.collect_layers().await
    }

    async fn running_versions(&self) -> Result<Running> {
        let mut running = Running::new();
        for listed in self.engine.list().await? {
            if let Some(labels) = Labels::from_text(&listed.labels) {
                running.entry(AppId(labels.app)).or_default().insert(labels.version);
            }
        }
        Ok(running)
    }

    /// Takes the names from the directories of releases that are not needed; gives what is to be removed.
    fn collect_releases(&self, app: &App, running: &BTreeSet<Version>) -> Result<Vec<PathBuf>> {
        // Held to the end: nobody begins to use what is about to go.
        let leased = self.uses.code();
        let releases = self.store.releases(app.id)?;
        let kept: Vec<&Release> = releases.iter().filter(|release| !release.collected).collect();
        let in_use = |release: &Release| {
            app.current == Some(release.version)
                || running.contains(&release.version)
                || leased.contains_key(&(app.id, release.code))
        };
        let gone = collectable(&kept, app.keep, in_use);
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        self.store.collect_releases(app.id, &gone)?;
        // Releases of the same code go together.
        let of_gone = kept.iter().filter(|release| gone.contains(&release.version));
        let code: BTreeSet<Version> = of_gone.map(|release| release.code).collect();
        let home = self.home.app(&app.name);
        let asides = code.into_iter().map(|version| aside(&home.release(version))).collect::<Result<Vec<_>>>();
        sync_directory(&home.releases()).map_err(|e| Failure::io(home.releases().display(), &e))?;
        Ok(asides?.into_iter().flatten().collect())
    }

    /// The same for the cache of an app that has not been built for long.
    fn collect_cache(&self, app: &App) -> Option<PathBuf> {
        let cache = self.home.app(&app.name).cache();
        let rests = newest(&cache).and_then(|changed| SystemTime::now().duration_since(changed).ok()) > Some(RESTED);
        let job = || Job::new(None, "airstrip", "Take the cache away", CancellationToken::new());
        let _build = rests.then(|| self.formations.of(app.id).builds.join_empty(job()))??;
        let gone = aside(&cache).ok()?;
        self.make_app_home(app).ok()?;
        gone
    }

    /// Layers of no release, unless somebody is using layers: then its end calls again.
    async fn collect_layers(&self) -> Result<()> {
        let Some(guard) = self.uses.stale_layers() else { return Ok(()) };
        let (apps, layers, shared) = (self.home.apps(), self.home.layers(), self.home.shared());
        let work = move || {
            let used = layers_in_use(&apps)?;
            let collected = builder::store::collect(&layers, &used).map_err(|e| Failure::io(layers.display(), &e))?;
            builder::forget_gone(&shared, &layers).map_err(|e| Failure::io(shared.display(), &e))?;
            drop(guard);
            if collected.layers() > 0 {
                tracing::info!(layers = collected.layers(), "removing layers of no release");
            }
            collected.remove().map_err(|e| Failure::io(layers.display(), &e))
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Failure::plain(e.to_string()))?
    }
}

/// The releases that need not be kept. Kept are all that are made of the code of the last `keep` builds that were released, a
/// rollback being a release of its build once more, and all that share their code with what is in use.
fn collectable(releases: &[&Release], keep: u32, in_use: impl Fn(&Release) -> bool) -> BTreeSet<Version> {
    let mut newest_first: Vec<&&Release> = releases.iter().collect();
    newest_first.sort_by_key(|release| std::cmp::Reverse(release.version));
    let mut kept = Vec::new();
    for release in &newest_first {
        if kept.len() < keep as usize && !kept.contains(&release.code) {
            kept.push(release.code);
        }
    }
    kept.extend(newest_first.iter().filter(|release| in_use(release)).map(|release| release.code));
    let gone = newest_first.into_iter().filter(|release| !kept.contains(&release.code));
    gone.map(|release| release.version).collect()
}

/// Takes a directory's name from it; None if there is none.
fn aside(directory: &Path) -> Result<Option<PathBuf>> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory.with_file_name(format!("{GONE}{name}-{}", crate::instance::suffix()));
    match std::fs::rename(directory, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::io(directory.display(), &e)),
    }
}

async fn remove(gone: Vec<PathBuf>) -> Result<()> {
    let removed = tokio::task::spawn_blocking(move || {
        gone.iter().try_for_each(|path| std::fs::remove_dir_all(path).map_err(|e| Failure::io(path.display(), &e)))
    });
    removed.await.map_err(|e| Failure::plain(e.to_string()))?
}

/// When something in a directory last got or lost a name.
fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(directory).ok()?.map_while(std::result::Result::ok);
    entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
}

/// The layers that releases and caches name. What cannot be read is an error: it may name any.
fn layers_in_use(apps: &Path) -> Result<BTreeSet<Digest>> {
    let mut used = BTreeSet::new();
    for app in entries(apps)? {
        used.extend(builder::cached_layers(&app.join("cache")));
        for release in entries(&app.join("releases"))? {
            let is_gone = release.file_name().is_some_and(|name| name.to_string_lossy().starts_with(GONE));
            if !is_gone {
                used.extend(Manifest::read(&release)?.image.layers.into_iter().map(|layer| layer.digest));
            }
        }
    }
    Ok(used)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| Failure::io(directory.display(), &e);
    std::fs::read_dir(directory).map_err(failed)?.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn releases(codes: &[u32]) -> Vec<Release> {
        let of = |(index, code): (usize, &u32)| {
            let version = Version(u32::try_from(index).unwrap() + 1);
            Release { code: Version((*code).min(version.0)), ..Release::new(version, "me", String::new()) }
        };
        codes.iter().enumerate().map(of).collect()
    }

    fn gone(codes: &[u32], keep: u32, in_use: &[u32]) -> Vec<u32> {
        let releases = releases(codes);
        let gone = collectable(&releases.iter().collect::<Vec<_>>(), keep, |one| in_use.contains(&one.version.0));
        gone.into_iter().map(|version| version.0).collect()
    }

    #[test]
    fn the_last_builds_are_kept() {
        assert_eq!(gone(&[1, 2, 3, 4], 2, &[]), [1, 2]);
        assert_eq!(gone(&[1, 2, 2, 2, 2], 2, &[]), [0; 0], "changes of configuration push no build out");
        assert_eq!(gone(&[1, 2, 3, 1], 2, &[]), [2], "what was rolled back to is new again");
        assert_eq!(gone(&[1, 2, 3, 4], 1, &[2]), [1, 3], "what runs stays");
        assert_eq!(gone(&[], 1, &[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn nothing_that_is_needed_goes(
            codes in prop::collection::vec(1..12_u32, 0..24),
            keep in 1..6_u32,
            in_use in prop::collection::vec(1..24_u32, 0..3),
        ) {
            let gone = gone(&codes, keep, &in_use);
            let releases = releases(&codes);
            let (left, lost): (Vec<_>, Vec<_>) = releases.iter().partition(|one| !gone.contains(&one.version.0));
            prop_assert!(left.iter().all(|left| lost.iter().all(|lost| lost.code != left.code)), "no code is half gone");
            prop_assert!(lost.iter().all(|lost| !in_use.contains(&lost.version.0)));
            prop_assert!(releases.last().is_none_or(|last| !gone.contains(&last.version.0)));
            let codes_left: BTreeSet<_> = left.iter().map(|left| left.code).collect();
            let codes: BTreeSet<_> = releases.iter().map(|one| one.code).collect();
            prop_assert!(codes_left.len() >= codes.len().min(keep as usize));
            prop_assert!(codes_left.len() <= keep as usize + in_use.len());
        }
    }
}
