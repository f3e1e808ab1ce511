//! Releases on their way out: a signed archive for another server of this kind (see [`crate::archive`]), or an image (see
//! [`crate::oci`]).

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};

use builder::inventory::{Content, Inventory};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::archive::{Contents, Format, NAMESPACE, Tree};
use crate::failure::{Failure, Result};
use crate::instance::{CODE, DATA, ENV, PORT, USER_HOME, image_environment};
use crate::names::{ProcessType, Version};
use crate::oci::{self, Base, Description};
use crate::platform::Platform;
use crate::release::{Manifest, code, code_files};
use crate::store::App;
use crate::uses::{LayersInUse, Lease};

/// A release with all that is in it, which stays for as long as this.
pub struct Export {
    /// What it is.
    pub contents: Contents,
    /// The code, then the layers in their order.
    pub trees: Vec<Tree>,
    host_key: PathBuf,
    _code: Lease,
    _layers: LayersInUse,
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
            needs: self.needs(&trees),
            manifest,
        };
        Ok(Export { contents, trees, host_key: self.home.host_key(), _code: lease, _layers: layers })
    }

    fn trees(&self, release: &Path, manifest: &Manifest) -> Result<Vec<Tree>> {
        let unlisted = || Failure::plain("a part of the release was never listed");
        let digest = manifest.code.as_ref().ok_or_else(unlisted)?;
        let mut trees = vec![Tree { root: code(release), files: code_files(release, digest)? }];
        for layer in &manifest.image.layers {
            let root = builder::store::layer(&self.home.layers(), &layer.digest);
            let files = builder::store::inventory(&self.home.layers(), &layer.digest);
            let files = files.map_err(|e| Failure::io(root.display(), &e))?.ok_or_else(unlisted)?;
            trees.push(Tree { root, files });
        }
        Ok(trees)
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
    fn needs(&self, trees: &[Tree]) -> Vec<PathBuf> {
        let links = trees.iter().skip(1).flat_map(|tree| outside(&tree.files));
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
        self.contents.write(&self.trees, sign, to)
    }
}

/// An image is run by this user and group.
const USER: u32 = 1000;

impl Export {
    /// Writes an image over `base`: the release's code, layers and interpreter, and how its web process is run. `toolchain` are
    /// the trees of the interpreters that it names.
    pub fn write_image(&self, base: &Base, toolchain: &[Tree], to: impl Write) -> io::Result<()> {
        let architecture = architecture(&self.contents.architecture);
        if base.architecture.as_ref().is_some_and(|other| other != architecture) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the base is not for {architecture}")));
        }
        let name = format!("{}:{}", self.contents.app, self.contents.release);
        oci::write(&Description { name, architecture, config: self.config() }, base, &self.layers(toolchain), to)
    }

    fn layers(&self, toolchain: &[Tree]) -> Vec<oci::Layer> {
        let image = &self.contents.manifest.image;
        // What changes least comes first.
        let interpreters = toolchain.iter().map(|tree| (tree, tree.root.as_path(), 0));
        let own = self.trees.iter().skip(1).zip(&image.layers).map(|(tree, layer)| (tree, layer.target.as_path(), 0));
        let code = self.trees.iter().take(1).map(|tree| (tree, Path::new(CODE), USER));
        let parts: Vec<_> = interpreters.chain(own).chain(code).collect();
        let env = image.layers.iter().find(|layer| layer.name == "env");
        let link = env.map(|env| (below_root(Path::new(ENV)), env.target.clone()));
        let places = places(parts.iter().map(|(_, target, _)| *target).chain([Path::new(DATA).join("x").as_path()]));
        let first = oci::Layer::Places { directories: places, links: link.into_iter().collect() };
        let trees = parts.into_iter().map(|(tree, target, owner)| oci::Layer::Tree {
            tree: tree.clone(),
            target: below_root(target),
            owner,
        });
        std::iter::once(first).chain(trees).collect()
    }

    /// How the web process, else the first there is, is run. The app's own configuration is not part of it.
    fn config(&self) -> Value {
        let Contents { app, release, manifest, .. } = &self.contents;
        let process = manifest.kinds().find(ProcessType::is_web).or_else(|| manifest.kinds().next());
        let kind = process.as_ref().map_or("web", ProcessType::as_str);
        let entrypoint = process.as_ref().and_then(|kind| manifest.process(kind)).map(|process| process.argv.clone());
        let env = image_environment(&manifest.image, kind);
        let env = env.into_iter().chain([
            ("AIRSTRIP_APP".to_owned(), app.to_string()),
            ("AIRSTRIP_RELEASE".to_owned(), release.to_string()),
            ("GIT_REV".to_owned(), manifest.commit.clone().unwrap_or_default()),
        ]);
        json!({
            "User": format!("{USER}:{USER}"),
            "WorkingDir": CODE,
            "Env": env.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            "Entrypoint": entrypoint,
            "ExposedPorts": { format!("{PORT}/tcp"): {} },
            "Labels": {
                "org.opencontainers.image.title": app.as_str(),
                "org.opencontainers.image.version": release.to_string(),
                "org.opencontainers.image.revision": manifest.commit.clone().unwrap_or_default(),
                "airstrip.built-on": self.contents.system,
            },
        })
    }
}

fn below_root(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// The directories that these are in, and whose they are.
fn places<'a>(targets: impl Iterator<Item = &'a Path>) -> Vec<(PathBuf, u32)> {
    let above = |target: &Path| below_root(target).ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
    let all: BTreeSet<PathBuf> = targets.flat_map(above).filter(|path| !path.as_os_str().is_empty()).collect();
    let home = below_root(Path::new(USER_HOME));
    let owner = |path: &PathBuf| if path.starts_with(&home) { USER } else { 0 };
    all.into_iter().map(|path| (path.clone(), owner(&path))).collect()
}

/// As images name processors.
fn architecture(name: &str) -> &'static str {
    match name {
        "aarch64" => "arm64",
        "arm" => "arm",
        "riscv64" => "riscv64",
        _ => "amd64",
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
