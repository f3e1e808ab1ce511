//! The engine that needs nothing but the kernel: namespaces, mounts, capabilities, seccomp, Landlock.
//!
//! What happens for a program, from the outside to the inside:
//!
//! - [`Native`], in the daemon, runs the daemon's own binary again as a *shim* (`shim`).
//! - The shim starts the sandbox's *first process* in new namespaces (`sandbox`), which builds the file tree
//!   (`mounts`, `base`), becomes user 1000 without privileges (`identity`, `seccomp`),
//!   starts the program (`program`), behind a second wall (`landlock`), and looks after it (`init`).
//! - A further program in the same sandbox is started by a *joining process* (`join`).
//!
//! An instance's shim outlives the daemon and answers on a socket in its directory, where `record`s are kept, too. There a
//! later daemon finds it again (`instances`).
//!
//! Every sandbox has a network of its own (`network`), and its use of the machine is bounded by a control group (`cgroup`).

pub(crate) mod base;
mod cgroup;
mod channel;
mod door;
mod guest;
mod held;
pub(crate) mod hosting;
mod identity;
mod init;
mod instances;
mod join;
mod landlock;
mod listening;
mod log;
mod memory;
mod mounts;
mod namespaces;
mod network;
mod probe;
mod program;
mod protocol;
mod record;
mod relay;
mod sandbox;
mod seccomp;
mod shim;
pub(crate) mod sys;

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::unistd::Uid;
use tokio::net::TcpStream;

use cgroup::{Controller, Groups};
use channel::Channel;
use held::{Pipes, await_start};
use identity::processes_are_counted_by_namespace;
use network::{Inbound, Stash};
use protocol::{Join, Kind, Reply, Request, Start};
use record::Record;

use crate::{
    Abilities, Ability, Command, Egress, Engine, EngineError, Exit, InstanceId, Listed, Process, Spec, WindowSize,
};

/// First argument of a process that is a shim.
const SHIM: &str = "airstrip-shim";
/// First argument of a process that joins a sandbox.
const JOIN: &str = "airstrip-join";
/// First argument of a process that carries what a sandbox sends outside.
const RELAY: &str = "airstrip-relay";
/// In the environment of all three: a binary whose `main` forgot [`run_if_child`] notices instead of starting itself for ever.
const CHILD_MARK: &str = "AIRSTRIP_CHILD";

/// A shim answers at once, unless someone has stopped it.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Before one more try to reach a shim that has too many callers.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Runs as a shim, an init, a joining program or a relay if this process was started as one by [`Native`]; otherwise returns.
/// Call it first thing in `main`, before any thread exists.
pub fn run_if_child() {
    let name = std::env::args_os().next().unwrap_or_default();
    let result = match name.to_str() {
        Some(SHIM) => shim::main(),
        Some(JOIN) => join::main(),
        Some(RELAY) => network::relay_main(),
        Some(hosting::GUEST) => guest::main(),
        _ => return,
    };
    std::process::exit(i32::from(result.is_err()))
}

/// See the module.
#[derive(Debug)]
pub struct Native {
    run_dir: PathBuf,
    privileged: bool,
    /// Whether sandboxes can have outgoing connections, or why not.
    egress: Ability,
    groups: Groups,
    inbound: Inbound,
}

