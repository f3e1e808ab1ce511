//! The engines of this server, behind one: `native` is always there, `docker` is opened when an app first asks for it.
//!
//! Which engine runs an instance is decided when it is started ([`Engines::named`]); afterwards its name leads to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use engine::docker::{Docker, Shims};
use engine::native::Native;
use engine::{Abilities, Command, Engine, EngineError, Exit, InstanceId, Listed, Process, Spec, WindowSize};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::limits::Resource;

/// What an app's instances run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineName {
    /// Airstrip's own sandboxes.
    #[default]
    Native,
    /// Containers of the machine's Docker engine.
    Docker,
}

impl EngineName {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Docker => "docker",
        }
    }
}

impl std::fmt::Display for EngineName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no engine: native or docker")]
pub struct NoSuchEngine(String);

impl std::str::FromStr for EngineName {
    type Err = NoSuchEngine;
    fn from_str(text: &str) -> Result<Self, NoSuchEngine> {
        [Self::Native, Self::Docker].into_iter().find(|name| name.as_str() == text).ok_or(NoSuchEngine(text.to_owned()))
    }
}

/// See the module. What it is asked to start without a name it starts natively: builds.
#[derive(Debug)]
pub struct Engines {
    native: Native,
    docker: OnceCell<Docker>,
    /// What stands for `docker` while no Docker engine answers.
    shims: OnceLock<Shims>,
    docker_dir: PathBuf,
    docker_base: Option<String>,
}

impl Engines {
    /// Instances of `docker` have their directories in `docker_dir`; `docker_base` is the image they find around them, without
    /// which they see this machine's system.
    pub fn new(native: Native, docker_dir: PathBuf, docker_base: Option<String>) -> Self {
        warn_of_lacking(EngineName::Native, &native.abilities());
        Self { native, docker: OnceCell::new(), shims: OnceLock::new(), docker_dir, docker_base }
    }

    /// The engine of this name, or why this machine does not have it.
    pub async fn named(&self, name: EngineName) -> Result<&dyn Engine, EngineError> {
        Ok(match name {
            EngineName::Native => &self.native,
            EngineName::Docker => self.docker().await?,
        })
    }

    async fn docker(&self) -> Result<&Docker, EngineError> {
        let open = || {
            Box::pin(async {
                let docker = Docker::open(self.docker_dir.clone(), self.docker_base.as_deref()).await?;
                warn_of_lacking(EngineName::Docker, &docker.abilities());
                Ok(docker)
            })
        };
        self.docker.get_or_try_init(open).await
    }

    /// What this machine lets the engine of this name enforce, or why nothing runs in it.
    pub async fn abilities_of(&self, name: EngineName) -> Abilities {
        match self.named(name).await {
            Ok(engine) => engine.abilities(),
            Err(error) => Abilities::none(&error.to_string()),
        }
    }

    /// The limits that the engine of this name does not enforce on this machine, and why.
    pub async fn unenforced(&self, name: EngineName) -> Vec<(Resource, String)> {
        let Abilities { memory, cpu, pids, .. } = self.abilities_of(name).await;
        let code = match name {
            EngineName::Native => Ok(()),
            EngineName::Docker => Err("Docker does not bound what is written over the code".to_owned()),
        };
        let all = [(Resource::Memory, memory), (Resource::Cpu, cpu), (Resource::Pids, pids), (Resource::Code, code)];
        all.into_iter().filter_map(|(resource, ability)| Some((resource, ability.err()?))).collect()
    }

    /// Who knows this instance.
    fn place_of(&self, id: &InstanceId) -> EngineName {
        if self.docker_dir.join(id.as_str()).exists() { EngineName::Docker } else { EngineName::Native }
    }

    /// The engine that runs this instance, or has run it. While no Docker engine answers, the shim beside a container
    /// still waits for it, reaches it and ends it.
    fn of(&self, id: &InstanceId) -> Result<&dyn Engine, EngineError> {
        Ok(match (self.place_of(id), self.docker.get()) {
            (EngineName::Native, _) => &self.native,
            (EngineName::Docker, Some(docker)) => docker,
            (EngineName::Docker, None) => self.shims()?,
        })
    }

    async fn list_docker(&self) -> Result<Vec<Listed>, EngineError> {
        match self.docker().await {
            Ok(docker) => docker.list().await,
            Err(error) => {
                tracing::warn!(%error, "only the shims beside them tell of the instances in Docker");
                self.shims()?.list().await
            }
        }
    }

    fn shims(&self) -> Result<&Shims, EngineError> {
        if let Some(shims) = self.shims.get() {
            return Ok(shims);
        }
        let opened = Shims::open(&self.docker_dir)?;
        Ok(self.shims.get_or_init(|| opened))
    }
}

fn warn_of_lacking(engine: EngineName, abilities: &Abilities) {
    for (consequence, reason) in abilities.lacking() {
        tracing::warn!(%engine, reason, "{consequence}");
    }
}

#[async_trait]
impl Engine for Engines {
    async fn launch(&self, id: &InstanceId, spec: &Spec, labels: &str) -> Result<(), EngineError> {
        self.native.launch(id, spec, labels).await
    }

    async fn attach(&self, id: &InstanceId, spec: &Spec, terminal: Option<WindowSize>) -> Result<Process, EngineError> {
        self.native.attach(id, spec, terminal).await
    }

    async fn exec(
        &self,
        id: &InstanceId,
        command: &Command,
        terminal: Option<WindowSize>,
    ) -> Result<Process, EngineError> {
        self.named(self.place_of(id)).await?.exec(id, command, terminal).await
    }

    async fn connect(&self, id: &InstanceId, port: u16) -> std::io::Result<TcpStream> {
        self.of(id).map_err(std::io::Error::other)?.connect(id, port).await
    }

    async fn listening(&self, id: &InstanceId) -> Result<Vec<SocketAddr>, EngineError> {
        self.of(id)?.listening(id).await
    }

    async fn wait(&self, id: &InstanceId) -> Result<Exit, EngineError> {
        self.of(id)?.wait(id).await
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<Exit, EngineError> {
        self.of(id)?.stop(id, grace).await
    }

    async fn freeze(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.of(id)?.freeze(id).await
    }

    async fn thaw(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.of(id)?.thaw(id).await
    }

    /// Those of `native`; see [`Engines::abilities_of`].
    fn abilities(&self) -> Abilities {
        self.native.abilities()
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.named(self.place_of(id)).await?.remove(id).await
    }

    async fn list(&self) -> Result<Vec<Listed>, EngineError> {
        let mut all = self.native.list().await?;
        if self.docker_dir.exists() {
            all.extend(self.list_docker().await?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::EngineName;

    #[test]
    fn names() {
        for name in [EngineName::Native, EngineName::Docker] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert_eq!(
            "podman".parse::<EngineName>().unwrap_err().to_string(),
            "\"podman\" is no engine: native or docker"
        );
    }
}
