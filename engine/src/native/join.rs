//! One more program in a running sandbox.
//!
//! A process of its own with a single thread, outside the sandbox's process namespace, enters the other namespaces and
//! starts the head of a session inside. It stays to pass messages on, and to reap the head.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::prctl;
use nix::unistd::{setgroups, setsid};

use super::cgroup::Watched;
use super::init::Supervisor;
use super::program::{self, Confinement, Stdio};
use super::protocol::{self, Failure, Join, Reply, Request, Step, receive, send};
use super::relay::relay;
use super::shim::streams;
use super::{identity, namespaces, sys};
use crate::Exit;

/// A joining process's whole life.
pub(super) fn main() -> io::Result<()> {
    let daemon = sys::take_standard_input()?;
    let Some((Request::Start, mut fds)) = receive(daemon.as_fd())? else { return Ok(()) };
    if fds.is_empty() {
        return Ok(());
    }
    let job: Join = protocol::read_job(fds.remove(0))?;
    if fds.len() < job.namespaces || job.namespaces > namespaces::COUNT {
        return Ok(());
    }
    let pipes = fds.split_off(job.namespaces);
    let sandbox = fds;
    let _ = setsid();
    match join(&job, &sandbox, streams(pipes), &daemon) {
        Ok(exit) => send(daemon.as_fd(), &Reply::Ended(exit), &[]),
        Err(failure) => send(daemon.as_fd(), &Reply::Failed(failure.shortened()), &[]),
    }
}

fn join(job: &Join, sandbox: &[OwnedFd], stdio: Option<Stdio>, daemon: &OwnedFd) -> Result<Exit, Failure> {
    // Before entering: nobody inside may look into this process or reach the host's binary through it.
    prctl::set_dumpable(false).step(|| "prctl(not dumpable)".to_owned())?;
    job.bounds.group.enter()?;
    if job.privileged {
        setgroups(&[]).step(|| "setgroups".to_owned())?;
    }
    namespaces::enter(sandbox, job.privileged)?;
    identity::become_app()?;
    namespaces::hide_groups()?;
    let (ours, theirs) = protocol::pair().step(|| "socketpair".to_owned())?;
    let head = sys::fork(|| {
        let mut keep = vec![theirs.as_fd()];
        keep.extend(stdio.iter().flat_map(Stdio::all));
        let _ = sys::close_all_except(&keep);
        become_head(job, &theirs, stdio)
    })
    .step(|| "fork".to_owned())?;
    // With this end open here the end of the head would go unnoticed.
    drop(theirs);
    let told = follow(daemon, &ours);
    let ended = sys::wait_child(Some(head), true);
    told.map(|told| told.or_else(|| ended.ok().flatten().map(|(_, status)| status.into())).unwrap_or(Exit::Lost))
}

/// Passes on whether the program was executed, then everything else. Closing the head's channel makes it end its session.
fn follow(daemon: &OwnedFd, head: &OwnedFd) -> Result<Option<Exit>, Failure> {
    match receive::<Reply>(head.as_fd()).step(|| "hear from the session".to_owned())? {
        Some((Reply::Started, fds)) => {
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            let _ = send(daemon.as_fd(), &Reply::Started, &fds);
        }
        Some((Reply::Failed(failure), _)) => return Err(failure),
        _ => return Ok(None),
    }
    Ok(relay(daemon, head, None, &mut Watched::default(), || {
        let _ = nix::sys::socket::shutdown(std::os::fd::AsRawFd::as_raw_fd(head), nix::sys::socket::Shutdown::Write);
    }))
}

fn become_head(job: &Join, helper: &OwnedFd, stdio: Option<Stdio>) -> i32 {
    let launch = || {
        let supervise = Supervisor::joined;
        let confinement = Confinement { open_files: job.bounds.open_files, walled: false };
        program::launch(&job.command, confinement, job.terminal, stdio, helper.as_fd(), supervise)
    };
    let bounded = job.bounds.processes.map_or(Ok(()), identity::bound_processes);
    match bounded.and_then(|()| identity::confine()).and_then(|()| launch()) {
        Ok(supervisor) => supervisor.run(helper),
        Err(failure) => {
            let _ = send(helper.as_fd(), &Reply::Failed(failure.shortened()), &[]);
            1
        }
    }
}