impl Native {
    /// Opens the engine whose instances live in `run_dir`, which is made if it is missing. Tries a sandbox, and fails with
    /// [`EngineError::Unsupported`] if the machine does not permit it.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the engine keeps the directory; that it keeps another spelling of it is no one's concern"
    )]
    pub fn new(run_dir: PathBuf) -> Result<Self, EngineError> {
        let privileged = Uid::effective().is_root();
        let mut engine = Self::over(&run_dir, privileged)?;
        engine.groups = Groups::find(&engine.run_dir, privileged);
        engine.groups.sweep();
        engine.egress = probe::probe(&engine.run_dir, privileged)?;
        Ok(engine)
    }

    fn over(run_dir: &Path, privileged: bool) -> Result<Self, EngineError> {
        if std::env::var_os(CHILD_MARK).is_some() {
            return Err(EngineError::Unsupported(
                "the binary's main does not call engine::native::run_if_child".to_owned(),
            ));
        }
        let run_dir = prepare(run_dir).map_err(doing("open", run_dir))?;
        let engine =
            Self { run_dir, privileged, egress: Ok(()), groups: Groups::default(), inbound: Inbound::default() };
        engine.sweep().map_err(doing("clean up", &engine.run_dir))?;
        Ok(engine)
    }

    fn dir(&self, id: &InstanceId) -> PathBuf {
        self.run_dir.join(id.as_str())
    }

    /// Where connections can go: nowhere if there is no way out.
    pub(crate) fn permitted(&self, spec: &Spec) -> Egress {
        if self.egress.is_err() { Egress::None } else { spec.egress }
    }

    fn start(&self, spec: &Spec, kind: Kind, id: &InstanceId) -> Result<Start, EngineError> {
        if self.privileged && spec.host_uid == 0 {
            let (step, reason) = ("host_uid 0".to_owned(), "a sandbox cannot run as root".to_owned());
            return Err(EngineError::Setup { id: id.clone(), step, reason });
        }
        let (run_dir, privileged) = (self.run_dir.clone(), self.privileged);
        let spec = Spec { egress: self.permitted(spec), ..spec.clone() };
        let (group, ipv6) = (self.groups.plan(id.as_str()), network::host_has_ipv6());
        let uncounted = self.groups.ability(Controller::Pids).is_err() && processes_are_counted_by_namespace();
        let processes = spec.limits.pids.filter(|_| uncounted);
        Ok(Start { run_dir, privileged, spec, kind, group, processes, ipv6, door: None })
    }

    /// What makes sockets in an instance's network; `None` if that is the host's.
    fn way_in(&self, id: &InstanceId) -> io::Result<Option<Arc<Stash>>> {
        if let Some(stash) = self.inbound.get(id) {
            return Ok(Some(stash));
        }
        let dir = self.dir(id);
        let record = Record::read(&dir)?.ok_or(io::ErrorKind::NotFound)?;
        if !record.has_network() {
            return Ok(None);
        }
        let shim = Channel::connect(&dir)?.ok_or(io::ErrorKind::ConnectionRefused)?;
        Ok(Some(self.inbound.put(id, shim.serve()?)))
    }
}

