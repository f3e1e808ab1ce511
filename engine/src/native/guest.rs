//! A process that somebody else has put into a sandbox: a container engine. It knocks at a door, is told what to run,
//! and looks after it like the processes of airstrip's own sandboxes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::door::knock;
use super::init::Supervisor;
use super::program::{self, Confinement};
use super::protocol::{self, Failure, Guest, Reply, Request, Step, receive, send};
use super::shim::streams;
use super::{identity, sys};
use crate::Symlink;

/// A guest's whole life. Its only argument is the path of the door.
pub(super) fn main() -> io::Result<()> {
    sys::close_all_except(&[])?;
    let door = std::env::args_os().nth(1).ok_or(io::ErrorKind::InvalidInput)?;
    let host = knock(Path::new(&door))?;
    let Some((Request::Start, mut fds)) = receive(host.as_fd())? else { return Ok(()) };
    if fds.is_empty() {
        return Ok(());
    }
    let job: Guest = protocol::read_job(fds.remove(0))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    match start(&job, fds, &host) {
        Ok(supervisor) => drop(supervisor.run(&host)),
        Err(failure) => send(host.as_fd(), &Reply::Failed(failure.shortened()), &[])?,
    }
    Ok(())
}

fn start(job: &Guest, fds: Vec<OwnedFd>, host: &OwnedFd) -> Result<Supervisor, Failure> {
    identity::confine()?;
    job.symlinks.iter().try_for_each(link)?;
    let supervise = if job.first { Supervisor::first } else { Supervisor::joined };
    let confinement = Confinement { open_files: job.open_files, walled: job.first };
    program::launch(&job.command, confinement, job.terminal, streams(fds), host.as_fd(), supervise)
}

fn link(Symlink { link, target }: &Symlink) -> Result<(), Failure> {
    let name = || format!("symlink({}, {})", target.display(), link.display());
    if let Some(parent) = link.parent() {
        fs::create_dir_all(parent).step(name)?;
    }
    std::os::unix::fs::symlink(target, link).step(name)
}
