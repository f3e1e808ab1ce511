//! The file tree of a sandbox while it is being built: mounts, directories, files and links, then the switch to it.
//!
//! Everything private to the sandbox lies in two bounded `tmpfs`: one for the tree's own directories, `/tmp` and the home
//! directory, one for what is written over [`MountKind::Scratch`] mounts. Targets are looked up *inside* the tree, whatever
//! symbolic links an earlier mount brought along.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchdir, fchownat, pivot_root, symlinkat};

use super::protocol::{Failure, Step};
use super::sys::{self, Attributes};
use crate::{Limits, Mount, MountKind};

/// For the tree's own files, which no limit is meant to shut out.
const OWN_BYTES: u64 = 64 << 10;
/// Bytes of a file system for each file in it, beyond a few: a file costs memory even when it is empty.
const BYTES_PER_FILE: u64 = 4096;
const LEAST_FILES: u64 = 1024;
const SCRATCH: &str = "scratch";

/// The user of the sandbox as seen while building it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A tree being built.
pub(super) struct Tree {
    root: OwnedFd,
    /// Where the private `tmpfs` is mounted until the switch.
    private: PathBuf,
    /// Bytes of the second `tmpfs`, which is mounted once it is needed.
    scratch: u64,
    made: u32,
    owner: Owner,
    /// Without privileges overlays keep their notes in `user.*` attributes.
    privileged: bool,
}

