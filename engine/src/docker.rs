//! The engine that has a Docker engine make its sandboxes.
//!
//! Docker makes the container: its file tree, its control groups, its confinement. In it runs no program of Docker's but
//! this binary (`native::guest`), which starts the program and looks after it as in airstrip's own sandboxes, and beside
//! each instance stands the same shim. So streams, terminals, signals, exit statuses, logs and the ways in are those of
//! [`Native`], to the letter; and the environment, which may be secret, never passes through Docker.
//!
//! Docker gives containers no network but loopback; the way out that airstrip's own sandboxes have is set up from outside by the
//! shim, or by this process for what it holds itself.
//!
//! What differs: `app` inside has the number that the user has outside, because Docker maps no users for one container;
//! and what is written over [`crate::MountKind::Scratch`] lies on the disk, where Docker bounds nothing.
//!
//! Only an engine on this machine will do, reached through its socket: directories and sockets of this host are shown inside.

mod base;
mod client;
mod container;
mod files;
mod image;
mod layer;
mod shims;
mod transfer;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub use shims::Shims;
pub use transfer::{ImagePart, ImageSpec};

use base::Base;
use client::{Client, Container, Inside, Kind};
use files::Files;

use crate::native::Native;
use crate::{Abilities, Command, Control, Engine, EngineError, Exit, InstanceId, Listed, Process, Spec, WindowSize};

/// See the module.
pub struct Docker {
    client: Arc<Client>,
    /// The shims beside the instances.
    shims: Native,
    base: Base,
    /// Watches for want of memory.
    watch: JoinHandle<()>,
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl std::fmt::Debug for Docker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Docker").field("shims", &self.shims).finish_non_exhaustive()
    }
}

impl Docker {
    /// Opens the engine at `DOCKER_HOST`, or at Docker's usual socket. Its instances' directories are in `run_dir`, which is
    /// made if it is missing. `base` is the image that programs find around them, which must be able to run this
    /// machine's programs; without one they find this machine's own system.
    pub async fn open(run_dir: PathBuf, base: Option<&str>) -> Result<Self, EngineError> {
        let shims = Native::hosting(&run_dir)?;
        files::prepare(shims.run_dir()).map_err(|source| doing(&run_dir, source))?;
        let client = Arc::new(Client::connect(shims.run_dir(), shims.egress().clone()).await?);
        let base = match base {
            Some(image) => Base::image(&client, image).await?,
            None => Base::host(&client, shims.run_dir()).await?,
        };
        let watcher = Arc::clone(&client);
        let watch = tokio::spawn(async move { watcher.end_what_needs_more_memory().await });
        let engine = Self { client, shims, base, watch };
        engine.sweep().await?;
        Ok(engine)
    }

    /// Removes what an earlier daemon did not live to remove.
    async fn sweep(&self) -> Result<(), EngineError> {
        let mut kept = HashSet::new();
        for left in self.client.containers().await? {
            let gone = match &left.kind {
                Kind::Instance(id) => !self.shims.instance_dir(id).exists(),
                // A running one belongs to a living daemon: it ends with whoever holds it.
                Kind::OneOff => left.ended,
            };
            if gone {
                self.client.remove(&left.name).await?;
                if let (Kind::OneOff, Some(dir)) = (&left.kind, self.client.one_off_dir(&left.name)) {
                    let _ = std::fs::remove_dir_all(self.shims.run_dir().join(dir));
                }
            } else {
                kept.insert(left.name);
            }
        }
        let in_use = |dir: &Path| kept.contains(&self.client.one_off_name(dir));
        files::sweep(self.shims.run_dir(), in_use).map_err(|source| doing(self.shims.run_dir(), source))
    }

    fn files(&self, id: &InstanceId, dir: PathBuf, spec: &Spec) -> Result<Files, EngineError> {
        if self.shims.outside_user(spec) == 0 {
            let (step, reason) = ("host_uid 0".to_owned(), "a sandbox cannot run as root".to_owned());
            return Err(EngineError::Setup { id: id.clone(), step, reason });
        }
        Files::make(dir, self.shims.run_dir(), spec, self.shims.permitted(spec), self.shims.outside_user(spec)).map_err(
            |source| EngineError::Setup {
                id: id.clone(),
                step: "make its files".to_owned(),
                reason: source.to_string(),
            },
        )
    }

    fn container<'a>(&'a self, id: &'a InstanceId, name: String, body: container::Body) -> Container<'a> {
        Container { client: &self.client, id, name, body }
    }

    /// How an instance ended: a killed one may have needed more memory than it had.
    async fn verdict(&self, id: &InstanceId, told: Exit) -> Exit {
        self.client.verdict(&self.client.name(id), told).await
    }
}

