//! Which hierarchies of control groups are mounted, and what of them this process may use.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};

use super::super::protocol::Failure;
use super::v2;

/// The kernel's interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Version {
    /// A hierarchy for each controller.
    One,
    /// One hierarchy for all.
    Two,
}

/// What can be done to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::native) enum Controller {
    Memory,
    Cpu,
    Pids,
    /// A controller in version 1; in version 2 every group can be frozen.
    Freezer,
}

impl Controller {
    pub(in crate::native) const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::Pids, Self::Freezer];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
        }
    }

    /// What every group has that can be bounded so. Kernels can be made with a controller, but without this.
    pub(super) fn file(self, version: Version) -> &'static str {
        match (version, self) {
            (Version::One, Self::Memory) => "memory.limit_in_bytes",
            (Version::One, Self::Cpu) => "cpu.cfs_quota_us",
            (Version::One, Self::Freezer) => "freezer.state",
            (_, Self::Pids) => "pids.max",
            (Version::Two, Self::Memory) => "memory.max",
            (Version::Two, Self::Cpu) => "cpu.max",
            (Version::Two, Self::Freezer) => "cgroup.freeze",
        }
    }

    /// Those among `names`.
    pub(super) fn among<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Self> {
        let names: Vec<_> = names.collect();
        Self::ALL.into_iter().filter(|controller| names.contains(&controller.name())).collect()
    }
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Its topmost group, as far as it is seen here.
    pub(super) top: PathBuf,
    /// The group of this process.
    pub(super) own: PathBuf,
    /// What it may have; which of it is there, a hierarchy of version 2 says in each group.
    pub(super) controllers: Vec<Controller>,
}

/// Why there is a controller nowhere.
pub(super) const ABSENT: &str = "this machine has no control groups for it: a kernel with the controllers memory, cpu and \
     pids is needed, and /sys/fs/cgroup mounted";
const RESERVED: &str = "control groups of version 1 serve root alone: run airstrip as root, or boot this machine with \
     `systemd.unified_cgroup_hierarchy=1`";

/// Why a controller of version 2 is not there, in words.
pub(super) fn not_given(dir: &Path) -> String {
    let group = dir.parent().unwrap_or(dir).display();
    format!(
        "the control group {group} was not given this controller: name it in `Delegate=` of airstrip's systemd unit; \
         a kernel in which it is switched off needs `cgroup_enable=` at boot"
    )
}

/// Why a controller cannot do what it is for, in words.
pub(super) fn not_compiled(file: &str) -> String {
    format!("this machine's kernel was made without it (control groups have no {file})")
}

/// Why no group can be made, in words.
pub(super) fn refused(failure: &Failure) -> String {
    format!(
        "{failure}; in a container, mount /sys/fs/cgroup writable with a cgroup namespace of its own; otherwise give airstrip a \
         control group of its own, with `Delegate=yes` and `DelegateSubgroup=daemon` in its systemd unit"
    )
}

/// The hierarchies in `/proc/self/mountinfo` that have any of our controllers, those of version 1 first; `/proc/self/cgroup` says
/// where in each this process is.
pub(super) fn parse(mountinfo: &str, membership: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for hierarchy in mountinfo.lines().filter_map(|line| mounted(line, membership)) {
        let seen = |other: &Hierarchy| {
            other.version == hierarchy.version
                && other.controllers.iter().any(|one| hierarchy.controllers.contains(one))
        };
        if !hierarchy.controllers.is_empty() && !found.iter().any(seen) {
            found.push(hierarchy);
        }
    }
    found.sort_by_key(|hierarchy| hierarchy.version == Version::Two);
    found
}

/// One line: `ID PARENT DEVICE ROOT POINT OPTIONS [FIELDS] - TYPE SOURCE OPTIONS`.
fn mounted(line: &str, membership: &str) -> Option<Hierarchy> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, top) = (mount.next()?, Path::new(mount.next()?));
    let mut kind = kind.split(' ');
    let (version, controllers) = match kind.next()? {
        "cgroup" => (Version::One, Controller::among(kind.nth(1)?.split(','))),
        "cgroup2" => (Version::Two, Controller::ALL.to_vec()),
        _ => return None,
    };
    let path = member(membership, version, &controllers)?;
    let own = path.strip_prefix(root).map_or_else(|_| top.to_owned(), |below| top.join(below));
    Some(Hierarchy { version, top: top.to_owned(), own, controllers })
}

/// One line for each hierarchy: `ID:CONTROLLERS:PATH`, without controllers for version 2.
fn member<'a>(membership: &'a str, version: Version, controllers: &[Controller]) -> Option<&'a Path> {
    membership.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        let right = match version {
            Version::One => controllers.iter().any(|one| names.split(',').any(|name| name == one.name())),
            Version::Two => names.is_empty(),
        };
        right.then_some(Path::new(path))
    })
}

impl Hierarchy {
    /// The group below which this process may make groups, and what they can have; or why there is none.
    pub(super) fn offer(&self, privileged: bool) -> Result<(PathBuf, Vec<Controller>), String> {
        match self.version {
            Version::One if privileged => Ok((self.top.clone(), self.controllers.clone())),
            Version::One => Err(RESERVED.to_owned()),
            Version::Two => {
                let base = if privileged { self.top.clone() } else { self.delegated()? };
                let mut offered = fs::read_to_string(base.join(v2::CONTROLLERS))
                    .map(|text| Controller::among(text.split_ascii_whitespace()))
                    .map_err(|error| format!("{}: {error}", base.display()))?;
                offered.push(Controller::Freezer);
                Ok((base, offered))
            }
        }
    }

    /// An ordinary user's own group; or the one above, if this process already is in the leaf that processes have to be in.
    fn delegated(&self) -> Result<PathBuf, String> {
        let above = self.own.parent().filter(|_| self.own.ends_with(v2::LEAF) && self.own != self.top);
        let mut candidates = above.into_iter().chain([self.own.as_path()]);
        let ours = |group: &&Path| {
            let may = |path: &Path| access(path, AccessFlags::W_OK).is_ok();
            may(group) && may(&group.join("cgroup.procs")) && may(&group.join(v2::ENABLED))
        };
        candidates.find(ours).map(Path::to_owned).ok_or_else(|| {
            format!(
                "the control group {} is not delegated to this user: run airstrip as a systemd service with `Delegate=yes` and \
                 `DelegateSubgroup=daemon`, or as root",
                self.own.display()
            )
        })
    }
}
