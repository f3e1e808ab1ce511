//! The daemon's side of sandboxes that somebody else makes: a container engine makes them, airstrip's own processes
//! run in them ([`super::guest`]), and a shim stands beside each instance as it does beside airstrip's own.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use nix::sched::{CloneFlags, setns};
use nix::unistd::Uid;
use tokio::net::{TcpSocket, TcpStream};

use super::channel::Channel;
use super::door::Door;
use super::held::{self, Pipes, await_start};
use super::protocol::{Guest, Kind, Reply, Request, Start};
use super::{Native, SHIM, doing, record};
use crate::{Command, EngineError, InstanceId, Process, Spec, Symlink, WindowSize};

/// First argument of a process that a container engine starts; and its path inside.
pub(crate) const GUEST: &str = "/.airstrip/init";

/// A shim answers at once, unless someone has stopped it.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Somebody who makes a sandbox and starts [`GUEST`] in it.
#[async_trait]
pub(crate) trait Host: Sync {
    /// Makes it and starts the guest.
    async fn make(&self) -> Result<(), EngineError>;
    /// Waits until the guest has ended, and says what it left.
    async fn ended(&self) -> EngineError;
}

/// What a guest is to run.
pub(crate) struct Job<'a> {
    pub(crate) first: bool,
    pub(crate) symlinks: &'a [Symlink],
    pub(crate) command: &'a Command,
    pub(crate) terminal: Option<WindowSize>,
    pub(crate) open_files: u64,
}

impl Native {
    /// Only the part of this engine that looks after shims; what they stand beside is made by others.
    pub(crate) fn hosting(run_dir: &Path) -> Result<Self, EngineError> {
        Self::over(run_dir, Uid::effective().is_root())
    }

    /// Where the instances' directories are.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The user and group outside whom the programs of `spec` run as.
    pub(crate) fn outside_user(&self, spec: &Spec) -> u32 {
        if self.privileged { spec.host_uid } else { Uid::effective().as_raw() }
    }

    /// The directory of an instance, which may not be there.
    pub(crate) fn instance_dir(&self, id: &InstanceId) -> PathBuf {
        self.dir(id)
    }

    /// Starts an instance whose guest knocks at `door`. Whatever fails, its directory is gone when this returns.
    pub(crate) async fn launch_in(
        &self,
        id: &InstanceId,
        spec: &Spec,
        labels: &str,
        door: PathBuf,
        host: &dyn Host,
    ) -> Result<(), EngineError> {
        let kind = Kind::Instance { id: id.clone(), labels: labels.to_owned() };
        let start = Start { door: Some(door), ..self.start(spec, kind, id)? };
        let shim = Channel::spawn(SHIM, &start, &[]);
        let shim = shim.map_err(|source| EngineError::Io { doing: format!("start the shim of {id}"), source })?;
        let started = launched(&shim, id, host).await;
        if started.is_err() {
            dismiss(&shim).await;
            let _ = std::fs::remove_dir_all(self.dir(id));
        }
        started
    }

    /// How many files each program in an instance may hold open.
    pub(crate) fn open_files(&self, id: &InstanceId) -> Result<u64, EngineError> {
        self.bounds(id).map(|bounds| bounds.open_files)
    }

    /// Fails unless the instance runs.
    pub(crate) async fn check_running(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.find(id).await.map(drop)
    }

    /// Connects to a port on the loopback of an instance that has a network of its own.
    pub(crate) async fn connect_in(&self, id: &InstanceId, port: u16) -> io::Result<TcpStream> {
        let (pid, _) = self.find(id).await.map_err(io::Error::other)?;
        socket_in(pid).await?.connect((Ipv4Addr::LOCALHOST, port).into()).await
    }

    /// Fails if the instance is not there or still runs.
    pub(crate) fn check_ended(&self, id: &InstanceId) -> Result<(), EngineError> {
        let dir = self.dir(id);
        let ended = record::read_exit(&dir).map_err(doing("read", &dir))?.is_some();
        if self.shim(id)?.is_some() && !ended {
            return Err(doing("remove", &dir)(io::ErrorKind::ResourceBusy.into()));
        }
        Ok(())
    }
}

/// A socket made in the network of a process, by a thread that goes there and does not come back.
async fn socket_in(pid: i32) -> io::Result<TcpSocket> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        let network = File::open(format!("/proc/{pid}/ns/net"));
        let made = network.and_then(|network| {
            setns(network, CloneFlags::CLONE_NEWNET)?;
            TcpSocket::new_v4()
        });
        let _ = tell.send(made);
    })?;
    told.await.map_err(io::Error::other)?
}

async fn launched(shim: &Channel, id: &InstanceId, host: &dyn Host) -> Result<(), EngineError> {
    let first = tokio::time::timeout(ANSWER_LIMIT, shim.receive::<Reply>()).await;
    match first.map_err(|_| held::setup(id, "start the shim", "no answer within 10 s"))? {
        Ok(Some((Reply::Listening, _))) => {}
        Ok(Some((Reply::Failed(failure), _))) => return Err(held::failed(id, failure)),
        Ok(_) => return Err(held::setup(id, "start the shim", "it ended without an answer")),
        Err(source) => return Err(EngineError::Io { doing: format!("start {id}"), source }),
    }
    host.make().await?;
    tokio::select! {
        biased;
        started = await_start(shim, id) => started.map(drop),
        error = host.ended() => Err(error),
    }
}

/// Has the shim give up, and waits until it has tidied up.
async fn dismiss(shim: &Channel) {
    let _ = shim.send(Request::Kill);
    let gone = async { while let Ok(Some(_)) = shim.receive::<Reply>().await {} };
    let _ = tokio::time::timeout(ANSWER_LIMIT, gone).await;
}

/// Starts a program whose guest knocks at `door`, its streams in the caller's hands.
pub(crate) async fn start_in(
    id: &InstanceId,
    job: &Job<'_>,
    door: &Path,
    host: &dyn Host,
) -> Result<Process, EngineError> {
    let io = |source| EngineError::Io { doing: format!("start a program in {id}"), source };
    let door = Door::open(door).map_err(io)?;
    host.make().await?;
    let channel = tokio::select! {
        biased;
        admitted = door.admitted() => admitted.map_err(io)?,
        error = host.ended() => return Err(error),
    };
    drop(door);
    let mut pipes = Pipes::new(job.terminal.is_some()).map_err(io)?;
    let theirs = std::mem::take(&mut pipes.theirs);
    let fds: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
    let (symlinks, command) = (job.symlinks.to_vec(), job.command.clone());
    let Job { first, terminal, open_files, .. } = *job;
    channel.send_job(&Guest { first, symlinks, command, terminal, open_files }, &fds).map_err(io)?;
    drop(theirs);
    let fds = await_start(&channel, id).await?;
    held::process(id, channel, fds, pipes)
}