#[async_trait]
impl Engine for Native {
    async fn launch(&self, id: &InstanceId, spec: &Spec, labels: &str) -> Result<(), EngineError> {
        let dir = self.dir(id);
        let start = self.start(spec, Kind::Instance { id: id.clone(), labels: labels.to_owned() }, id)?;
        DirBuilder::new().mode(0o700).create(&dir).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => EngineError::Exists(id.clone()),
            _ => doing("create", &dir)(source),
        })?;
        let started = match Channel::spawn(SHIM, &start, &[]) {
            Ok(channel) => await_start(&channel, id).await.map(drop),
            Err(source) => Err(EngineError::Io { doing: format!("start the shim of {id}"), source }),
        };
        if started.is_err() {
            let _ = fs::remove_dir_all(&dir);
        }
        started
    }

    async fn attach(&self, id: &InstanceId, spec: &Spec, terminal: Option<WindowSize>) -> Result<Process, EngineError> {
        let start = self.start(spec, Kind::OneOff { terminal }, id)?;
        let io = |source| EngineError::Io { doing: format!("start the shim of {id}"), source };
        let mut pipes = Pipes::new(terminal.is_some(), start.user()).map_err(io)?;
        let theirs = std::mem::take(&mut pipes.theirs);
        let fds: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        let channel = Channel::spawn(SHIM, &start, &fds).map_err(io)?;
        drop(theirs);
        let fds = await_start(&channel, id).await?;
        held::process(id, channel, fds, pipes, None)
    }

    async fn exec(
        &self,
        id: &InstanceId,
        command: &Command,
        terminal: Option<WindowSize>,
    ) -> Result<Process, EngineError> {
        let (_, sandbox) = self.find(id).await?;
        let io = |source| EngineError::Io { doing: format!("join {id}"), source };
        let namespaces = sandbox.len();
        let bounds = self.bounds(id)?;
        if bounds.group.is_frozen().unwrap_or(false) {
            return Err(held::setup(id, "join it", "it is frozen"));
        }
        let job = Join { privileged: self.privileged, namespaces, bounds, command: command.clone(), terminal };
        let mut pipes = Pipes::new(terminal.is_some(), job.bounds.user).map_err(io)?;
        let theirs = std::mem::take(&mut pipes.theirs);
        let fds: Vec<_> = sandbox.iter().chain(&theirs).map(AsFd::as_fd).collect();
        let channel = Channel::spawn(JOIN, &job, &fds).map_err(io)?;
        drop(theirs);
        let fds = await_start(&channel, id).await?;
        held::process(id, channel, fds, pipes, None)
    }

    async fn connect(&self, id: &InstanceId, port: u16) -> io::Result<TcpStream> {
        let Some(stash) = self.way_in(id)? else {
            return TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).await;
        };
        let connected = stash.connect(port).await;
        connected.unwrap_or_else(|error| {
            self.inbound.forget(id);
            Err(error)
        })
    }

    async fn listening(&self, id: &InstanceId) -> Result<Vec<SocketAddr>, EngineError> {
        let (pid, _) = self.find(id).await?;
        let dir = self.dir(id);
        let own = Record::read(&dir).map_err(doing("read", &dir))?.is_some_and(|record| record.has_network());
        let looked = tokio::task::spawn_blocking(move || listening::addresses(pid, own)).await;
        let found = looked.unwrap_or_else(|error| Err(io::Error::other(error)));
        found.map_err(|source| EngineError::Io { doing: format!("look for the sockets of {id}"), source })
    }

    async fn wait(&self, id: &InstanceId) -> Result<Exit, EngineError> {
        let dir = self.dir(id);
        while let Some(shim) = self.shim(id).await? {
            if shim.send(Request::Wait).is_ok()
                && let Ok(Some((Reply::Ended(exit), _))) = shim.receive::<Reply>().await
            {
                self.inbound.forget(id);
                return Ok(exit);
            }
            if channel::has_shim(&dir).map_err(doing("reach the shim in", &dir))? {
                // It has as many callers as it admits.
                tokio::time::sleep(BUSY_PAUSE).await;
            }
        }
        let exit = self.ended(id).await;
        self.inbound.forget(id);
        exit
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<Exit, EngineError> {
        let Some(shim) = self.shim(id).await? else { return self.ended(id).await };
        let _ = shim.send(Request::Stop);
        if let Ok(exit) = tokio::time::timeout(grace, self.wait(id)).await {
            return exit;
        }
        let _ = shim.send(Request::Kill);
        if let Ok(exit) = tokio::time::timeout(ANSWER_LIMIT, self.wait(id)).await {
            return exit;
        }
        // Somebody has stopped it. Its end is the instance's.
        shim.kill_peer().map_err(doing("end the shim in", &self.dir(id)))?;
        self.wait(id).await
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError> {
        let dir = self.dir(id);
        self.check_ended(id)?;
        // If its shim could not.
        self.bounds(id)?.group.remove();
        self.inbound.forget(id);
        fs::remove_dir_all(&dir).map_err(doing("remove", &dir))
    }

    async fn freeze(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.groups.ability(Controller::Freezer).map_err(EngineError::Unsupported)?;
        self.find(id).await?;
        let group = self.bounds(id)?.group;
        if !group.is_freezable() {
            return Err(held::setup(id, "freeze it", "it was started without a control group"));
        }
        let frozen = group.freeze().await;
        frozen.map_err(|source| EngineError::Io { doing: format!("freeze {id}"), source })
    }

    async fn thaw(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.find(id).await?;
        let thawed = self.bounds(id)?.group.thaw();
        thawed.map_err(|source| EngineError::Io { doing: format!("thaw {id}"), source })
    }

    fn abilities(&self) -> Abilities {
        let [memory, cpu, pids, freeze] = Controller::ALL.map(|controller| self.groups.ability(controller));
        let pids = pids.or_else(|reason| processes_are_counted_by_namespace().then_some(()).ok_or(reason));
        Abilities { memory, cpu, pids, freeze, egress: self.egress.clone() }
    }

    async fn list(&self) -> Result<Vec<Listed>, EngineError> {
        let mut ids = self.ids().map_err(doing("read", &self.run_dir))?;
        ids.sort_unstable();
        let mut all = Vec::new();
        for id in ids {
            all.extend(self.listed(id).await?);
        }
        Ok(all)
    }
}

fn prepare(run_dir: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(run_dir)?;
    fs::set_permissions(run_dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    run_dir.canonicalize()
}

fn doing<'a>(verb: &'a str, path: &'a Path) -> impl Fn(io::Error) -> EngineError + 'a {
    move |source| EngineError::Io { doing: format!("{verb} {}", path.display()), source }
}
