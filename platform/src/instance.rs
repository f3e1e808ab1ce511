//! One instance: what it is shown, its environment, and its start until it is healthy.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use builder::launcher::exported::PROCESSES;
use engine::{Command, Engine, InstanceId, LogFile, Mount, MountKind, Spec};
use router::{Dial, Target};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::diagnosis::{FailedStart, StartFailure, behind_shell, last_words};
use crate::http::Protocol;
use crate::limits::Limits;
use crate::names::{Process, Version};
use crate::platform::Platform;
use crate::release::Runnable;
use crate::store::AppId;
use crate::terms::Granted;
use crate::toolchain::PROGRAM;

/// Where an app's code is inside.
pub const CODE: &str = "/home/app/code";
/// Where an app's persistent directory is inside.
pub const DATA: &str = "/home/app/data";
/// Where the virtualenv is inside.
pub const ENV: &str = "/home/app/env";
/// The home of the user inside.
pub const USER_HOME: &str = "/home/app";

/// The web process listens there, in a network of its own.
pub const PORT: u16 = 5000;

/// The uid outside of an app is this plus the app's number.
const FIRST_UID: u32 = 200_000;

/// A started instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name in the engine.
    pub id: InstanceId,
    /// What it is.
    pub labels: Labels,
    /// How the router reaches it (web only).
    pub target: Option<Arc<Target>>,
    /// When it was started; of web, when it first answered, as far as this daemon knows.
    pub started: jiff::Timestamp,
}

/// What the engine keeps of an instance for later daemons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// The app's number.
    pub app: i64,
    /// Its place.
    pub process: Process,
    /// Its release.
    pub version: Version,
    /// Where a web process listens: [`PORT`], but for instances that an older version started in the host's network.
    pub port: u16,
    /// The terms on which it runs; unknown of what an older version started.
    pub terms: Option<Granted>,
    /// What a web process speaks.
    #[serde(default)]
    pub protocol: Protocol,
}

impl Labels {
    /// As kept by the engine.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// None for what somebody else started.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The user outside that an app's instances run as; None without the privilege to choose.
pub fn owner(app: AppId) -> Option<u32> {
    let number = u32::try_from(app.0).unwrap_or(u32::MAX - FIRST_UID);
    nix::unistd::geteuid().is_root().then_some(FIRST_UID + number)
}

/// The user outside that makes what apps share: no app's, whose numbers begin with 1.
pub fn nobodys() -> Option<u32> {
    owner(AppId(0))
}

/// The tag of a log line: release, place, and who wrote it.
pub fn log_tag(version: Version, process: &Process, origin: &str) -> String {
    format!("{version}:{process}:{origin}")
}

impl Platform {
    /// Starts an instance and waits until it is healthy (web) or runs (others). Whatever fails, nothing of it is left.
    pub async fn start_instance(
        &self,
        release: &Runnable,
        process: &Process,
        cancel: &CancellationToken,
    ) -> Result<Instance, FailedStart> {
        let suffix = suffix();
        let result = self.try_start(release, process, &suffix, cancel).await;
        result.map_err(|cause| {
            let tail = last_words(&release.home.log(process), &log_tag(release.version, process, &suffix));
            FailedStart { app: release.name.clone(), process: process.clone(), cause, tail }
        })
    }

    async fn try_start(
        &self,
        release: &Runnable,
        process: &Process,
        suffix: &str,
        cancel: &CancellationToken,
    ) -> Result<Instance, StartFailure> {
        let kind = release.manifest.process(&process.kind).ok_or(StartFailure::NoSuchProcess)?;
        let terms = release.terms.of(process.kind.as_str());
        let (app, version) = (release.app.0, release.version);
        let (engine, log_bytes) = (terms.engine, terms.limits.log_bytes());
        let labels = Labels {
            app,
            process: process.clone(),
            version,
            port: PORT,
            terms: Some(terms),
            protocol: release.protocol,
        };
        let id = instance_id(release, &process.to_string(), suffix)?;
        let mut spec = self.spec(release, &process.to_string(), kind.argv.clone());
        spec.command.cwd = CODE.into();
        spec.log = Some(LogFile {
            path: release.home.log(process),
            tag: log_tag(release.version, process, suffix),
            max_bytes: log_bytes,
        });
        self.engines.named(engine).await?.launch(&id, &spec, &labels.to_text()).await?;
        let instance = self.instance(id, labels, jiff::Timestamp::now());
        match self.wait_healthy(release, &instance, cancel).await {
            Ok(()) => Ok(Instance { started: jiff::Timestamp::now(), ..instance }),
            Err(failure) => {
                self.end_instance(&instance, Duration::from_secs(5)).await;
                Err(failure)
            }
        }
    }

