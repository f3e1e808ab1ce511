//! What a container needs of the host's disk: the door, a few files of `/etc`, and what is written over scratch mounts.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::native::base;
use crate::{Egress, MountKind, Spec};

/// Where all this is in an instance's directory.
pub(super) const OWN: &str = "docker";
/// The door of a container's first process.
pub(super) const FIRST: &str = "first";
/// Doors inside.
const DOORS: &str = "/.airstrip/doors";
/// This binary, beside the instances. Its name, and those of one-offs, cannot be an instance's.
const INIT: &str = ".init";
const IDENTITY: &str = ".identity";
const ONE_OFF: &str = ".one-off-";
/// A one-off has its container within this time.
const BEING_MADE: Duration = Duration::from_secs(60);

/// The files of one container.
pub(super) struct Files {
    dir: PathBuf,
    /// Files and directories of the host, where they are shown inside, and read-only.
    pub(super) shown: Vec<(PathBuf, &'static str)>,
    /// The user outside.
    pub(super) user: u32,
}

impl Files {
    /// Makes them in `dir`, for a container whose connections may go where `egress` says.
    pub(super) fn make(dir: PathBuf, run_dir: &Path, spec: &Spec, egress: Egress, user: u32) -> io::Result<Self> {
        if !dir.exists() {
            make_private(&dir)?;
        }
        let doors = dir.join("doors");
        fs::create_dir(&doors)?;
        let mut shown = vec![(doors, DOORS), (run_dir.join(INIT), crate::native::hosting::GUEST)];
        let texts = [
            ("passwd", "/etc/passwd", base::passwd(user)),
            ("group", "/etc/group", base::group(user)),
            ("hosts", "/etc/hosts", base::hosts(&spec.hostname)),
            ("resolv.conf", "/etc/resolv.conf", base::resolver_file(egress)),
        ];
        for (name, target, text) in texts {
            fs::write(dir.join(name), text)?;
            fs::set_permissions(dir.join(name), Permissions::from_mode(0o644))?;
            shown.push((dir.join(name), target));
        }
        let files = Self { dir, shown, user };
        let scratch = spec.mounts.iter().enumerate().filter(|(_, mount)| mount.kind == MountKind::Scratch);
        scratch.map(|(index, _)| index).try_for_each(|index| files.make_scratch(index))?;
        Ok(files)
    }

    /// Those of a container that exists.
    pub(super) fn of(dir: PathBuf) -> Self {
        Self { dir, shown: Vec::new(), user: 0 }
    }

    /// A door, on the host.
    pub(super) fn door(&self, name: &str) -> PathBuf {
        self.dir.join("doors").join(name)
    }

    /// Where the changes to the mount of this number lie, and a directory for the kernel's use.
    pub(super) fn scratch(&self, index: usize) -> (PathBuf, PathBuf) {
        let dir = self.dir.join(format!("scratch-{index}"));
        (dir.join("changes"), dir.join("work"))
    }

    fn make_scratch(&self, index: usize) -> io::Result<()> {
        let (changes, work) = self.scratch(index);
        for dir in [changes, work] {
            fs::create_dir_all(&dir)?;
            fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
            chown(&dir, Some(self.user), Some(self.user))?;
        }
        Ok(())
    }
}

/// A door, as seen inside.
pub(super) fn inside(door: &str) -> String {
    format!("{DOORS}/{door}")
}

/// A directory that only the daemon's user can look into.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)
}

/// The directory of a new one-off.
pub(super) fn one_off(run_dir: &Path) -> io::Result<PathBuf> {
    let dir = run_dir.join(format!("{ONE_OFF}{}", random_name()?));
    make_private(&dir)?;
    Ok(dir)
}

/// Never twice the same.
pub(super) fn random_name() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

/// Puts this binary where containers can be shown it: later it may be replaced by a newer one.
pub(super) fn prepare(run_dir: &Path) -> io::Result<()> {
    let (fresh, place) = (run_dir.join(format!("{INIT}.new")), run_dir.join(INIT));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if !link_own(&fresh)? {
        fs::copy("/proc/self/exe", &fresh)?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o755))?;
    }
    fs::rename(&fresh, place)?;
    // Renaming one name of a file to another of its names leaves both.
    match fs::remove_file(fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// False if the binary cannot be linked to from there, or is not for every user.
fn link_own(place: &Path) -> io::Result<bool> {
    let own = std::env::current_exe()?;
    let usable = fs::metadata(&own).is_ok_and(|seen| seen.permissions().mode() & 0o555 == 0o555);
    Ok(usable && fs::hard_link(own, place).is_ok())
}

/// What tells this directory's containers from those of others: made once, then kept.
pub(super) fn identity(run_dir: &Path) -> io::Result<String> {
    let path = run_dir.join(IDENTITY);
    match fs::read_to_string(&path) {
        Ok(text) if text.len() == 8 => return Ok(text),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let text: String = random_name()?.chars().take(8).collect();
    let fresh = path.with_extension("new");
    fs::write(&fresh, &text)?;
    fs::File::open(&fresh)?.sync_all()?;
    fs::rename(fresh, path)?;
    Ok(text)
}

/// Removes the files of one-offs that ended with an earlier daemon: those that have no container, and are not being made.
pub(super) fn sweep(run_dir: &Path, in_use: impl Fn(&Path) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(run_dir)? {
        let entry = entry?;
        let one_off = entry.file_name().to_string_lossy().starts_with(ONE_OFF);
        let settled = entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > BEING_MADE);
        if one_off && settled && !in_use(&entry.path()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
