//! The daemon's end of a socket to a shim or a joining process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::protocol::{self, Request};
use super::{record, sys};

/// See the module.
#[derive(Debug)]
pub(super) struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    /// Runs this binary again in `role`, hands it a job with descriptors, and returns the channel to it.
    /// The channel is the child's only link to the daemon; the runtime reaps it whenever it ends.
    pub(super) fn spawn(role: &str, job: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let (ours, theirs) = protocol::pair()?;
        protocol::send_job(ours.as_fd(), job, fds)?;
        tokio::process::Command::from(command(role, theirs)).spawn()?;
        Self::new(ours)
    }

    /// Connects to the shim of the instance in `dir`. `None`: there is no shim.
    pub(super) fn connect(dir: &Path) -> io::Result<Option<Self>> {
        dial(dir)?.map(Self::new).transpose()
    }

    /// Takes a connected socket.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self(sys::watch(socket)?))
    }

    /// Sends a job with descriptors.
    pub(super) fn send_job(&self, job: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        protocol::send_job(self.0.as_fd(), job, fds)
    }

    /// Sends without waiting: messages downwards are few and small.
    pub(super) fn send(&self, request: Request) -> io::Result<()> {
        protocol::send(self.0.as_fd(), &request, &[])
    }

    /// Has the first process behind a shim answer another channel, and returns that.
    pub(super) fn serve(&self) -> io::Result<Self> {
        let (ours, theirs) = protocol::pair()?;
        protocol::send(self.0.as_fd(), &Request::Serve, &[theirs.as_fd()])?;
        Self::new(ours)
    }

    /// Kills the process at the other end.
    pub(super) fn kill_peer(&self) -> io::Result<()> {
        let peer = getsockopt(&self.0, PeerCredentials)?;
        Ok(kill(Pid::from_raw(peer.pid()), Signal::SIGKILL)?)
    }

    /// Waits for a message; `None` when the other side has closed.
    pub(super) async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.0.async_io(Interest::READABLE, |socket| protocol::receive(socket.as_fd())).await
    }
}

/// A connection to the shim of the instance in `dir`. `None`: there is no shim.
pub(super) fn dial(dir: &Path) -> io::Result<Option<OwnedFd>> {
    let dir = match File::open(dir) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    // Through the directory's descriptor: a socket's path may have 107 bytes only.
    let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), record::CONTROL);
    match connect(socket.as_raw_fd(), &UnixAddr::new(path.as_str())?) {
        Ok(()) => Ok(Some(socket)),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ECONNREFUSED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the instance in `dir` has a shim, be it one that does not answer.
pub(super) fn has_shim(dir: &Path) -> io::Result<bool> {
    match dial(dir) {
        Ok(socket) => Ok(socket.is_some()),
        // So many have called in vain that no more can wait.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

/// This binary, in a role, with nothing inherited but the channel.
pub(super) fn command(role: &str, channel: OwnedFd) -> std::process::Command {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0(role).env_clear().env(super::CHILD_MARK, "1").current_dir("/");
    command.stdin(channel).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
