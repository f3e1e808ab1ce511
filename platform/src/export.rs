//! Releases on their way out: a signed archive for another server of this kind (see [`crate::archive`]), or an image (see
//! [`crate::oci`]).

mod image;

use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};

use builder::inventory::{Content, Inventory};
use tokio::sync::mpsc;

use crate::archive::{Contents, Format, NAMESPACE, Tree};
use crate::failure::{Failure, Result};
use crate::names::Version;
use crate::platform::Platform;
use crate::release::{self, Manifest, code};
use crate::store::App;
use crate::uses::{LayersInUse, Lease};

/// A release with all that is in it, which stays for as long as this.
pub struct Export {
    /// What it is.
    pub contents: Contents,
    /// All of that.
    pub trees: Trees,
    host_key: PathBuf,
    _code: Lease,
    _layers: LayersInUse,
}

/// What is in a release.
pub struct Trees {
    /// The code.
    pub code: Tree,
    /// Software bills of material.
    pub sbom: Option<Tree>,
    /// The layers in their order.
    pub layers: Vec<Tree>,
}

impl Platform {
    /// A release (None: the one that serves), every file of which is as it was made.
    pub async fn export(&self, app: &App, version: Option<Version>) -> Result<Export> {
        let layers = self.uses.layers().await;
        let verified = self.verify(app, version).await?;
        let version = verified.version;
        if !verified.faults.is_empty() {
            let remedy = format!("see `releases:verify {} {version}`, and build it anew: ps:rebuild {0}", app.name);
            return Err(Failure::new(format!("{version} of {} is not as it was made", app.name), remedy));
        }
        let (release, lease) = self.leased(app, version)?;
        let directory = self.home.app(&app.name).release(release.code);
        let manifest = Manifest::read(&directory)?;
        let trees = self.trees(&directory, &manifest)?;
        let contents = Contents {
            format: Format::One,
            app: app.name.clone(),
            release: version,
            architecture: std::env::consts::ARCH.to_owned(),
            system: system(),
            needs: self.needs(&trees.layers),
            manifest,
        };
        Ok(Export { contents, trees, host_key: self.home.host_key(), _code: lease, _layers: layers })
    }

    fn trees(&self, release: &Path, manifest: &Manifest) -> Result<Trees> {
        let unlisted = || Failure::plain("a part of the release was never listed");
        let digest = manifest.code.as_ref().ok_or_else(unlisted)?;
        let code = Tree { root: code(release), files: release::files(release, release::CODE, digest)? };
        let sbom = |digest| {
            let files = release::files(release, release::SBOM, digest)?;
            Ok::<_, Failure>(Tree { root: release.join(release::SBOM), files })
        };
        let sbom = manifest.sbom.as_ref().map(sbom).transpose()?;
        let mut layers = Vec::new();
        for layer in &manifest.image.layers {
            let root = builder::store::layer(&self.home.layers(), &layer.digest);
            let files = builder::store::inventory(&self.home.layers(), &layer.digest);
            let files = files.map_err(|e| Failure::io(root.display(), &e))?.ok_or_else(unlisted)?;
            layers.push(Tree { root, files });
        }
        Ok(Trees { code, sbom, layers })
    }

    /// The interpreters that a release needs at their own paths.
    pub async fn toolchain_trees(&self, contents: &Contents) -> Result<Vec<Tree>> {
        let mut trees = Vec::new();
        for root in contents.manifest.toolchain.iter().cloned() {
            let files = builder::inventory::of_tree(root.clone()).await;
            trees.push(Tree { files: files.map_err(|e| Failure::io(root.display(), &e))?, root });
        }
        Ok(trees)
    }

    /// What of this machine the links in layers lead to.
    fn needs(&self, layers: &[Tree]) -> Vec<PathBuf> {
        let links = layers.iter().flat_map(|tree| outside(&tree.files));
        let mut needs: Vec<PathBuf> = links.filter(|path| self.toolchain.has(path)).collect();
        needs.sort();
        needs.dedup();
        needs
    }
}

/// Where links lead by absolute paths.
fn outside(files: &Inventory) -> impl Iterator<Item = PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    files.items().iter().filter_map(|item| {
        let Content::Symlink(target) = &item.content else { return None };
        let path = Path::new(std::ffi::OsStr::from_bytes(target));
        let plain = path.is_absolute() && path.components().all(|part| !matches!(part, Component::ParentDir));
        plain.then(|| path.components().collect())
    })
}

/// The distribution of this machine: `debian 12`.
pub fn system() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    let name = field("ID").unwrap_or_else(|| "linux".to_owned());
    field("VERSION_ID").map_or(name.clone(), |version| format!("{name} {version}"))
}

impl Export {
    /// Writes the signed archive.
    pub fn write_signed(&self, to: impl Write) -> io::Result<()> {
        let sign = |text: &[u8]| gitd::signature::sign(&self.host_key, NAMESPACE, text).map_err(io::Error::other);
        let Trees { code, sbom, layers } = &self.trees;
        self.contents.write([code].into_iter().chain(sbom).chain(layers), sign, to)
    }
}

/// Runs `write` on a thread of its own; what it writes comes in pieces, and it fails when nobody takes them any more. The last
/// piece is the error, if there was one.
pub fn in_pieces<W>(write: W) -> mpsc::Receiver<io::Result<Vec<u8>>>
where
    W: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
{
    let (sender, pieces) = mpsc::channel(8);
    tokio::task::spawn_blocking(move || {
        let mut to = BufWriter::with_capacity(256 << 10, Pieces(sender.clone()));
        let written = write(&mut to).and_then(|()| to.flush());
        if let Err(error) = written {
            let _gone = sender.blocking_send(Err(error));
        }
    });
    pieces
}

struct Pieces(mpsc::Sender<io::Result<Vec<u8>>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(Ok(bytes.to_vec())).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_make_the_whole_and_an_error_is_the_last() {
        let mut pieces = in_pieces(|to| {
            to.write_all(b"one")?;
            to.write_all(&vec![b'x'; 300 << 10])?;
            Err(io::ErrorKind::NotFound.into())
        });
        let (mut length, mut errors) = (0, 0);
        while let Some(piece) = pieces.recv().await {
            piece.map_or_else(|_| errors += 1, |bytes| length += bytes.len());
        }
        assert_eq!((length >= 300 << 10, errors), (true, 1));
        let pieces = in_pieces(|to| to.write_all(&vec![0; 8 << 20]));
        drop(pieces);
    }
}
