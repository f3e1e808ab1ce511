//! The builder's sandbox, made by the engine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use builder::{Output, SandboxError, Step, StepExit};
use engine::{
    Command, Control, Egress, Engine, EngineError, Exit, InstanceId, Mount, MountKind, Spec, Streams, Symlink,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bounds::Bounds;
use crate::instance::suffix;
use crate::limits::Resource;
use crate::names::AppName;
use crate::platform::Platform;

/// How long the kernel may take to end what was killed.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// Runs the steps of one build.
pub struct BuildSandbox<'a> {
    /// Whose engine.
    pub platform: &'a Platform,
    /// For the sandboxes' names.
    pub app: &'a AppName,
    /// The user outside.
    pub uid: u32,
    /// How much of the machine the build may use.
    pub bounds: &'a Bounds,
    /// What a step may reach besides public addresses.
    pub own_addresses: Vec<SocketAddr>,
    /// What the build writes is below it.
    pub directory: &'a Path,
    /// What is `/tmp` inside: builds unpack more than the memory of an instance's own `/tmp` should hold.
    pub tmp: PathBuf,
    /// Those who wait for the steps' ends, whoever else does not.
    pub steps: TaskTracker,
}

#[async_trait::async_trait]
impl builder::Sandbox for BuildSandbox<'_> {
    async fn run(&self, step: &Step, output: &dyn Output) -> Result<StepExit, SandboxError> {
        let failed = |error: &dyn std::fmt::Display| SandboxError(error.to_string());
        let id = InstanceId::new(format!("{}.build.{}", self.app, suffix())).map_err(|e| failed(&e))?;
        let over = self.bounds.over().child_token();
        let _not_waited_for = over.clone().drop_guard();
        let (streams, started) = oneshot::channel();
        let engine = self.platform.engine.clone();
        let ended = self.steps.spawn(see_through(engine, id, self.spec(step), streams, over));
        if let Ok(Streams::Pipes { stdin, stdout, stderr }) = started.await {
            drop(stdin);
            tokio::join!(self.copy(stdout, output), self.copy(stderr, output));
        }
        let (exit, refused_processes) = ended.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        self.bounds.look_after_step(self.directory).await;
        match exit {
            Exit::OutOfMemory(_) => self.bounds.pass(Resource::Memory),
            other if refused_processes && !other.success() => self.bounds.pass(Resource::Pids),
            _ => {}
        }
        match exit {
            _ if self.bounds.over().is_cancelled() => Err(SandboxError(format!("{} has passed a bound", step.name))),
            Exit::Status(status) => Ok(StepExit::Status(status)),
            Exit::Signal(signal) => Ok(StepExit::Signal(signal)),
            Exit::OutOfMemory(_) | Exit::Lost => Err(SandboxError(format!("{} was lost", step.name))),
        }
    }
}

/// A step from its start to its end, in a task of its own: whoever does not wait for it any more leaves nothing behind.
async fn see_through(
    engine: Arc<dyn Engine>,
    id: InstanceId,
    spec: Spec,
    streams: oneshot::Sender<Streams>,
    stop: CancellationToken,
) -> Result<(Exit, bool), EngineError> {
    let process = engine.attach(&id, &spec, None).await?;
    let _not_waited_for = process.streams.map(|of_step| streams.send(of_step));
    end(process.control, stop).await
}

/// Waits for the end of a program and of all that it has started; once `stop` is cancelled, kills them. Says whether the sandbox was
/// refused processes, too.
async fn end(control: Box<dyn Control>, stop: CancellationToken) -> Result<(Exit, bool), EngineError> {
    let exit = if let Some(exit) = stop.run_until_cancelled(control.wait()).await {
        exit?
    } else {
        control.kill()?;
        tokio::time::timeout(KILL_LIMIT, control.wait()).await.unwrap_or(Ok(Exit::Lost))?
    };
    Ok((exit, control.was_refused_processes()))
}

impl BuildSandbox<'_> {
    fn spec(&self, step: &Step) -> Spec {
        let mount = |bind: &builder::Bind| Mount {
            source: bind.source.clone(),
            target: bind.target.clone(),
            kind: if bind.writable { MountKind::ReadWrite } else { MountKind::ReadOnly },
        };
        let tmp = Mount { source: self.tmp.clone(), target: "/tmp".into(), kind: MountKind::ReadWrite };
        let symlink = |(link, target): &(std::path::PathBuf, std::path::PathBuf)| Symlink {
            link: link.clone(),
            target: target.clone(),
        };
        Spec {
            hostname: "build".into(),
            host_uid: step.owner.unwrap_or(self.uid),
            mounts: std::iter::once(tmp).chain(step.binds.iter().map(mount)).collect(),
            symlinks: step.symlinks.iter().map(symlink).collect(),
            command: Command { argv: step.argv.clone(), env: step.env.clone(), cwd: step.cwd.clone() },
            log: None,
            limits: self.bounds.for_engine(),
            egress: if step.network { Egress::Internet } else { Egress::None },
            egress_exceptions: if step.network { self.own_addresses.clone() } else { Vec::new() },
            internal: None,
        }
    }

    /// To its end, or as far as the bound lets it.
    async fn copy(&self, mut from: Box<dyn AsyncRead + Send + Unpin>, to: &dyn Output) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let shown = self.bounds.print(&buffer[..length]);
            to.write(&buffer[..shown]).await;
            if shown < length {
                return;
            }
        }
    }

    /// Kills what still runs of the build, and waits for its end.
    pub async fn ended(self) {
        self.steps.close();
        self.steps.wait().await;
    }
}
