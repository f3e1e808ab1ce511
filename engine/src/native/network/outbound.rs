//! A sandbox's relay as its shim knows it: started with copies of the sandbox's sockets, and started again when it has ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;

use super::relay::Job;
use super::setup::on_loopback;
use crate::native::channel::command;
use crate::native::protocol::{self, Request, Start};

/// Between the end of a relay and the start of the next: this, and twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A relay that has lived so long ends the row of failures.
const STEADY: Duration = Duration::from_secs(30);

/// See the module. Dropping it ends the relay, and closes the sandbox's sockets, which takes the kernel tens of milliseconds.
pub(in crate::native) struct Outbound {
    job: Job,
    sockets: Vec<OwnedFd>,
    running: Option<Running>,
    pause: Duration,
    /// When the next one is started, while none runs.
    due: Instant,
}

struct Running {
    child: Child,
    /// Becomes readable when the relay ends.
    channel: OwnedFd,
    since: Instant,
}

impl Outbound {
    /// `sockets` are what [`super::setup`] has opened inside.
    pub(in crate::native) fn start(start: &Start, sockets: Vec<OwnedFd>) -> Self {
        let job = Job {
            egress: start.spec.egress,
            exceptions: start.spec.egress_exceptions.clone(),
            internal: start.spec.internal,
            forwards: on_loopback(&start.spec.egress_exceptions),
            ipv6: start.ipv6,
            uid: start.user(),
        };
        let mut outbound = Self { job, sockets, running: None, pause: FIRST_PAUSE, due: Instant::now() };
        outbound.tend();
        outbound
    }

    /// To be watched for being readable; then, and when [`Outbound::timeout`] has passed, [`Outbound::tend`] has something to do.
    pub(in crate::native) fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.channel.as_fd())
    }

    pub(in crate::native) fn timeout(&self) -> PollTimeout {
        match self.running {
            Some(_) => PollTimeout::NONE,
            None => self.due.saturating_duration_since(Instant::now()).try_into().unwrap_or(PollTimeout::NONE),
        }
    }

    /// Notices that the relay has ended, or starts one that is due.
    pub(in crate::native) fn tend(&mut self) {
        if let Some(mut running) = self.running.take_if(Running::has_ended) {
            running.end();
            if running.since.elapsed() > STEADY {
                self.pause = FIRST_PAUSE;
            }
            self.postpone();
        }
        if self.running.is_none() && self.due <= Instant::now() {
            match self.spawn() {
                Ok(running) => self.running = Some(running),
                Err(_) => self.postpone(),
            }
        }
    }

    /// Ends the relay, and keeps the sockets.
    pub(in crate::native) fn end(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.end();
        }
    }

    fn postpone(&mut self) {
        self.due = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn spawn(&self) -> io::Result<Running> {
        let (channel, theirs) = protocol::pair()?;
        let job = protocol::write_job(&self.job)?;
        let fds: Vec<_> = std::iter::once(&job).chain(&self.sockets).map(AsFd::as_fd).collect();
        protocol::send(channel.as_fd(), &Request::Start, &fds)?;
        let child = command(crate::native::RELAY, theirs).spawn()?;
        Ok(Running { child, channel, since: Instant::now() })
    }
}

impl Running {
    /// A relay says nothing: what there is to read is the end.
    fn has_ended(&mut self) -> bool {
        use nix::poll::{PollFd, PollFlags, poll};
        let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.end();
    }
}
