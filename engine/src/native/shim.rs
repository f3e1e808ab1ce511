//! The process beside each sandbox: it starts the first process, owns the log, and knows how the sandbox ended.
//!
//! For an instance it stays when the daemon goes, and answers on a socket in the instance's directory. For a one-off
//! it ends everything as soon as the daemon lets go. It has one thread and no runtime.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket};
use nix::unistd::{Pid, pipe2, setsid};

use super::cgroup::{Bounds, Watched};
use super::door::Door;
use super::log::Log;
use super::memory::let_go_of_code;
use super::network::{self, Outbound};
use super::program::Stdio;
use super::protocol::{self, Failure, Guest, Kind, Reply, Request, Start, Step, receive, send};
use super::record::{self, Record};
use super::relay::relay;
use super::{held, identity, namespaces, sandbox, sys};
use crate::{Exit, InstanceId};

/// Callers that may wait for an instance at the same time.
const MOST_CALLERS: usize = 256;

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
        Kind::Instance { id, labels } => instance(&start, id, labels, &daemon),
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

/// The first process of a sandbox as its shim knows it.
struct First {
    pid: Pid,
    pidfd: OwnedFd,
    channel: OwnedFd,
    namespaces: Vec<OwnedFd>,
    /// What carries its outgoing connections, if it may have any.
    outbound: Option<Outbound>,
    /// What bounds it.
    watched: Watched,
    /// False if somebody else made the sandbox.
    child: bool,
}

impl First {
    /// Starts it and waits until it has executed the program. Returns the terminal's master side, if there is one.
    fn start(start: &Start, stdio: Option<Stdio>) -> Result<(Self, Option<OwnedFd>), Failure> {
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
    fn invite(start: &Start, labels: &str, stdio: &Stdio, daemon: &OwnedFd) -> Result<(Self, Record), Failure> {
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

    fn kill(&self) {
        let _ = sys::signal_pidfd(self.pidfd.as_fd(), Signal::SIGKILL);
        // What is frozen does not end.
        let _ = self.watched.group().thaw();
    }

    /// Waits until no process of the sandbox is left. `told` is what the first process said of the program. The sandbox's sockets
    /// are closed when this is dropped, so that nobody waits for that.
    fn wait(&mut self, told: Option<Exit>) -> Exit {
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

fn instance(start: &Start, id: &InstanceId, labels: &str, daemon: &OwnedFd) -> Result<(), Failure> {
    let dir = start.run_dir.join(id.as_str());
    let started = begin(start, dir.clone(), labels, daemon);
    if started.is_err() {
        // Only what was told to have started exists.
        let _ = fs::remove_dir_all(&dir);
    }
    started.map(Instance::serve)
}

fn begin(start: &Start, dir: PathBuf, labels: &str, daemon: &OwnedFd) -> Result<Instance, Failure> {
    let listener = listen_in(&dir).step(|| format!("listen in {}", dir.display()))?;
    let log = start.spec.log.as_ref();
    let log = log.map(|log| Log::open(log).step(|| format!("open {}", log.path.display()))).transpose()?;
    let (output, write) = pipe2(OFlag::O_CLOEXEC).step(|| "pipe".to_owned())?;
    fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).step(|| "fcntl(pipe)".to_owned())?;
    held::give(&write, start.user()).step(|| "fchown(pipe)".to_owned())?;
    let stdout = write.try_clone().step(|| "dup".to_owned())?;
    let stdio = Stdio { stdin: None, stdout, stderr: write };
    let (mut first, record) = if start.door.is_some() {
        First::invite(start, labels, &stdio, daemon).map(|(first, record)| (first, Ok(record)))?
    } else {
        let (first, _) = First::start(start, Some(stdio))?;
        let record = make_record(labels, first.pid);
        (first, record)
    };
    let _ = prctl::set_dumpable(false);
    let (group, open_files) = (first.watched.group().clone(), start.spec.limits.open_files);
    let bounds = Bounds { group, open_files, processes: start.processes, user: start.user() };
    let told = record
        .and_then(|record| bounds.write(&dir).step(|| format!("write into {}", dir.display())).map(|()| record))
        .and_then(|record| record.write(&dir).step(|| format!("write into {}", dir.display())))
        .and_then(|()| send(daemon.as_fd(), &Reply::Started, &[]).step(|| "report the start".to_owned()));
    if let Err(failure) = told {
        first.kill();
        first.wait(None);
        return Err(failure);
    }
    Ok(Instance { dir, first, listener, output: File::from(output), log, callers: Vec::new() })
}

fn make_record(labels: &str, pid: Pid) -> Result<Record, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let started_at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    Record::new(labels.to_owned(), started_at_ms, pid).step(|| "read the start time".to_owned())
}

/// Binds through the directory's descriptor: a socket's path may have 107 bytes only.
fn listen_in(dir: &Path) -> io::Result<OwnedFd> {
    let dir = File::open(dir)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), record::CONTROL);
    bind(listener.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
    listen(&listener, Backlog::new(128)?)?;
    Ok(listener)
}

/// A running instance: its log is filled and its callers are answered until it ends.
struct Instance {
    dir: PathBuf,
    first: First,
    listener: OwnedFd,
    output: File,
    log: Option<Log>,
    callers: Vec<Caller>,
}

struct Caller {
    socket: OwnedFd,
    waits: bool,
}

impl Instance {
    fn serve(mut self) {
        let_go_of_code();
        let told = loop {
            if let ControlFlow::Break(told) = self.turn() {
                break told;
            }
        };
        let exit = self.first.wait(told);
        self.drain();
        if let Some(log) = &mut self.log {
            log.finish(SystemTime::now());
        }
        // Callers that are told nothing look into the directory, or find that nobody listens any more.
        let _ = record::write_exit(&self.dir, exit);
        drop(self.listener);
        for caller in self.callers.iter().filter(|caller| caller.waits) {
            let _ = send(caller.socket.as_fd(), &Reply::Ended(exit), &[]);
        }
    }