#[async_trait]
impl Engine for Docker {
    async fn launch(&self, id: &InstanceId, spec: &Spec, labels: &str) -> Result<(), EngineError> {
        let dir = self.shims.instance_dir(id);
        files::make_private(&dir).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => EngineError::Exists(id.clone()),
            _ => doing(&dir, source),
        })?;
        let started = async {
            let files = self.files(id, dir.join(files::OWN), spec)?;
            let body =
                container::body(&self.base, spec, &files, self.client.labels(id, labels)).map_err(refused(id))?;
            let container = self.container(id, self.client.name(id), body);
            let started = self.shims.launch_in(id, spec, labels, files.door(files::FIRST), &container).await;
            if started.is_err() {
                let _ = self.client.remove(&container.name).await;
            }
            started
        };
        let started = started.await;
        if started.is_err() {
            let _ = std::fs::remove_dir_all(&dir);
        }
        started
    }

    async fn attach(&self, id: &InstanceId, spec: &Spec, terminal: Option<WindowSize>) -> Result<Process, EngineError> {
        let dir = files::one_off(self.shims.run_dir()).map_err(|source| doing(self.shims.run_dir(), source))?;
        let name = self.client.one_off_name(&dir);
        let holder = Holder { client: Arc::clone(&self.client), name: name.clone(), dir: dir.clone() };
        let files = self.files(id, dir, spec)?;
        let body = container::body(&self.base, spec, &files, self.client.one_off_labels()).map_err(refused(id))?;
        let container = self.container(id, name, body);
        let process = self.shims.attach_in(id, spec, terminal, &files.door(files::FIRST), &container).await?;
        Ok(Process { streams: process.streams, control: Box::new(OneOff { inner: process.control, holder }) })
    }

    async fn exec(
        &self,
        id: &InstanceId,
        command: &Command,
        terminal: Option<WindowSize>,
    ) -> Result<Process, EngineError> {
        self.shims.check_running(id).await?;
        let files = Files::of(self.shims.instance_dir(id).join(files::OWN));
        let name = files::random_name().map_err(|source| doing(self.shims.run_dir(), source))?;
        let inside = Inside::new(&self.client, id, name.clone());
        self.shims.exec_in(id, command, terminal, &files.door(&name), &inside).await
    }

    async fn connect(&self, id: &InstanceId, port: u16) -> io::Result<TcpStream> {
        self.shims.connect_in(id, port).await
    }

    async fn listening(&self, id: &InstanceId) -> Result<Vec<SocketAddr>, EngineError> {
        self.shims.listening(id).await
    }

    async fn wait(&self, id: &InstanceId) -> Result<Exit, EngineError> {
        let told = self.shims.wait(id).await?;
        Ok(self.verdict(id, told).await)
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<Exit, EngineError> {
        // What is frozen hears no signal.
        let _ = self.client.thaw(&self.client.name(id)).await;
        let told = self.shims.stop(id, grace).await?;
        Ok(self.verdict(id, told).await)
    }

    async fn freeze(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.shims.check_running(id).await?;
        self.client.freeze(&self.client.name(id)).await
    }

    async fn thaw(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.shims.check_running(id).await?;
        self.client.thaw(&self.client.name(id)).await
    }

    fn abilities(&self) -> Abilities {
        self.client.abilities.clone()
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.shims.check_ended(id)?;
        self.client.remove(&self.client.name(id)).await?;
        self.shims.remove(id).await
    }

    async fn list(&self) -> Result<Vec<Listed>, EngineError> {
        let mut all = self.shims.list().await?;
        for listed in &mut all {
            if let Some(told) = listed.exit {
                listed.exit = Some(self.verdict(&listed.id, told).await);
            }
        }
        Ok(all)
    }
}

/// Whoever holds this keeps a one-off's container.
struct Holder {
    client: Arc<Client>,
    name: String,
    dir: PathBuf,
}

impl Drop for Holder {
    /// The container ends by itself: the guest notices that nobody holds it. It is removed aside; what is not removed
    /// before the daemon ends is swept by the next.
    fn drop(&mut self) {
        let (client, name, dir) = (Arc::clone(&self.client), self.name.clone(), self.dir.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = client.remove(&name).await;
                let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(dir)).await;
            });
        }
    }
}

/// [`Native`]'s handle, and the container that is to be removed with it.
struct OneOff {
    // In this order: the guest is let go of before its container is removed.
    inner: Box<dyn Control>,
    holder: Holder,
}

#[async_trait]
impl Control for OneOff {
    fn kill(&self) -> Result<(), EngineError> {
        self.inner.kill()
    }

    fn was_refused_processes(&self) -> bool {
        self.inner.was_refused_processes()
    }

    fn signal(&self, signal: i32) -> Result<(), EngineError> {
        self.inner.signal(signal)
    }

    fn resize(&self, size: WindowSize) -> Result<(), EngineError> {
        self.inner.resize(size)
    }

    async fn wait(&self) -> Result<Exit, EngineError> {
        let told = self.inner.wait().await?;
        Ok(self.holder.client.verdict(&self.holder.name, told).await)
    }
}

fn refused(id: &InstanceId) -> impl Fn(container::Refused) -> EngineError + '_ {
    move |container::Refused { step, reason }| EngineError::Setup { id: id.clone(), step, reason }
}

fn doing(path: &Path, source: io::Error) -> EngineError {
    EngineError::Io { doing: format!("work in {}", path.display()), source }
}
