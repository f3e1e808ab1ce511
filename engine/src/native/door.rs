//! How a process that somebody else has put into a sandbox finds whoever will tell it what to run.
//!
//! A *door* is a socket in a directory that is shown inside the sandbox. The process knocks (`guest`), is let in, and
//! the door is taken away. From then on it is spoken to like any other process of a sandbox.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt, listen, socket,
};
use nix::unistd::Pid;
use tokio::io::Interest;

use super::sys;

/// Time for a container engine to make a sandbox and to start a process in it.
const KNOCK_LIMIT: Duration = Duration::from_secs(60);

/// See the module. Dropping it takes it away.
#[derive(Debug)]
pub(super) struct Door {
    path: PathBuf,
    listener: OwnedFd,
}

impl Door {
    /// Puts a door at `path`, whose directory keeps others out on the host.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        let (dir, name) = parts(path)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(below(&dir, name).as_str())?)?;
        // Inside it belongs to another user.
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        listen(&listener, Backlog::new(1)?)?;
        Ok(Self { path: path.to_owned(), listener })
    }

    /// Waits for the knock; gives up when `daemon` lets go. Also tells who knocked, as seen from here.
    pub(super) fn admit(&self, daemon: &OwnedFd) -> io::Result<(OwnedFd, Pid)> {
        let end = Instant::now() + KNOCK_LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let limit = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds =
                [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN), PollFd::new(daemon.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, limit) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            if fds[1].any().unwrap_or(false) {
                return Err(io::Error::other("the daemon has given up"));
            }
            if let Some(admitted) = self.accept()? {
                return Ok(admitted);
            }
        }
    }

    /// The same for the daemon.
    pub(super) async fn admitted(&self) -> io::Result<(OwnedFd, Pid)> {
        let watched = sys::watch(self.listener.try_clone()?)?;
        let knock = watched.async_io(Interest::READABLE, |_| self.accept()?.ok_or(io::ErrorKind::WouldBlock.into()));
        tokio::time::timeout(KNOCK_LIMIT, knock).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    fn accept(&self) -> io::Result<Option<(OwnedFd, Pid)>> {
        match accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Ok(raw) => {
                let socket = sys::own(raw);
                let peer = getsockopt(&socket, PeerCredentials)?;
                Ok(Some((socket, Pid::from_raw(peer.pid()))))
            }
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Knocks at the door at `path`.
pub(super) fn knock(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    let (dir, name) = parts(path)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(below(&dir, name).as_str())?)?;
    Ok(socket)
}

fn parts(path: &Path) -> io::Result<(File, &str)> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok((File::open(dir)?, name))
}

/// Through the directory's descriptor: a socket's path may have 107 bytes only.
fn below(dir: &File, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())
}
