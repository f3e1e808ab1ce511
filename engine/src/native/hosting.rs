//! The daemon's side of sandboxes that somebody else makes: a container engine makes them, airstrip's own processes
//! run in them ([`super::guest`]), and a shim stands beside each instance as it does beside airstrip's own.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Pid, Uid};
use tokio::net::{TcpSocket, TcpStream};

use super::channel::{self, Channel};
use super::door::Door;
use super::held::{self, Pipes, await_start};
use super::network::{self, Outbound};
use super::protocol::{Guest, Kind, Reply, Request, Start};
use super::{Native, SHIM, doing, probe, record};
use crate::{Ability, Command, EngineError, InstanceId, Process, Spec, WindowSize};

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

impl Native {
    /// Only the part of this engine that looks after shims; what they stand beside is made by others.
    pub(crate) fn hosting(run_dir: &Path) -> Result<Self, EngineError> {
        let mut engine = Self::over(run_dir, Uid::effective().is_root())?;
        engine.egress = probe::containers(engine.privileged);
        Ok(engine)
    }

    /// Where the instances' directories are.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The user and group outside whom the programs of `spec` run as.
    pub(crate) fn outside_user(&self, spec: &Spec) -> u32 {
        if self.privileged { spec.host_uid } else { Uid::effective().as_raw() }
    }

    /// Whether containers can have outgoing connections, or why not.
    pub(crate) fn egress(&self) -> &Ability {
        &self.egress
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

    /// Starts a one-off whose guest knocks at `door`. Its way out is there as long as the process is held.
    pub(crate) async fn attach_in(
        &self,
        id: &InstanceId,
        spec: &Spec,
        terminal: Option<WindowSize>,
        door: &Path,
        host: &dyn Host,
    ) -> Result<Process, EngineError> {
        let start = self.start(spec, Kind::OneOff { terminal }, id)?;
        let (guest, pid) = admitted(id, door, host).await?;
        let adopted = tokio::task::spawn_blocking(move || {
            network::adopt(&start, pid, guest.as_fd()).map(|outbound| (guest, start.user(), outbound))
        });
        let adopted = adopted.await.map_err(|error| starting(id)(io::Error::other(error)))?;
        let (guest, user, outbound) = adopted.map_err(|failure| held::failed(id, failure))?;
        let (symlinks, command) = (spec.symlinks.clone(), spec.command.clone());
        let job = Guest { first: true, symlinks, command, terminal, open_files: spec.limits.open_files };
        begin(id, guest, &job, user, outbound).await
    }

    /// Starts one more program in an instance, whose guest knocks at `door`.
    pub(crate) async fn exec_in(
        &self,
        id: &InstanceId,
        command: &Command,
        terminal: Option<WindowSize>,
        door: &Path,
        host: &dyn Host,
    ) -> Result<Process, EngineError> {
        let bounds = self.bounds(id)?;
        let (guest, _) = admitted(id, door, host).await?;
        let job = Guest {
            first: false,
            symlinks: Vec::new(),
            command: command.clone(),
            terminal,
            open_files: bounds.open_files,
        };
        begin(id, guest, &job, bounds.user, None).await
    }

    /// Fails unless the instance runs.
    pub(crate) async fn check_running(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.find(id).await.map(drop)
    }

    /// Connects to a port on the loopback of an instance that has a network of its own.
    pub(crate) async fn connect_in(&self, id: &InstanceId, port: u16) -> io::Result<TcpStream> {
        let (pid, _) = self.find(id).await.map_err(io::Error::other)?;
        match connect(pid, Ipv4Addr::LOCALHOST.into(), port).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Where the family is switched off, that is the answer.
                connect(pid, Ipv6Addr::LOCALHOST.into(), port).await.map_err(|_| error)
            }
            first => first,
        }
    }

    /// Fails if the instance is not there or still runs.
    pub(crate) fn check_ended(&self, id: &InstanceId) -> Result<(), EngineError> {
        let dir = self.dir(id);
        let ended = record::read_exit(&dir).map_err(doing("read", &dir))?.is_some();
        if !dir.exists() {
            return Err(EngineError::Unknown(id.clone()));
        }
        if !ended && channel::has_shim(&dir).map_err(doing("reach the shim in", &dir))? {
            return Err(doing("remove", &dir)(io::ErrorKind::ResourceBusy.into()));
        }
        Ok(())
    }
}

/// By a socket made in the network of a process, by a thread that goes there and does not come back.
async fn connect(pid: i32, ip: IpAddr, port: u16) -> io::Result<TcpStream> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        let network = File::open(format!("/proc/{pid}/ns/net"));
        let made = network.and_then(|network| {
            setns(network, CloneFlags::CLONE_NEWNET)?;
            if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
        });
        let _ = tell.send(made);
    })?;
    told.await.map_err(io::Error::other)??.connect((ip, port).into()).await
}

async fn launched(shim: &Channel, id: &InstanceId, host: &dyn Host) -> Result<(), EngineError> {
    let listening = tokio::time::timeout(ANSWER_LIMIT, expect(shim, id, Reply::Listening)).await;
    listening.unwrap_or_else(|_| Err(held::setup(id, "start the shim", "no answer within 10 s")))?;
    host.make().await?;
    tokio::select! {
        biased;
        admitted = expect(shim, id, Reply::Admitted) => admitted?,
        error = host.ended() => return Err(error),
    }
    // From here on the shim knows better than the host why it failed.
    await_start(shim, id).await.map(drop)
}

/// Waits until the shim says so.
async fn expect(shim: &Channel, id: &InstanceId, expected: Reply) -> Result<(), EngineError> {
    match shim.receive::<Reply>().await {
        Ok(Some((reply, _))) if reply == expected => Ok(()),
        Ok(Some((Reply::Failed(failure), _))) => Err(held::failed(id, failure)),
        Ok(_) => Err(held::setup(id, "start the shim", "it ended without an answer")),
        Err(source) => Err(EngineError::Io { doing: format!("start {id}"), source }),
    }
}

/// Has the shim give up, and waits until it has tidied up.
async fn dismiss(shim: &Channel) {
    let _ = shim.send(Request::Kill);
    let gone = async { while let Ok(Some(_)) = shim.receive::<Reply>().await {} };
    let _ = tokio::time::timeout(ANSWER_LIMIT, gone).await;
}

/// Has a guest started, and waits until it knocks at `door`. Also tells its number.
async fn admitted(id: &InstanceId, door: &Path, host: &dyn Host) -> Result<(OwnedFd, Pid), EngineError> {
    let door = Door::open(door).map_err(starting(id))?;
    host.make().await?;
    tokio::select! {
        biased;
        admitted = door.admitted() => admitted.map_err(starting(id)),
        error = host.ended() => Err(error),
    }
}

/// Has a guest start a program, its streams in the caller's hands, which keep `outbound`, too.
async fn begin(
    id: &InstanceId,
    guest: OwnedFd,
    job: &Guest,
    user: Option<u32>,
    outbound: Option<Outbound>,
) -> Result<Process, EngineError> {
    let channel = Channel::new(guest).map_err(starting(id))?;
    let mut pipes = Pipes::new(job.terminal.is_some(), user).map_err(starting(id))?;
    let theirs = std::mem::take(&mut pipes.theirs);
    let fds: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
    channel.send_job(job, &fds).map_err(starting(id))?;
    drop(theirs);
    let fds = await_start(&channel, id).await?;
    held::process(id, channel, fds, pipes, outbound)
}

fn starting(id: &InstanceId) -> impl Fn(io::Error) -> EngineError + '_ {
    move |source| EngineError::Io { doing: format!("start a program in {id}"), source }
}
