//! The first process of a sandbox: started or invited, waited for, ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::Exit;
use crate::native::cgroup::Watched;
use crate::native::door::Door;
use crate::native::network::{self, Outbound};
use crate::native::program::Stdio;
use crate::native::protocol::{self, Failure, Guest, Kind, Reply, Request, Start, Step, receive, send};
use crate::native::record::Record;
use crate::native::{identity, namespaces, sandbox, sys};

/// The first process of a sandbox as its shim knows it.
pub(super) struct First {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) channel: OwnedFd,
    pub(super) namespaces: Vec<OwnedFd>,
    /// What carries its outgoing connections, if it may have any.
    pub(super) outbound: Option<Outbound>,
    /// What bounds it.
    pub(super) watched: Watched,
    /// False if somebody else made the sandbox.
    child: bool,
}

impl First {
    /// Starts it and waits until it has executed the program. Returns the terminal's master side, if there is one.
    pub(super) fn start(start: &Start, stdio: Option<Stdio>) -> Result<(Self, Option<OwnedFd>), Failure> {
        let (ours, theirs) = protocol::pair().step(|| "socketpair".to_owned())?;
        let flags = namespaces::flags(start.privileged);
        let instance = matches!(start.kind, Kind::Instance { .. });
        let watched = Watched::make(&start.group, &start.spec.limits, instance)?;
        let home = watched.home()?;
        let (pid, pidfd) = sys::clone_into(flags, home.as_ref().map(AsFd::as_fd), || {
            let mut keep = vec![theirs.as_fd()];
            keep.extend(stdio.iter().flat_map(Stdio::all));
            let _ = sys::close_all_except(&keep);
            sandbox::run(start, &theirs, stdio)
        })
        .step(|| format!("clone3({flags:?})"))?;
        // With this end open here the end of the first process would go unnoticed.
        drop(theirs);
        let mut first = Self::new(pid, pidfd, ours, true);
        first.watched = watched;
        // Joining a group may take milliseconds: the first process is making its mounts.
        match first.watched.admit(pid).and_then(|()| first.await_program(start)) {
            Ok(master) => Ok((first, master)),
            Err(failure) => {
                first.kill();
                Err(match first.wait(None) {
                    Exit::OutOfMemory(limit) => too_little_memory(limit),
                    _ => failure,
                })
            }
        }
    }

    fn new(pid: Pid, pidfd: OwnedFd, channel: OwnedFd, child: bool) -> Self {
        Self { pid, pidfd, channel, namespaces: Vec::new(), outbound: None, watched: Watched::default(), child }
    }

    /// Waits for a first process that somebody else starts at the daemon's request, and has it start the program.
    /// Its record is made before, because nobody here keeps it from vanishing after.
    pub(super) fn invite(
        start: &Start,
        labels: &str,
        stdio: &Stdio,
        daemon: &OwnedFd,
    ) -> Result<(Self, Record), Failure> {
        let door = start.door.as_deref().ok_or(Errno::ENOENT).step(|| "find the door".to_owned())?;
        let name = || format!("listen at {}", door.display());
        let door = Door::open(door).step(name)?;
        send(daemon.as_fd(), &Reply::Listening, &[]).step(|| "report to the daemon".to_owned())?;
        let (channel, pid) = door.admit(daemon).step(|| "wait for the sandbox".to_owned())?;
        drop(door);
        send(daemon.as_fd(), &Reply::Admitted, &[]).step(|| "report to the daemon".to_owned())?;
        let pidfd = sys::open_pidfd(pid).step(|| format!("open the process {pid}"))?;
        let record = make_record(labels, pid)?;
        let mut first = Self::new(pid, pidfd, channel, false);
        first.outbound = network::adopt(start, pid, first.channel.as_fd())?;
        let spec = &start.spec;
        let (symlinks, command) = (spec.symlinks.clone(), spec.command.clone());
        let job = Guest { first: true, symlinks, command, terminal: None, open_files: spec.limits.open_files };
        protocol::send_job(first.channel.as_fd(), &job, &stdio.all()).step(|| "speak to the sandbox".to_owned())?;
        match first.await_program(start) {
            Ok(_) => Ok((first, record)),
            Err(failure) => {
                first.kill();
                Err(failure)
            }
        }
    }

    fn await_program(&mut self, start: &Start) -> Result<Option<OwnedFd>, Failure> {
        loop {
            let channel = self.channel.as_fd();
            match receive::<Reply>(channel).step(|| "hear from the sandbox".to_owned())? {
                Some((Reply::Map, _)) => {
                    let owner = sandbox::outside_owner(start);
                    identity::write_map(self.pid, owner.uid, owner.gid)?;
                    self.namespaces = namespaces::open(self.pid)?;
                    send(channel, &Request::Mapped, &[]).step(|| "answer the sandbox".to_owned())?;
                }
                Some((Reply::Network, sockets)) => self.outbound = Some(Outbound::start(start, sockets)),
                Some((Reply::Started, mut fds)) => return Ok(fds.pop()),
                Some((Reply::Failed(failure), _)) => return Err(failure),
                _ => return Err(Errno::ECONNRESET).step(|| "sandbox ended while it was set up".to_owned()),
            }
        }
    }

    pub(super) fn kill(&self) {
        let _ = sys::signal_pidfd(self.pidfd.as_fd(), Signal::SIGKILL);
        // What is frozen does not end.
        let _ = self.watched.group().thaw();
    }

    /// Waits until no process of the sandbox is left. `told` is what the first process said of the program. The sandbox's sockets
    /// are closed when this is dropped, so that nobody waits for that.
    pub(super) fn wait(&mut self, told: Option<Exit>) -> Exit {
        self.namespaces.clear();
        if let Some(outbound) = &mut self.outbound {
            outbound.end();
        }
        if !self.child {
            await_end(self.pidfd.as_fd());
            return told.unwrap_or(Exit::Lost);
        }
        let ended = sys::wait_child(Some(self.pid), true);
        let exit = told.or_else(|| ended.ok().flatten().map(|(_, status)| status.into())).unwrap_or(Exit::Lost);
        self.watched.finish(exit)
    }
}

fn too_little_memory(limit: u64) -> Failure {
    Failure::Setup { step: "start the program".to_owned(), reason: format!("{limit} bytes of memory are not enough") }
}

/// Waits for the end of a process that is not a child.
fn await_end(pidfd: BorrowedFd<'_>) {
    while poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], PollTimeout::NONE) == Err(Errno::EINTR) {}
}

pub(super) fn make_record(labels: &str, pid: Pid) -> Result<Record, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let started_at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    Record::new(labels.to_owned(), started_at_ms, pid).step(|| "read the start time".to_owned())
}
