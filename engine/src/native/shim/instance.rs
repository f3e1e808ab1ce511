//! A running instance: its log is filled and its callers are answered until it ends.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket};
use nix::unistd::pipe2;

use super::first::{First, make_record};
use crate::native::cgroup::Bounds;
use crate::native::log::Log;
use crate::native::memory::let_go_of_code;
use crate::native::network::Outbound;
use crate::native::program::Stdio;
use crate::native::protocol::{Failure, Reply, Request, Start, Step, receive, send};
use crate::native::record::{self, Record};
use crate::native::{held, sys};
use crate::{Exit, InstanceId};

/// Callers that may wait for an instance at the same time.
const MOST_CALLERS: usize = 256;

/// Starts it, and serves until it ends.
pub(super) fn run(start: &Start, id: &InstanceId, labels: &str, daemon: &OwnedFd) -> Result<(), Failure> {
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
    let (output, stdio) = output(start)?;
    let (mut first, record) = if start.door.is_some() {
        First::invite(start, labels, &stdio, daemon).map(|(first, record)| (first, Ok(record)))?
    } else {
        let (first, _) = First::start(start, Some(stdio))?;
        let record = make_record(labels, first.pid);
        (first, record)
    };
    let _ = prctl::set_dumpable(false);
    if let Err(failure) = record.and_then(|record| report(start, &dir, &first, &record, daemon)) {
        first.kill();
        first.wait(None);
        return Err(failure);
    }
    Ok(Instance { dir, first, listener, output, log, callers: Vec::new() })
}

/// What a program writes into, and where it is read.
fn output(start: &Start) -> Result<(File, Stdio), Failure> {
    let (output, write) = pipe2(OFlag::O_CLOEXEC).step(|| "pipe".to_owned())?;
    fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).step(|| "fcntl(pipe)".to_owned())?;
    held::give(&write, start.user()).step(|| "fchown(pipe)".to_owned())?;
    let stdout = write.try_clone().step(|| "dup".to_owned())?;
    Ok((File::from(output), Stdio { stdin: None, stdout, stderr: write }))
}

/// Writes down what later daemons have to know of it, and tells this one.
fn report(start: &Start, dir: &Path, first: &First, record: &Record, daemon: &OwnedFd) -> Result<(), Failure> {
    let (group, open_files) = (first.watched.group().clone(), start.spec.limits.open_files);
    let bounds = Bounds { group, open_files, processes: start.processes, user: start.user() };
    let write = || format!("write into {}", dir.display());
    bounds.write(dir).step(write)?;
    record.write(dir).step(write)?;
    send(daemon.as_fd(), &Reply::Started, &[]).step(|| "report the start".to_owned())
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
