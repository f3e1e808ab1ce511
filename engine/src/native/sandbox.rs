//! From a fresh child in new namespaces to the sandbox's first process. The order matters:
//!
//! - As root the mounts are made first and the user namespace last. So the program, though it may rule its user
//!   namespace, can never alter the mounts, and their sources need not be reachable for its user.
//! - Without privileges the user namespace comes first, because it is what permits the mounts.

use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, sethostname};

use super::init::Supervisor;
use super::mounts::{Owner, Tree};
use super::program::{self, Confinement, Stdio};
use super::protocol::{Failure, Kind, Reply, Start, Step, send};
use super::{base, identity, namespaces, network};

/// The user and group outside to which the sandbox's user is mapped.
pub(super) fn outside_owner(start: &Start) -> Owner {
    if start.privileged {
        Owner { uid: start.spec.host_uid, gid: start.spec.host_uid }
    } else {
        Owner { uid: Uid::effective().as_raw(), gid: Gid::effective().as_raw() }
    }
}

/// The first process: builds the sandbox, starts the program, and supervises it.
pub(super) fn run(start: &Start, shim: &OwnedFd, stdio: Option<Stdio>) -> i32 {
    match enter(start, shim).and_then(|()| launch(start, shim, stdio)) {
        Ok(supervisor) => supervisor.run(shim),
        Err(failure) => {
            let _ = send(shim.as_fd(), &Reply::Failed(failure.shortened()), &[]);
            1
        }
    }
}

fn enter(start: &Start, shim: &OwnedFd) -> Result<(), Failure> {
    if !start.privileged {
        identity::await_map(shim.as_fd())?;
        identity::become_app()?;
    }
    network::set_up(start, shim.as_fd())?;
    sethostname(&start.spec.hostname).step(|| format!("sethostname({})", start.spec.hostname))?;
    build(start)?;
    if start.privileged {
        setgroups(&[]).step(|| "setgroups".to_owned())?;
        unshare(CloneFlags::CLONE_NEWUSER).step(|| "unshare(user namespace)".to_owned())?;
        identity::await_map(shim.as_fd())?;
        identity::become_app()?;
    }
    namespaces::hide_groups()?;
    start.processes.map_or(Ok(()), identity::bound_processes)?;
    identity::confine()?;
    identity::die_with_parent()
}

fn build(start: &Start) -> Result<(), Failure> {
    // Without privileges the owner is what the new user namespace calls it.
    let owner = if start.privileged { outside_owner(start) } else { Owner { uid: 1000, gid: 1000 } };
    let mut tree = Tree::new(&start.run_dir, owner, start.privileged, &start.spec.limits)?;
    base::build(&mut tree, &start.spec)?;
    for mount in &start.spec.mounts {
        tree.mount(mount)?;
    }
    for symlink in &start.spec.symlinks {
        tree.link(&symlink.link, &symlink.target)?;
    }
    tree.enter()
}

fn launch(start: &Start, shim: &OwnedFd, stdio: Option<Stdio>) -> Result<Supervisor, Failure> {
    let size = match &start.kind {
        Kind::OneOff { terminal } => *terminal,
        Kind::Instance { .. } => None,
    };
    let confinement = Confinement { open_files: start.spec.limits.open_files, walled: true };
    program::launch(&start.spec.command, confinement, size, stdio, shim.as_fd(), Supervisor::first)
}