impl Tree {
    /// Begins an empty tree. `place` is a directory of the host that nothing in the sandbox needs.
    pub(super) fn new(place: &Path, owner: Owner, privileged: bool, limits: &Limits) -> Result<Self, Failure> {
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).step(|| "mount(/, private)".to_owned())?;
        mount_tmpfs(place, limits.tmp.saturating_add(OWN_BYTES))?;
        let path = place.join("root");
        fs::create_dir(&path).step(|| "mkdir(root)".to_owned())?;
        let root = clone_mount(&path, false)?;
        let below = open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).step(|| "open(root)".to_owned())?;
        attach(&root, &below, "/")?;
        Ok(Self { root, private: place.to_owned(), scratch: limits.scratch, made: 0, owner, privileged })
    }

    /// Shows a directory or file of the host.
    pub(super) fn mount(&mut self, mount: &Mount) -> Result<(), Failure> {
        split(&mount.target)?;
        match mount.kind {
            MountKind::ReadOnly => self.bind(&mount.source, &mount.target, Attributes::READ_ONLY),
            MountKind::ReadWrite => self.bind(&mount.source, &mount.target, Attributes::READ_WRITE),
            MountKind::Scratch => self.overlay(&mount.source, &mount.target),
        }
    }

    /// Shows `source` and all that is mounted below it.
    pub(super) fn bind(&self, source: &Path, target: &Path, attributes: Attributes) -> Result<(), Failure> {
        let tree = clone_mount(source, true)?;
        sys::set_attributes(tree.as_fd(), attributes, true).step(|| format!("mount_setattr({})", source.display()))?;
        let kind = fstat(&tree).step(|| format!("stat({})", source.display()))?;
        let place = if kind.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
            self.directory(target)?
        } else {
            self.file(target)?
        };
        attach(&tree, &place, &target.display().to_string())
    }

    /// Lays a private, initially empty layer over `source`.
    fn overlay(&mut self, source: &Path, target: &Path) -> Result<(), Failure> {
        let name = |what: &str| format!("overlay({}): {what}", source.display());
        let scratch = self.scratch()?;
        let (upper, work) = (self.directory_in(&scratch, 0o755)?, self.directory_in(&scratch, 0o755)?);
        let open_dir = |path: &Path| {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            open(path, flags, Mode::empty()).step(|| format!("open({})", path.display()))
        };
        let (lower, upper, work) = (open_dir(source)?, open_dir(&upper)?, open_dir(&work)?);
        // By descriptor, because a path may hold the characters that separate the options.
        let options = format!(
            "lowerdir=/proc/self/fd/{},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{}{}",
            lower.as_raw_fd(),
            upper.as_raw_fd(),
            work.as_raw_fd(),
            if self.privileged { "" } else { ",userxattr" }
        );
        let place = self.directory(target)?;
        let at = format!("/proc/self/fd/{}", place.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("overlay"), at.as_str(), Some("overlay"), flags, Some(options.as_str())).step(|| name("mount"))
    }

    /// Mounts a file system that needs no source (`proc`, `devpts`).
    pub(super) fn special(&self, kind: &str, target: &str, flags: MsFlags, options: &str) -> Result<(), Failure> {
        let place = self.directory(Path::new(target))?;
        let at = format!("/proc/self/fd/{}", place.as_raw_fd());
        mount(Some(kind), at.as_str(), Some(kind), flags, Some(options)).step(|| format!("mount({kind}, {target})"))
    }

    /// A writable directory of its own at `target`, thrown away with the sandbox.
    pub(super) fn private(&mut self, target: &str, mode: u32) -> Result<(), Failure> {
        let path = self.private_directory(mode)?;
        self.bind(&path, Path::new(target), Attributes::READ_WRITE)
    }

    /// Hides `target`, if it exists, behind something empty.
    pub(super) fn mask(&mut self, target: &str) -> Result<(), Failure> {
        let Some(place) = self.existing(target)? else { return Ok(()) };
        let kind = fstat(&place).step(|| format!("stat({target})"))?;
        let source = if kind.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
            self.private_directory(0o555)?
        } else {
            PathBuf::from("/dev/null")
        };
        self.bind(&source, Path::new(target), Attributes(libc::MOUNT_ATTR_RDONLY))
    }

    /// Makes `target`, if it exists, unchangeable.
    pub(super) fn freeze(&self, target: &str) -> Result<(), Failure> {
        let Some(place) = self.existing(target)? else { return Ok(()) };
        let tree = sys::open_tree(place.as_fd(), c"", true).step(|| format!("open_tree({target})"))?;
        sys::set_attributes(tree.as_fd(), Attributes(libc::MOUNT_ATTR_RDONLY), true)
            .step(|| format!("mount_setattr({target})"))?;
        attach(&tree, &place, target)
    }

    /// Writes a file of the tree's own.
    pub(super) fn write(&self, target: &str, content: &str) -> Result<(), Failure> {
        let (parent, name) = self.parent(Path::new(target))?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&parent, name.as_path(), flags, Mode::from_bits_truncate(0o644))
            .step(|| format!("create({target})"))?;
        fs::File::from(file).write_all(content.as_bytes()).step(|| format!("write({target})"))
    }

    /// Makes a symbolic link in the tree.
    pub(super) fn link(&self, link: &Path, target: &Path) -> Result<(), Failure> {
        let (parent, name) = self.parent(link)?;
        symlinkat(target, &parent, name.as_path()).step(|| format!("symlink({}, {})", target.display(), link.display()))
    }

    /// Makes the tree the root directory and lets go of the host's.
    pub(super) fn enter(self) -> Result<(), Failure> {
        sys::set_attributes(self.root.as_fd(), Attributes::READ_ONLY, false).step(|| "mount_setattr(/)".to_owned())?;
        fchdir(&self.root).step(|| "chdir(/)".to_owned())?;
        pivot_root(".", ".").step(|| "pivot_root".to_owned())?;
        umount2(".", MntFlags::MNT_DETACH).step(|| "umount(the host's root)".to_owned())?;
        nix::unistd::chdir("/").step(|| "chdir(/)".to_owned())
    }

    /// Where the second `tmpfs` is mounted.
    fn scratch(&self) -> Result<PathBuf, Failure> {
        let path = self.private.join(SCRATCH);
        match fs::create_dir(&path) {
            Ok(()) => mount_tmpfs(&path, self.scratch)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).step(|| format!("mkdir({})", path.display())),
        }
        Ok(path)
    }

    fn private_directory(&mut self, mode: u32) -> Result<PathBuf, Failure> {
        let private = self.private.clone();
        self.directory_in(&private, mode)
    }

    /// A new directory of a private `tmpfs` that belongs to the sandbox's user.
    fn directory_in(&mut self, parent: &Path, mode: u32) -> Result<PathBuf, Failure> {
        let path = parent.join(self.made.to_string());
        self.made += 1;
        let name = || format!("mkdir({})", path.display());
        fs::create_dir(&path).step(name)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).step(name)?;
        std::os::unix::fs::chown(&path, Some(self.owner.uid), Some(self.owner.gid)).step(name)?;
        Ok(path)
    }

    /// Opens something in the tree, following links inside the tree only.
    fn existing(&self, target: &str) -> Result<Option<OwnedFd>, Failure> {
        match self.resolve(Path::new(target), OFlag::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error).step(|| format!("open({target})")),
        }
    }

    fn resolve(&self, target: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags).resolve(inside);
        openat2(&self.root, target, how)
    }

    /// Opens a directory of the tree, making it and its parents where they are missing.
    pub(super) fn directory(&self, target: &Path) -> Result<OwnedFd, Failure> {
        let name = || format!("mkdir({})", target.display());
        match self.resolve(target, OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => {}
            result => return result.step(name),
        }
        let (parent, last) = self.parent(target)?;
        mkdirat(&parent, last.as_path(), Mode::from_bits_truncate(0o755)).step(name)?;
        inherit_owner(&parent, &last).step(name)?;
        self.resolve(target, OFlag::O_DIRECTORY).step(name)
    }

    /// Opens a file of the tree to mount something over, making it where it is missing.
    fn file(&self, target: &Path) -> Result<OwnedFd, Failure> {
        let name = || format!("create({})", target.display());
        match self.resolve(target, OFlag::empty()) {
            Err(Errno::ENOENT) => {}
            result => return result.step(name),
        }
        let (parent, last) = self.parent(target)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        openat(&parent, last.as_path(), flags, Mode::from_bits_truncate(0o644)).step(name)?;
        self.resolve(target, OFlag::empty()).step(name)
    }

    /// The directory that holds `target`, and the last part of its name.
    fn parent(&self, target: &Path) -> Result<(OwnedFd, PathBuf), Failure> {
        let (parent, name) = split(target)?;
        Ok((self.directory(parent)?, name))
    }
}

