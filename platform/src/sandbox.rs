//! The builder's sandbox, made by the engine.

use std::net::SocketAddr;
use std::path::Path;

use builder::{Output, SandboxError, Step, StepExit};
use engine::{Command, Exit, InstanceId, Mount, MountKind, Spec, Streams, Symlink};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::instance::suffix;
use crate::limits::{BUILD, more_memory};
use crate::names::AppName;
use crate::platform::Platform;

/// Runs the steps of one app's builds.
pub struct BuildSandbox<'a> {
    /// Whose engine.
    pub platform: &'a Platform,
    /// For the sandboxes' names.
    pub app: &'a AppName,
    /// The user outside.
    pub uid: u32,
    /// How much of the machine a step may use.
    pub limits: engine::Limits,
    /// What a step may reach besides public addresses.
    pub own_addresses: Vec<SocketAddr>,
    /// What is `/tmp` inside: builds unpack more than the memory of an instance's own `/tmp` should hold.
    pub tmp: &'a Path,
}

#[async_trait::async_trait]
impl builder::Sandbox for BuildSandbox<'_> {
    async fn run(&self, step: &Step, output: &dyn Output) -> Result<StepExit, SandboxError> {
        let failed = |error: &dyn std::fmt::Display| SandboxError(error.to_string());
        let id = InstanceId::new(format!("{}.build.{}", self.app, suffix())).map_err(|e| failed(&e))?;
        let mut process = self.platform.engine.attach(&id, &self.spec(step), None).await.map_err(|e| failed(&e))?;
        if let Some(Streams::Pipes { stdin, stdout, stderr }) = process.streams.take() {
            drop(stdin);
            tokio::join!(copy(stdout, output), copy(stderr, output));
        }
        match process.control.wait().await.map_err(|e| failed(&e))? {
            Exit::Status(status) => Ok(StepExit::Status(status)),
            Exit::Signal(signal) => Ok(StepExit::Signal(signal)),
            exit @ Exit::OutOfMemory(limit) => {
                let remedy = more_memory(self.app, BUILD, limit);
                output.write(format!(" !     {} {exit}\n !     {remedy}\n", step.name).as_bytes()).await;
                Ok(StepExit::Signal(nix::libc::SIGKILL))
            }
            Exit::Lost => Err(SandboxError(format!("{} was lost", step.name))),
        }
    }
}

impl BuildSandbox<'_> {
    fn spec(&self, step: &Step) -> Spec {
        let mount = |bind: &builder::Bind| Mount {
            source: bind.source.clone(),
            target: bind.target.clone(),
            kind: if bind.writable { MountKind::ReadWrite } else { MountKind::ReadOnly },
        };
        let tmp = Mount { source: self.tmp.to_owned(), target: "/tmp".into(), kind: MountKind::ReadWrite };
        let symlink = |(link, target): &(std::path::PathBuf, std::path::PathBuf)| Symlink {
            link: link.clone(),
            target: target.clone(),
        };
        Spec {
            hostname: "build".into(),
            host_uid: self.uid,
            mounts: std::iter::once(tmp).chain(step.binds.iter().map(mount)).collect(),
            symlinks: step.symlinks.iter().map(symlink).collect(),
            command: Command { argv: step.argv.clone(), env: step.env.clone(), cwd: step.cwd.clone() },
            log: None,
            limits: self.limits,
            egress: engine::Egress::default(),
            egress_exceptions: self.own_addresses.clone(),
            internal: None,
        }
    }
}

async fn copy(mut from: Box<dyn AsyncRead + Send + Unpin>, to: &dyn Output) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        to.write(&buffer[..length]).await;
    }
}
