//! A one-off or a joined program as its caller holds it: streams, signals, the end. Letting go of it kills it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::fchown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read, write};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::OnceCell;

use super::channel::Channel;
use super::network::Outbound;
use super::protocol::{Failure, Reply, Request};
use super::sys;
use crate::{Control, EngineError, Exit, InstanceId, Process, Streams, WindowSize};

/// Setting up a sandbox takes milliseconds; a file system that hangs must not hang the caller.
pub(super) const START_LIMIT: Duration = Duration::from_secs(30);

/// The ends of a program's streams: ours, and the ones to hand to it.
pub(super) struct Pipes {
    pub(super) theirs: Vec<OwnedFd>,
    ours: Option<[OwnedFd; 3]>,
}

impl Pipes {
    /// Three pipes; none for a program with a terminal, which is made inside. They are `user`'s, if that is another than
    /// this process's: the program may open them by their names in `/dev`.
    pub(super) fn new(terminal: bool, user: Option<u32>) -> io::Result<Self> {
        if terminal {
            return Ok(Self { theirs: Vec::new(), ours: None });
        }
        let (stdin, to_stdin) = pipe2(OFlag::O_CLOEXEC)?;
        let (from_stdout, stdout) = pipe2(OFlag::O_CLOEXEC)?;
        let (from_stderr, stderr) = pipe2(OFlag::O_CLOEXEC)?;
        let theirs = vec![stdin, stdout, stderr];
        theirs.iter().try_for_each(|pipe| give(pipe, user))?;
        Ok(Self { theirs, ours: Some([to_stdin, from_stdout, from_stderr]) })
    }
}

/// Makes `user`, if there is one, the owner of a pipe.
pub(super) fn give(pipe: &OwnedFd, user: Option<u32>) -> io::Result<()> {
    user.map_or(Ok(()), |user| fchown(pipe, Some(user), Some(user)))
}

/// Waits until the program runs. Returns the descriptors sent along.
pub(super) async fn await_start(channel: &Channel, id: &InstanceId) -> Result<Vec<OwnedFd>, EngineError> {
    let answer = tokio::time::timeout(START_LIMIT, channel.receive::<Reply>()).await;
    let died = || setup(id, "start the shim", "it ended without an answer");
    match answer.map_err(|_| setup(id, "start the program", "no answer within 30 s"))? {
        Ok(Some((Reply::Started, fds))) => Ok(fds),
        Ok(Some((Reply::Failed(failure), _))) => Err(failed(id, failure)),
        Ok(Some(_) | None) => Err(died()),
        Err(source) => Err(EngineError::Io { doing: format!("start {id}"), source }),
    }
}

pub(super) fn failed(id: &InstanceId, failure: Failure) -> EngineError {
    match failure {
        Failure::Setup { step, reason } => setup(id, &step, &reason),
        Failure::Program { program, reason } => EngineError::Program { program, reason },
    }
}

pub(super) fn setup(id: &InstanceId, step: &str, reason: &str) -> EngineError {
    EngineError::Setup { id: id.clone(), step: step.to_owned(), reason: reason.to_owned() }
}

/// Makes the caller's handle of a program that runs, and of what has to be kept for it.
pub(super) fn process(
    id: &InstanceId,
    channel: Channel,
    fds: Vec<OwnedFd>,
    pipes: Pipes,
    outbound: Option<Outbound>,
) -> Result<Process, EngineError> {
    let doing = || format!("streams of {id}");
    let master = fds.into_iter().next().map(Terminal::new).transpose();
    let master = master.map_err(|source| EngineError::Io { doing: doing(), source })?;
    let streams = match (pipes.ours, &master) {
        (Some(ours), _) => pipe_streams(ours).map_err(|source| EngineError::Io { doing: doing(), source })?,
        (None, Some(master)) => Streams::Terminal { input: Box::new(master.clone()), output: Box::new(master.clone()) },
        (None, None) => return Err(setup(id, "receive the terminal", "it was not sent")),
    };
    let (id, ended, refused_processes) = (id.clone(), OnceCell::new(), AtomicBool::default());
    let control = Held { id, channel, terminal: master, ended, refused_processes, _outbound: outbound };
    Ok(Process { streams: Some(streams), control: Box::new(control) })
}

fn pipe_streams([stdin, stdout, stderr]: [OwnedFd; 3]) -> io::Result<Streams> {
    Ok(Streams::Pipes {
        stdin: Box::new(pipe::Sender::from_owned_fd(stdin)?),
        stdout: Box::new(pipe::Receiver::from_owned_fd(stdout)?),
        stderr: Box::new(pipe::Receiver::from_owned_fd(stderr)?),
    })
}

/// The engine's handle. When it is dropped its channel closes, and the other side kills the program.
struct Held {
    id: InstanceId,
    channel: Channel,
    terminal: Option<Terminal>,
    ended: OnceCell<Exit>,
    refused_processes: AtomicBool,
    /// Its way out, if nobody else looks after that.
    _outbound: Option<Outbound>,
}

#[async_trait::async_trait]
impl Control for Held {
    fn signal(&self, signal: i32) -> Result<(), EngineError> {
        if self.ended.initialized() {
            return Err(EngineError::NotRunning(self.id.clone()));
        }
        self.channel.send(Request::Signal(signal)).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => EngineError::NotRunning(self.id.clone()),
            _ => EngineError::Io { doing: format!("signal {}", self.id), source: error },
        })
    }

    fn kill(&self) -> Result<(), EngineError> {
        match self.channel.send(Request::Kill) {
            Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
                Err(EngineError::Io { doing: format!("kill {}", self.id), source })
            }
            _ => Ok(()),
        }
    }

    fn was_refused_processes(&self) -> bool {
        self.refused_processes.load(Ordering::Relaxed)
    }

    fn resize(&self, size: WindowSize) -> Result<(), EngineError> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        sys::resize_terminal(terminal.0.as_fd(), size).map_err(|error| EngineError::Io {
            doing: format!("resize the terminal of {}", self.id),
            source: error.into(),
        })
    }

    async fn wait(&self) -> Result<Exit, EngineError> {
        let exit = self.ended.get_or_try_init(|| async {
            loop {
                match self.channel.receive::<Reply>().await? {
                    Some((Reply::Ended(exit), _)) => return Ok(exit),
                    Some((Reply::ProcessesRefused, _)) => self.refused_processes.store(true, Ordering::Relaxed),
                    Some(_) => {}
                    None => return Ok(Exit::Lost),
                }
            }
        });
        exit.await.copied().map_err(|source| EngineError::Io { doing: format!("wait for {}", self.id), source })
    }
}

/// The master side of a terminal.
#[derive(Clone)]
struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    fn new(master: OwnedFd) -> io::Result<Self> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self(Arc::new(sys::watch(master)?)))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let unfilled = buffer.initialize_unfilled();
            match guard.try_io(|master| Ok(read(master.get_ref(), unfilled)?)) {
                Err(_would_block) => {}
                // EIO: the last holder inside has closed the terminal.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::EIO as i32) => return Poll::Ready(Ok(())),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Ok(Ok(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match guard.try_io(|master| Ok(write(master.get_ref(), bytes)?)) {
                Err(_would_block) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A terminal has no half-close; a program inside is told of the end of input by Ctrl-D.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
