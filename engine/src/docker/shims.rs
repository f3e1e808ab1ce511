//! What can be done with instances while no Docker engine answers: the shim beside each knows how it fares.
//!
//! A Docker engine may be restarted under its containers. Whoever takes the instances up meanwhile must not think them lost.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;

use crate::native::Native;
use crate::{Abilities, Command, Engine, EngineError, Exit, InstanceId, Listed, Process, Spec, WindowSize};

/// Lists, reaches, awaits and ends the instances of a [`Docker`](super::Docker) whose Docker engine does not answer.
/// It starts and removes nothing.
#[derive(Debug)]
pub struct Shims(Native);

impl Shims {
    /// Those of the instances in `run_dir`.
    pub fn open(run_dir: &Path) -> Result<Self, EngineError> {
        Native::hosting(run_dir).map(Self)
    }
}

const UNANSWERED: &str = "no Docker engine answers: start it";

fn unanswered<T>() -> Result<T, EngineError> {
    Err(EngineError::Unsupported(UNANSWERED.to_owned()))
}

#[async_trait]
impl Engine for Shims {
    async fn launch(&self, _: &InstanceId, _: &Spec, _: &str) -> Result<(), EngineError> {
        unanswered()
    }

    async fn attach(&self, _: &InstanceId, _: &Spec, _: Option<WindowSize>) -> Result<Process, EngineError> {
        unanswered()
    }

    async fn exec(&self, _: &InstanceId, _: &Command, _: Option<WindowSize>) -> Result<Process, EngineError> {
        unanswered()
    }

    async fn connect(&self, id: &InstanceId, port: u16) -> io::Result<TcpStream> {
        self.0.connect_in(id, port).await
    }

    async fn listening(&self, id: &InstanceId) -> Result<Vec<SocketAddr>, EngineError> {
        self.0.listening(id).await
    }

    async fn wait(&self, id: &InstanceId) -> Result<Exit, EngineError> {
        self.0.wait(id).await
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<Exit, EngineError> {
        self.0.stop(id, grace).await
    }

    async fn freeze(&self, _: &InstanceId) -> Result<(), EngineError> {
        unanswered()
    }

    async fn thaw(&self, _: &InstanceId) -> Result<(), EngineError> {
        unanswered()
    }

    fn abilities(&self) -> Abilities {
        Abilities::none(UNANSWERED)
    }

    async fn remove(&self, _: &InstanceId) -> Result<(), EngineError> {
        unanswered()
    }

    async fn list(&self) -> Result<Vec<Listed>, EngineError> {
        self.0.list().await
    }
}
