//! The process beside each sandbox: it starts the first process, owns the log, and knows how the sandbox ended.
//!
//! For an instance it stays when the daemon goes, and answers on a socket in the instance's directory. For a one-off
//! it ends everything as soon as the daemon lets go. It has one thread and no runtime.

mod first;
mod instance;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::setsid;

use super::program::Stdio;
use super::protocol::{self, Failure, Kind, Reply, Request, Start, receive, send};
use super::relay::relay;
use super::sys;
use first::First;

/// A shim's whole life.
pub(super) fn main() -> io::Result<()> {
    let daemon = sys::take_standard_input()?;
    let Some((Request::Start, mut fds)) = receive(daemon.as_fd())? else { return Ok(()) };
    if fds.is_empty() {
        return Ok(());
    }
    let start: Start = protocol::read_job(fds.remove(0))?;
    let _ = setsid();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let result = match &start.kind {
        Kind::Instance { id, labels } => instance::run(&start, id, labels, &daemon),
        Kind::OneOff { .. } => one_off(&start, streams(fds), &daemon),
    };
    match result {
        Ok(()) => Ok(()),
        Err(failure) => send(daemon.as_fd(), &Reply::Failed(failure.shortened()), &[]),
    }
}

/// The descriptors of a program without a terminal; two, if its standard input is to be empty.
pub(super) fn streams(mut fds: Vec<OwnedFd>) -> Option<Stdio> {
    let (stderr, stdout) = (fds.pop()?, fds.pop()?);
    Some(Stdio { stdin: fds.pop(), stdout, stderr })
}

fn one_off(start: &Start, stdio: Option<Stdio>, daemon: &OwnedFd) -> Result<(), Failure> {
    let (mut first, master) = First::start(start, stdio)?;
    let _ = prctl::set_dumpable(false);
    let fds: Vec<_> = master.iter().map(AsFd::as_fd).collect();
    let _ = send(daemon.as_fd(), &Reply::Started, &fds);
    drop(master);
    let First { pidfd, channel, outbound, watched, .. } = &mut first;
    let kill = || {
        let _ = sys::signal_pidfd(pidfd.as_fd(), Signal::SIGKILL);
    };
    let told = relay(daemon, channel, outbound.as_mut(), watched, kill);
    let exit = first.wait(told);
    if first.watched.was_refused_processes() {
        let _ = send(daemon.as_fd(), &Reply::ProcessesRefused, &[]);
    }
    let _ = send(daemon.as_fd(), &Reply::Ended(exit), &[]);
    Ok(())
}
