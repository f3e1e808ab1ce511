//! Buildpacks of others: taken from an archive, checked as a whole, then installed below the home.

mod image;
mod repository;
mod unpack;
mod zstd;

use std::fs::File;
use std::path::{Path, PathBuf};

use builder::Buildpack;

pub use self::repository::Repository;
use crate::failure::{Failure, Result};
use crate::home::{Home, sync_directory};

/// Most bytes of an archive as it comes, and of all that is in it.
pub const MOST_BYTES: u64 = 1 << 30;
/// Prefix of directories of installations in progress; a start removes what crashes left.
const IN_PROGRESS: &str = ".install-";
/// The built-in buildpacks' ids begin so.
const OWN: &str = "airstrip/";

/// Installs every buildpack of an archive: a tar or tar.gz of one's directory, or a `.cnb` (a tar of an image layout).
/// All or none; what is installed already is only put aside if `replace`. Blocks.
pub fn install(home: &Home, archive: File, replace: bool) -> Result<Vec<Buildpack>> {
    let root = home.buildpacks();
    let failed = |e: std::io::Error| Failure::io(root.display(), &e);
    let aside = aside(&root).map_err(failed)?;
    let mut packages = Vec::new();
    for directory in unpack::unpack(archive, aside.path())? {
        packages.push(Package::check(&directory, &root, replace)?);
    }
    File::open(aside.path()).and_then(|directory| Ok(nix::unistd::syncfs(directory)?)).map_err(failed)?;
    for (number, package) in packages.iter().enumerate() {
        package.place(&aside.path().join(format!("replaced-{number}"))).map_err(failed)?;
    }
    sync_directory(&root).map_err(failed)?;
    Ok(packages.into_iter().map(|package| package.buildpack).collect())
}

/// A directory for work in progress, which is removed when it is dropped.
pub fn aside(root: &Path) -> std::io::Result<tempfile::TempDir> {
    let aside = tempfile::Builder::new().prefix(IN_PROGRESS).tempdir_in(root)?;
    std::fs::set_permissions(aside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(aside)
}

/// Removes installed buildpacks: first their names, so that a crash leaves only what a start removes. Builds that use one just now may
/// fail. Blocks.
pub fn uninstall(home: &Home, buildpacks: &[Buildpack]) -> Result<()> {
    let root = home.buildpacks();
    let failed = |e: std::io::Error| Failure::io(root.display(), &e);
    let aside = aside(&root).map_err(failed)?;
    for (number, buildpack) in buildpacks.iter().enumerate() {
        let place = root.join(buildpack.id.replace('/', "_")).join(&buildpack.version);
        std::fs::rename(&place, aside.path().join(number.to_string())).map_err(failed)?;
        // It stays while there are other versions.
        let _others = place.parent().map(std::fs::remove_dir);
    }
    sync_directory(&root).map_err(failed)
}

/// A buildpack that is ready to be installed.
struct Package {
    buildpack: Buildpack,
    target: PathBuf,
}

impl Package {
    fn check(directory: &Path, root: &Path, replace: bool) -> Result<Self> {
        let buildpack = Buildpack::open(directory)
            .map_err(|e| Failure::new(format!("this is no buildpack: {}", e.reason), FORM))?;
        let name = buildpack.name();
        if buildpack.id.starts_with(OWN) {
            return Err(Failure::plain(format!("{name} would be one of the built-in buildpacks")));
        }
        let target = root.join(buildpack.id.replace('/', "_")).join(&buildpack.version);
        let taken = Buildpack::open(&target).ok();
        match taken {
            Some(other) if other.id != buildpack.id => {
                Err(Failure::plain(format!("{name} would take the place of {}", other.name())))
            }
            Some(_) if !replace => {
                Err(Failure::new(format!("{name} is installed already"), "give it another version, or add --replace"))
            }
            _ => Ok(Self { buildpack, target }),
        }
    }

    /// Gives the directory its name. What had the name before goes to `replaced`; builds that use it just now may fail.
    fn place(&self, replaced: &Path) -> std::io::Result<()> {
        let parent = self.target.parent().unwrap_or(&self.target);
        std::fs::create_dir_all(parent)?;
        match std::fs::rename(&self.target, replaced) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::rename(&self.buildpack.directory, &self.target)?;
        sync_directory(parent)
    }
}

/// What an archive has to be.
const FORM: &str = "send a tar or tar.gz of a directory with buildpack.toml, bin/detect and bin/build, or a .cnb file";

#[cfg(test)]
mod tests;
