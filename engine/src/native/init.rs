//! Looks after one program inside a sandbox: as the sandbox's first process, or as the head of a joined session.
//!
//! It reaps, passes signals on, reports how the program ended, and sees to it that nothing outlives whoever holds the
//! other end of its socket. It has no privilege and runs no code of the program's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::memory::let_go_of_code;
use super::network;
use super::protocol::{Failure, Reply, Request, Step, receive, send};
use super::record::Stat;
use super::sys::{self, RawStatus};
use crate::Exit;

/// How long a session whose terminal has been hung up may take to end.
const HANGUP_GRACE: Duration = Duration::from_millis(500);

/// One daemon, and some that have gone without notice.
const MOST_ASKERS: usize = 4;

/// See the module.
pub(super) struct Supervisor {
    program: Pid,
    terminal: bool,
    /// True for the first process of a sandbox: its end is the end of every process there.
    first: bool,
    /// The program was asked to end: what it leaves behind is asked, too.
    stopping: bool,
    ended: Option<Exit>,
    signals: SignalFd,
    /// Daemons that ask for sockets.
    askers: Vec<OwnedFd>,
}

impl Supervisor {
    /// For the first process of a sandbox.
    pub(super) fn first(program: Pid, terminal: bool) -> Result<Self, Failure> {
        Self::new(program, terminal, true)
    }

    /// For the head of a session that joined a sandbox.
    pub(super) fn joined(program: Pid, terminal: bool) -> Result<Self, Failure> {
        Self::new(program, terminal, false)
    }

    fn new(program: Pid, terminal: bool, first: bool) -> Result<Self, Failure> {
        let mut mask = SigSet::all();
        // Raised by faults of this process itself.
        for signal in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT] {
            mask.remove(signal);
        }
        mask.thread_block().step(|| "block signals".to_owned())?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).step(|| "signalfd".to_owned())?;
        Ok(Self { program, terminal, first, stopping: false, ended: None, signals, askers: Vec::new() })
    }

    /// Supervises until the program, and what has to end with it, has ended. Gives this process's exit status.
    pub(super) fn run(mut self, shim: &OwnedFd) -> i32 {
        if self.first {
            let_go_of_code();
        }
        loop {
            if self.reap() {
                if let Some(exit) = self.ended {
                    let _ = send(shim.as_fd(), &Reply::Ended(exit), &[]);
                }
                return 0;
            }
            self.await_event(shim.as_fd());
        }
    }

    /// Reaps whatever has ended. True when there is nothing more to wait for.
    fn reap(&mut self) -> bool {
        loop {
            let only = if self.first { None } else { Some(self.program) };
            match sys::wait_child(only, false) {
                Ok(Some((pid, status))) if pid == self.program => {
                    self.ended = Some(status.into());
                    if !(self.first && self.stopping) {
                        return true;
                    }
                    let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(Errno::EINTR) => return false,
                Err(_) => return true,
            }
        }
    }

    fn await_event(&mut self, shim: BorrowedFd<'_>) {
        let own = [shim, self.signals.as_fd()];
        let all = own.into_iter().chain(self.askers.iter().map(AsFd::as_fd));
        let mut fds: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let asked = ready.first() == Some(&true);
        self.answer(ready.get(2..).unwrap_or_default());
        while let Ok(Some(info)) = self.signals.read_signal() {
            self.pass_on(info.ssi_signo);
        }
        if asked {
            match receive::<Request>(shim) {
                Ok(Some((Request::Serve, fds))) => self.serve(fds),
                Ok(Some((request, _))) => self.obey(request),
                Ok(None) | Err(_) => self.abandon(),
            }
        }
    }

    /// A daemon that came, in the place of the oldest if there are too many.
    fn serve(&mut self, mut fds: Vec<OwnedFd>) {
        if self.askers.len() == MOST_ASKERS {
            self.askers.remove(0);
        }
        self.askers.extend(fds.pop());
    }

    /// Hands sockets to those of the askers that are `ready`; lets go of those that have gone.
    fn answer(&mut self, ready: &[bool]) {
        let mut ready = ready.iter();
        self.askers.retain(|asker| match ready.next() {
            Some(true) => match receive::<Request>(asker.as_fd()) {
                Ok(Some((Request::Sockets { v6, count }, _))) => network::hand_over(asker, v6, count).is_ok(),
                _ => false,
            },
            _ => true,
        });
    }

    fn obey(&mut self, request: Request) {
        match request {
            Request::Stop => {
                self.stopping = true;
                let _ = kill(self.program, Signal::SIGTERM);
                let _ = kill(self.program, Signal::SIGCONT);
            }
            Request::Signal(number) => {
                if let Ok(signal) = Signal::try_from(number) {
                    let _ = kill(Pid::from_raw(-self.group()), signal);
                }
            }
            _ => {}
        }
    }

    /// A signal that some process of the sandbox sent to this one.
    fn pass_on(&self, number: u32) {
        match i32::try_from(number).ok().and_then(|number| Signal::try_from(number).ok()) {
            Some(Signal::SIGCHLD) | None => {}
            Some(signal) => drop(kill(self.program, signal)),
        }
    }

    /// The process group that signals from outside go to.
    fn group(&self) -> i32 {
        let foreground = || {
            let text = std::fs::read_to_string(format!("/proc/{}/stat", self.program)).ok()?;
            Stat::parse(&text).map(|stat| stat.foreground).filter(|group| *group > 0)
        };
        let own = self.program.as_raw();
        if self.terminal { foreground().unwrap_or(own) } else { own }
    }

    /// Nobody holds the other end any more. Ending the first process kills all others; a joined session is ended here.
    fn abandon(&self) -> ! {
        if !self.first {
            if self.terminal {
                self.signal_session(Signal::SIGHUP);
                self.signal_session(Signal::SIGCONT);
                self.await_session(HANGUP_GRACE);
            }
            while self.signal_session(Signal::SIGKILL) {
                self.await_session(Duration::from_millis(10));
            }
            let _ = sys::wait_child(Some(self.program), true);
        }
        std::process::exit(0)
    }

    /// Signals every process of the program's session; false if there is none left.
    fn signal_session(&self, signal: Signal) -> bool {
        let session = self.program.as_raw();
        let members =
            Stat::all().unwrap_or_default().into_iter().filter(|(_, stat)| stat.session == session && !stat.zombie);
        let mut any = false;
        for (pid, _) in members {
            any |= kill(Pid::from_raw(pid), signal).is_ok();
        }
        any
    }

    /// Waits until the session is empty, or `grace` has passed.
    fn await_session(&self, grace: Duration) {
        let end = Instant::now() + grace;
        while Instant::now() < end && self.session_lives() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn session_lives(&self) -> bool {
        let session = self.program.as_raw();
        Stat::all().unwrap_or_default().iter().any(|(_, stat)| stat.session == session && !stat.zombie)
    }
}

impl From<RawStatus> for Exit {
    fn from(status: RawStatus) -> Self {
        if libc::WIFSIGNALED(status.0) {
            Self::Signal(libc::WTERMSIG(status.0))
        } else {
            Self::Status(libc::WEXITSTATUS(status.0))
        }
    }
}
