//! The namespaces of a sandbox: made by its shim, entered by a joining process. (That of control groups each makes for itself.)

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Pid;

use super::protocol::{Failure, Step};

/// How many [`open`] gives.
pub(super) const COUNT: usize = 6;

/// In the order in which an ordinary user enters them: the first gives the right to enter the others.
/// Root enters them the other way round, because afterwards it is root no more.
const KINDS: [(&str, CloneFlags); COUNT] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("pid", CloneFlags::CLONE_NEWPID),
    // Last: instances of earlier versions have no network of their own.
    ("net", CloneFlags::CLONE_NEWNET),
];

/// The namespaces a sandbox's first process is started in. As root it makes its user namespace later by itself.
pub(super) fn flags(privileged: bool) -> CloneFlags {
    let all = KINDS.iter().fold(CloneFlags::empty(), |all, (_, flag)| all | *flag);
    if privileged { all - CloneFlags::CLONE_NEWUSER } else { all }
}

/// Opens the namespaces of a first process while it may still be looked into. (Joining by its pidfd is refused later
/// to an ordinary user, because the first process makes itself unreadable.)
pub(super) fn open(first: Pid) -> Result<Vec<OwnedFd>, Failure> {
    let open = |(kind, _): &(&str, CloneFlags)| {
        let path = format!("/proc/{first}/ns/{kind}");
        File::open(&path).map(OwnedFd::from).step(|| format!("open({path})"))
    };
    KINDS.iter().map(open).collect()
}

/// Enters what [`open`] has opened, here or in an earlier version that knew fewer; for the process namespace, the children of the calling process do.
pub(super) fn enter(namespaces: &[OwnedFd], privileged: bool) -> Result<(), Failure> {
    let mut all: Vec<_> = namespaces.iter().zip(KINDS).collect();
    if privileged {
        all.reverse();
    }
    all.into_iter().try_for_each(|(fd, (kind, flag))| setns(fd, flag).step(|| format!("setns({kind})")))
}

/// Once the calling process is in the sandbox's control group, and may still do this: shows that group as the topmost, so
/// that the host's names are not seen.
pub(super) fn hide_groups() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWCGROUP).step(|| "unshare(control group namespace)".to_owned())
}