    /// The handle of an instance that the engine runs.
    pub fn instance(&self, id: InstanceId, labels: Labels, started: jiff::Timestamp) -> Instance {
        let dial = EngineDial { engine: self.engine.clone(), id: id.clone(), port: labels.port };
        let target = labels.process.kind.is_web().then(|| {
            let label = format!("{}:{}", labels.version, labels.process);
            Arc::new(Target::new(id.as_str(), dial).labelled(label).speaking(labels.protocol.for_router()))
        });
        Instance { id, labels, target, started }
    }

    async fn wait_healthy(
        &self,
        release: &Runnable,
        instance: &Instance,
        cancel: &CancellationToken,
    ) -> Result<(), StartFailure> {
        if instance.target.is_none() {
            return Ok(());
        }
        let dial = EngineDial { engine: self.engine.clone(), id: instance.id.clone(), port: PORT };
        let check = router::health::Check {
            path: release.manifest.health_path.clone(),
            host: format!("{}.{}", release.name, self.address.domain),
            protocol: release.protocol.for_router(),
            attempt: Duration::from_secs(5),
        };
        let limit = Duration::from_secs(release.checks_timeout);
        let mut last = None;
        let mut seen = |reason| last = Some(reason);
        tokio::select! {
            () = router::health::wait(&dial, &check, &mut seen) => Ok(()),
            exit = self.engine.wait(&instance.id) => Err(StartFailure::Exited(behind_shell(exit?))),
            () = cancel.cancelled() => Err(StartFailure::Cancelled),
            () = tokio::time::sleep(limit) => {
                let listening = self.engine.listening(&instance.id).await.unwrap_or_default();
                Err(StartFailure::Unhealthy { limit, listening, last })
            }
        }
    }

    /// Ends an instance, whatever its state, and forgets it.
    pub async fn end_instance(&self, instance: &Instance, grace: Duration) {
        if let Err(error) = self.engine.stop(&instance.id, grace).await {
            tracing::warn!(instance = %instance.id, %error, "stopping");
        }
        if let Err(error) = self.engine.remove(&instance.id).await {
            tracing::warn!(instance = %instance.id, %error, "removing");
        }
    }

    /// What an instance of a release sees, and its environment. Its program is `argv`, prepared as the release asks for, and
    /// started in the user's home.
    pub fn spec(&self, release: &Runnable, process: &str, argv: Vec<String>) -> Spec {
        let terms = release.terms.of(kind_of(process));
        let argv = prepared(release, process, argv);
        Spec {
            hostname: release.name.to_string(),
            host_uid: owner(release.app).unwrap_or_else(|| nix::unistd::geteuid().as_raw()),
            mounts: self.mounts(release),
            symlinks: Vec::new(),
            command: Command { argv, env: environment(release, process, PORT), cwd: USER_HOME.into() },
            log: None,
            limits: terms.limits.for_engine(),
            egress: terms.egress,
            egress_exceptions: Vec::new(),
            internal: if terms.internal { self.internal_address() } else { None },
        }
    }

    /// Without it an app starts nevertheless.
    fn internal_address(&self) -> Option<std::net::SocketAddr> {
        let address = self.edge.internal_address();
        address.inspect_err(|error| tracing::error!(%error, "serving internal names")).ok()
    }

    fn mounts(&self, release: &Runnable) -> Vec<Mount> {
        let mount =
            |source: &Path, target: &Path, kind| Mount { source: source.to_owned(), target: target.to_owned(), kind };
        let mut mounts: Vec<Mount> =
            release.manifest.toolchain.iter().map(|path| mount(path, path, MountKind::ReadOnly)).collect();
        for layer in &release.manifest.image.layers {
            let source = self.home.layers().join(layer.digest.as_str());
            mounts.push(mount(&source, &layer.target, MountKind::ReadOnly));
            if layer.name == "env" {
                mounts.push(mount(&source, Path::new(ENV), MountKind::ReadOnly));
            }
        }
        // For file transfers. While a new version is being installed there may be none for a moment.
        if let Some(program) = self.toolchain.program() {
            mounts.push(mount(program, Path::new(PROGRAM), MountKind::ReadOnly));
        }
        mounts.push(mount(&release.code, Path::new(CODE), MountKind::Scratch));
        mounts.push(mount(&release.home.data(), Path::new(DATA), MountKind::ReadWrite));
        mounts
    }
}

/// The environment of everything that runs in an app, as the contract has it.
pub fn environment(release: &Runnable, process: &str, port: u16) -> Vec<(String, String)> {
    let kind = kind_of(process);
    let mut env: Vec<(String, String)> = vec![
        ("HOME".into(), USER_HOME.into()),
        ("USER".into(), "app".into()),
        ("LOGNAME".into(), "app".into()),
        ("SHELL".into(), shell().into()),
        ("LANG".into(), "C.UTF-8".into()),
        ("PATH".into(), format!("{ENV}/bin:/usr/local/bin:/usr/bin:/bin")),
        ("PYTHONUNBUFFERED".into(), "1".into()),
        ("WEB_CONCURRENCY".into(), concurrency(&release.terms.of(kind).limits).to_string()),
    ];
    env = builder::launch::environment(&release.manifest.image, kind, env);
    let own = [
        ("PORT", port.to_string()),
        ("GIT_REV", release.manifest.commit.clone().unwrap_or_default()),
        ("AIRSTRIP_APP", release.name.to_string()),
        ("AIRSTRIP_RELEASE", release.version.to_string()),
        ("AIRSTRIP_PROCESS", process.to_owned()),
    ];
    let config = release.config.iter().map(|(key, value)| (key.as_str(), value.clone()));
    for (name, value) in config.chain(own) {
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), value));
    }
    first_in_path(&mut env, &format!("{ENV}/bin"));
    env
}

