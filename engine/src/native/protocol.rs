//! What the daemon, a shim, and the first process of a sandbox say to each other.
//!
//! Every message is one packet of a `SOCK_SEQPACKET` socket, in JSON, with descriptors beside it where needed. What is
//! large or secret (a [`Spec`] with its environment) goes in an anonymous memory file, which no other process can open.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cgroup::{Bounds, Plan};
use super::sys;
use crate::{Command, Exit, InstanceId, Spec, Symlink, WindowSize};

/// Longest message; longer texts are cut before they are sent.
const LONGEST: usize = 8 * 1024;
/// Most descriptors beside one message.
const MOST_DESCRIPTORS: usize = 24;
/// Most sockets in one [`Reply::Sockets`].
pub(super) const MOST_SOCKETS: usize = 16;

/// The job of a shim. In a memory file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) run_dir: PathBuf,
    pub(super) privileged: bool,
    pub(super) spec: Spec,
    pub(super) kind: Kind,
    /// The sandbox's control group.
    pub(super) group: Plan,
    /// How many processes there may be, if no control group counts them.
    pub(super) processes: Option<u32>,
    /// Whether its way out is one for IPv6, too.
    pub(super) ipv6: bool,
    /// Where the first process will knock, if somebody else makes the sandbox.
    #[serde(default)]
    pub(super) door: Option<PathBuf>,
}

impl Start {
    /// The user outside, if it is not the daemon's own.
    pub(super) fn user(&self) -> Option<u32> {
        self.privileged.then_some(self.spec.host_uid)
    }
}

/// What a shim's sandbox is for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Outlives the daemon, has a directory of its own.
    Instance { id: InstanceId, labels: String },
    /// Dies with the daemon, leaves nothing.
    OneOff { terminal: Option<WindowSize> },
}

/// The job of a joining process. In a memory file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Join {
    pub(super) privileged: bool,
    /// How many of the descriptors are namespaces; they come first.
    pub(super) namespaces: usize,
    pub(super) bounds: Bounds,
    pub(super) command: Command,
    pub(super) terminal: Option<WindowSize>,
}

/// The job of a process that somebody else has put into a sandbox. In a memory file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Guest {
    /// True for the sandbox's first process, false for one more in a running sandbox.
    pub(super) first: bool,
    pub(super) symlinks: Vec<Symlink>,
    pub(super) command: Command,
    pub(super) terminal: Option<WindowSize>,
    pub(super) open_files: u64,
}

/// Downwards: daemon to shim, shim to first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// The first message: the job and the program's streams are in the descriptors.
    Start,
    /// The user namespace has its user; go on.
    Mapped,
    /// Ask the program to end.
    Stop,
    /// Kill everything.
    Kill,
    /// Signal the program's process group, or the foreground group of its terminal.
    Signal(i32),
    /// Answer with `Ended` when it has ended.
    Wait,
    /// Answer with `Running` and the sandbox's namespaces.
    Find,
    /// Answer, from now on, what comes from the socket beside this message.
    Serve,
    /// Answer with `Sockets`: so many, for TCP over IPv6 or IPv4.
    Sockets { v6: bool, count: usize },
}

/// Upwards: first process to shim, shim to daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The first process is in its user namespace and asks for its user.
    Map,
    /// The sockets of the sandbox's relay.
    Network,
    /// Sockets of the sandbox's network.
    Sockets,
    /// The door is there; make the sandbox.
    Listening,
    /// Its first process has knocked.
    Admitted,
    /// The program has been executed. With the master side of its terminal, if it has one.
    Started,
    /// It could not be executed.
    Failed(Failure),
    /// Its first process, as seen from the host.
    Running { pid: i32 },
    /// The sandbox wanted more processes than it may have.
    ProcessesRefused,
    /// The program has ended.
    Ended(Exit),
}

/// Why a program was not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(super) enum Failure {
    #[error("{step}: {reason}")]
    Setup { step: String, reason: String },
    #[error("{program}: {reason}")]
    Program { program: String, reason: String },
}

/// Names the step that failed.
pub(super) trait Step<T> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::Setup { step: step(), reason: reason(&error.into()) })
    }
}

/// The operating system's words without Rust's "(os error N)".
pub(super) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Two connected sockets, both closed by exec.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one message with descriptors.
pub(super) fn send(socket: BorrowedFd<'_>, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one message and its descriptors; `None` when the other end has closed.
pub(super) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = [0; LONGEST];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; MOST_DESCRIPTORS]);
    let (length, fds) = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            // The second once, before what the other end has said last: it closed without hearing all.
            // The second once, before what the other end has said last: it closed without hearing all.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(error) => return Err(error.into()),
            Ok(message) => break (message.bytes, descriptors(message.cmsgs()?)),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..length])?, fds)))
}

fn descriptors(messages: impl Iterator<Item = ControlMessageOwned>) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    for message in messages {
        if let ControlMessageOwned::ScmRights(raw) = message {
            fds.extend(raw.into_iter().map(sys::own));
        }
    }
    fds
}

/// Sends the first message: a job, with the descriptors it needs.
pub(super) fn send_job(socket: BorrowedFd<'_>, job: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let job = write_job(job)?;
    let all: Vec<_> = std::iter::once(job.as_fd()).chain(fds.iter().copied()).collect();
    send(socket, &Request::Start, &all)
}

/// Puts a job into a memory file.
pub(super) fn write_job(job: &impl Serialize) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("airstrip-job", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(job)?)?;
    Ok(file.into())
}

/// Reads a job back.
pub(super) fn read_job<T: DeserializeOwned>(fd: OwnedFd) -> io::Result<T> {
    let mut file = File::from(fd);
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

impl Failure {
    /// A failure that fits into a message.
    pub(super) fn shortened(mut self) -> Self {
        let (Self::Setup { step: first, reason: second } | Self::Program { program: first, reason: second }) =
            &mut self;
        for text in [first, second] {
            if let Some((end, _)) = text.char_indices().nth(500) {
                text.truncate(end);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exit;

    #[test]
    fn last_words_are_heard_from_who_closed_without_listening() {
        let (ours, theirs) = pair().unwrap();
        send(ours.as_fd(), &Request::Stop, &[]).unwrap();
        send(theirs.as_fd(), &Reply::Ended(Exit::Status(3)), &[]).unwrap();
        drop(theirs);
        let told = receive::<Reply>(ours.as_fd()).unwrap();
        assert!(matches!(told, Some((Reply::Ended(Exit::Status(3)), _))));
        assert!(receive::<Reply>(ours.as_fd()).unwrap().is_none());
    }
}