/// Parent and name of an absolute path that is not the root and has no `..`.
fn split(target: &Path) -> Result<(&Path, PathBuf), Failure> {
    let plain = target.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    match (target.parent(), target.file_name()) {
        (Some(parent), Some(name)) if plain && target.is_absolute() => Ok((parent, PathBuf::from(name))),
        _ => Err(Errno::EINVAL).step(|| format!("target {}", target.display())),
    }
}

/// A `tmpfs` of so many bytes. (None at all would mean no bound to the kernel.)
fn mount_tmpfs(place: &Path, bytes: u64) -> Result<(), Failure> {
    let (bytes, files) = (bytes.max(BYTES_PER_FILE), (bytes / BYTES_PER_FILE).max(LEAST_FILES));
    let options = format!("mode=0755,size={bytes},nr_inodes={files}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(options.as_str()))
        .step(|| format!("mount(tmpfs, {}, {options})", place.display()))
}

fn clone_mount(path: &Path, recursive: bool) -> Result<OwnedFd, Failure> {
    let name = || format!("open_tree({})", path.display());
    let text = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL).step(name)?;
    sys::open_tree_at(&text, recursive).step(name)
}

fn attach(mount: &impl AsFd, place: &impl AsFd, target: &str) -> Result<(), Failure> {
    sys::move_mount(mount.as_fd(), place.as_fd()).step(|| format!("move_mount({target})"))
}

/// A directory made on the way to a mount belongs to whom its parent belongs to: `~/.cache` to the sandbox's user.
fn inherit_owner(parent: &OwnedFd, name: &Path) -> nix::Result<()> {
    let owner = fstat(parent)?;
    let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}