/// The environment of an exported image, which its launcher changes as the build says. Configuration is not part of it.
pub fn image_environment() -> [(&'static str, String); 5] {
    [
        ("HOME", USER_HOME.to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PATH", format!("{PROCESSES}:/cnb/lifecycle:{ENV}/bin:/usr/local/bin:/usr/bin:/bin")),
        ("PYTHONUNBUFFERED", "1".to_owned()),
        ("PORT", PORT.to_string()),
    ]
}

/// What to start for `argv` in an instance: the launcher in front of it, if the release has anything to prepare.
pub fn prepared(release: &Runnable, process: &str, argv: Vec<String>) -> Vec<String> {
    builder::launch::argv(&release.manifest.image, kind_of(process), argv, PROGRAM)
}

/// `PATH` begins with the environment's programs whatever layers and configuration put into it.
fn first_in_path(env: &mut [(String, String)], first: &str) {
    if let Some((_, path)) = env.iter_mut().find(|(name, _)| name == "PATH") {
        let others = path.split(':').filter(|entry| *entry != first && !entry.is_empty());
        *path = std::iter::once(first).chain(others).collect::<Vec<_>>().join(":");
    }
}

/// The shell for people: bash where the machine has it.
pub fn shell() -> &'static str {
    if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

/// The process type of a place (`web.1`) or of a one-off (`run.1a2b3c4d`).
fn kind_of(process: &str) -> &str {
    process.rsplit_once('.').map_or(process, |(kind, _)| kind)
}

/// Workers that a web server should start.
fn concurrency(limits: &Limits) -> u64 {
    limits.workers(std::thread::available_parallelism().map_or(1, |processors| processors.get() as u64))
}

/// The engine's name for an instance: readable, and never used twice.
pub fn instance_id(release: &Runnable, process: &str, suffix: &str) -> Result<InstanceId, StartFailure> {
    let name = format!("{}.{}.{}.{suffix}", release.name, process.to_ascii_lowercase(), release.version);
    InstanceId::new(name).map_err(|e| StartFailure::Engine(e.to_string()))
}

/// Eight random hexadecimal digits: what tells two instances of one place apart.
pub fn suffix() -> String {
    format!("{:08x}", random() >> 32)
}

/// Not for secrets: the standard library's hasher is seeded at random.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Opens connections to one port of one instance.
pub struct EngineDial {
    /// The engine that runs it.
    pub engine: Arc<dyn Engine>,
    /// The instance.
    pub id: InstanceId,
    /// The port inside.
    pub port: u16,
}

#[async_trait::async_trait]
impl Dial for EngineDial {
    async fn dial(&self) -> std::io::Result<tokio::net::TcpStream> {
        self.engine.connect(&self.id, self.port).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_version_started_is_known_again() {
        let known = Labels::from_text(r#"{"app":3,"process":"web.1","version":"v7","port":41234}"#).unwrap();
        assert_eq!((known.port, known.terms.is_none(), known.protocol), (41234, true, Protocol::Http1));
    }

    #[test]
    fn the_environments_programs_come_first() {
        let mut env = vec![("PATH".to_owned(), "/layers/x/bin:/home/app/env/bin:/usr/bin::".to_owned())];
        first_in_path(&mut env, "/home/app/env/bin");
        assert_eq!(env[0].1, "/home/app/env/bin:/layers/x/bin:/usr/bin");
    }
}
