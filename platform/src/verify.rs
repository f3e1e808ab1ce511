//! Compares what is on disk of a release with the lists that were made with it.

use std::path::PathBuf;

use builder::inventory::{self, Change, Content, Inventory};
use builder::{Digest, store};

use crate::failure::{Failure, Result};
use crate::names::Version;
use crate::platform::Platform;
use crate::release::{self, Manifest, code};
use crate::store::{App, Release};

/// What a comparison gave.
#[derive(Debug)]
pub struct Verified {
    /// Of which release.
    pub version: Version,
    /// How many files there should be, and their bytes.
    pub files: usize,
    /// See `files`.
    pub bytes: u64,
    /// What is not as it was.
    pub faults: Vec<Fault>,
}

/// Something that is not as it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// `code`, `sbom`, or a layer: its buildpack and name.
    pub part: String,
    /// Below that part.
    pub path: String,
    /// In what way: `changed`, …
    pub what: String,
}

/// A tree of a release, and what it should be.
struct Part {
    name: String,
    root: PathBuf,
    /// None: its files were not listed when it was made.
    files: Option<Inventory>,
}

impl Platform {
    /// Compares every file of a release (None: of the one that serves).
    pub async fn verify(&self, app: &App, version: Option<Version>) -> Result<Verified> {
        let version = version.or(app.current).ok_or_else(|| Failure::no_release(&app.name))?;
        let _layers = self.uses.layers().await;
        let mut verified = Verified { version, files: 0, bytes: 0, faults: Vec::new() };
        let (release, _code) = self.leased(app, version)?;
        for part in self.parts(app, &release)? {
            let Some(files) = part.files else {
                verified.faults.push(Fault { part: part.name, path: ".".into(), what: "was never listed".into() });
                continue;
            };
            let is_file = |item: &&inventory::Item| matches!(item.content, Content::File { .. });
            verified.files += files.items().iter().filter(is_file).count();
            verified.bytes += files.bytes();
            verified.faults.extend(faults(&part.name, part.root, &files).await);
        }
        Ok(verified)
    }

    /// The code, the bills of material and the layers of a release.
    fn parts(&self, app: &App, release: &Release) -> Result<Vec<Part>> {
        let directory = self.home.app(&app.name).release(release.code);
        let manifest = Manifest::read(&directory)?;
        let files = |part, digest: &Option<Digest>| {
            digest.as_ref().map(|digest| release::files(&directory, part, digest)).transpose()
        };
        let mut parts =
            vec![Part { name: "code".into(), root: code(&directory), files: files(release::CODE, &manifest.code)? }];
        if let Some(listed) = files(release::SBOM, &manifest.sbom)? {
            parts.push(Part { name: "sbom".into(), root: directory.join(release::SBOM), files: Some(listed) });
        }
        for layer in &manifest.image.layers {
            let name = format!("{}:{}", layer.buildpack, layer.name);
            let files = store::inventory(&self.home.layers(), &layer.digest).map_err(|e| Failure::io(&name, &e))?;
            parts.push(Part { name, root: store::layer(&self.home.layers(), &layer.digest), files });
        }
        Ok(parts)
    }
}

async fn faults(part: &str, root: PathBuf, files: &Inventory) -> Vec<Fault> {
    let fault = |path: &[u8], what: &str| {
        let path = String::from_utf8_lossy(path).into_owned();
        Fault { part: part.to_owned(), path, what: what.to_owned() }
    };
    match inventory::of_tree(root).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => vec![fault(b".", "missing")],
        Err(error) => vec![fault(b".", &format!("cannot be read: {error}"))],
        Ok(found) => files.compare(&found).iter().map(|one| fault(&one.path, word(one.change))).collect(),
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Missing => "missing",
        Change::Changed => "changed",
        Change::Mode => "mode changed",
    }
}