    /// One round. Breaks when the first process has ended, with what it said of the program.
    fn turn(&mut self) -> ControlFlow<Option<Exit>> {
        let ready = self.await_events();
        if ready.get(1) == Some(&true) {
            self.drain();
        }
        // From the last to the first, so that leaving callers do not shift those still to be heard.
        for index in (0..self.callers.len()).rev() {
            if ready.get(3 + index) == Some(&true) && !self.hear(index) {
                self.callers.swap_remove(index);
            }
        }
        if ready.get(2) == Some(&true) {
            self.accept();
        }
        if let Some(outbound) = &mut self.first.outbound {
            outbound.tend();
        }
        if self.first.watched.is_short_of_memory() {
            self.first.kill();
        }
        if ready.first() != Some(&true) {
            return ControlFlow::Continue(());
        }
        match receive::<Reply>(self.first.channel.as_fd()) {
            Ok(Some((Reply::Ended(exit), _))) => ControlFlow::Break(Some(exit)),
            Ok(Some(_)) => ControlFlow::Continue(()),
            Ok(None) | Err(_) => ControlFlow::Break(None),
        }
    }

    /// Waits; says which descriptors are ready: first process, output, listener, callers.
    fn await_events(&self) -> Vec<bool> {
        let own = [self.first.channel.as_fd(), self.output.as_fd(), self.listener.as_fd()];
        let outbound = self.first.outbound.as_ref();
        let all = own.into_iter().chain(self.callers.iter().map(|caller| caller.socket.as_fd()));
        // Last, because they are not always there.
        let all = all.chain(outbound.and_then(Outbound::channel)).chain(self.first.watched.event());
        let mut fds: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, outbound.map_or(PollTimeout::NONE, Outbound::timeout)) {
            Ok(_) => fds.iter().map(|fd| fd.any().unwrap_or(false)).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// Moves what the pipe holds into the log; without a log it is thrown away.
    fn drain(&mut self) {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.output.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    if let Some(log) = &mut self.log {
                        log.take(&buffer[..length], SystemTime::now());
                    }
                    if length < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn accept(&mut self) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let Ok(raw) = accept4(self.listener.as_raw_fd(), flags) else { return };
        let socket = sys::own(raw);
        if self.callers.len() < MOST_CALLERS {
            self.callers.push(Caller { socket, waits: false });
        }
    }

    /// Answers one request; false when the caller has gone.
    fn hear(&mut self, index: usize) -> bool {
        let caller = &mut self.callers[index];
        let socket = caller.socket.as_fd();
        match receive::<Request>(socket) {
            Ok(Some((Request::Wait, _))) => caller.waits = true,
            Ok(Some((Request::Kill, _))) => self.first.kill(),
            Ok(Some((Request::Find, _))) => {
                let reply = Reply::Running { pid: self.first.pid.as_raw() };
                let namespaces: Vec<_> = self.first.namespaces.iter().map(AsFd::as_fd).collect();
                return send(socket, &reply, &namespaces).is_ok();
            }
            Ok(Some((Request::Serve, fds))) => {
                let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                let _ = send(self.first.channel.as_fd(), &Request::Serve, &fds);
            }
            Ok(Some((request @ (Request::Stop | Request::Signal(_)), _))) => {
                let _ = self.first.watched.group().thaw();
                let _ = send(self.first.channel.as_fd(), &request, &[]);
            }
            Ok(Some(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => return false,
        }
        true
    }
}
