//! What an app takes on the disk.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine::quota::measure;

use crate::platform::Platform;
use crate::release::Manifest;
use crate::store::App;

/// How long somebody waits for the figures.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes on the disk; None if counting them would take too long.
#[derive(Debug, Default)]
pub struct DiskUse {
    /// The code of the releases that are kept.
    pub releases: Option<u64>,
    /// Their layers, each once. Other apps may have the same ones.
    pub layers: Option<u64>,
    /// The app's data.
    pub data: Option<u64>,
    /// What its next build may use again.
    pub cache: Option<u64>,
}

impl Platform {
    /// Counts what is there now.
    pub async fn disk_use(&self, app: &App) -> DiskUse {
        let home = self.home.app(&app.name);
        let (releases, data, cache, store) = (home.releases(), home.data(), home.cache(), self.home.layers());
        let counted = tokio::task::spawn_blocking(move || {
            let until = Instant::now() + PATIENCE;
            let layers = layers_of(&releases).into_iter().map(|digest| builder::store::layer(&store, &digest));
            let layers = layers.collect::<Vec<_>>();
            DiskUse {
                releases: bytes(&[releases], until),
                layers: bytes(&layers, until),
                data: bytes(&[data], until),
                cache: bytes(&[cache], until),
            }
        });
        counted.await.unwrap_or_default()
    }
}

/// The layers that releases on the disk name.
fn layers_of(releases: &PathBuf) -> BTreeSet<builder::Digest> {
    let directories = std::fs::read_dir(releases).into_iter().flatten().flatten().map(|entry| entry.path());
    let manifests = directories.filter_map(|directory| Manifest::read(&directory).ok());
    manifests.flat_map(|manifest| manifest.image.layers).map(|layer| layer.digest).collect()
}

/// What is not there takes nothing.
fn bytes(directories: &[PathBuf], until: Instant) -> Option<u64> {
    let there = directories.iter().filter(|directory| directory.exists());
    let mut counted = there.map(|directory| measure(directory, |_| Instant::now() > until));
    counted.try_fold(0, |sum, found| found.ok().filter(|found| found.complete).map(|found| sum + found.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_or_unknown() {
        let root = tempfile::tempdir().unwrap();
        let later = Instant::now() + PATIENCE;
        std::fs::create_dir(root.path().join("some")).unwrap();
        std::fs::write(root.path().join("some/file"), vec![1; 100_000]).unwrap();
        let some = bytes(&[root.path().join("some"), root.path().join("none")], later);
        assert!(some.is_some_and(|bytes| (100_000..200_000).contains(&bytes)), "{some:?}");
        assert_eq!(bytes(&[root.path().join("none")], later), Some(0));
        assert_eq!(bytes(&[root.path().to_owned()], Instant::now()), None);
    }
}
