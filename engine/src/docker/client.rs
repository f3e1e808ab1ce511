//! What is asked of the Docker engine, and what its answers mean.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::exec::StartExecOptions;
use bollard::models::{ContainerSummaryStateEnum, ExecConfig, SystemInfo};
use bollard::query_parameters::{
    CreateContainerOptions, EventsOptions, InspectContainerOptions, KillContainerOptions, ListContainersOptions,
    LogsOptions, RemoveContainerOptions, StartContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;

use super::container::Body;
use super::files;
use crate::native::hosting::{GUEST, Host};
use crate::{Abilities, Ability, EngineError, Exit, InstanceId};

const USUAL_SOCKET: &str = "/var/run/docker.sock";
/// Longest time for an answer that is not waited for on purpose.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// The engine hears of a container's end a moment after airstrip does.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Until the engine is asked for its events again after it has broken off.
const EVENTS_PAUSE: Duration = Duration::from_secs(1);
/// How often an exec that has not spoken yet is looked at: the engine has no way to wait for one.
const LOOK: Duration = Duration::from_millis(200);

/// On every container: the engine (the directory of instances) it belongs to.
const RUN: &str = "airstrip.run";
/// On an instance's container: its name.
const INSTANCE: &str = "airstrip.instance";
/// On an instance's container: the caller's labels.
const LABELS: &str = "airstrip.labels";

/// A connection to the Docker engine, for one directory of instances.
pub(super) struct Client {
    docker: bollard::Docker,
    /// Tells this directory's containers from those of others.
    run: String,
    /// What can be enforced.
    pub(super) abilities: Abilities,
}

/// A container of this directory.
pub(super) struct Left {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) ended: bool,
}

/// What a container was made for.
pub(super) enum Kind {
    Instance(InstanceId),
    OneOff,
}

impl Client {
    pub(super) async fn connect(run_dir: &Path, egress: Ability) -> Result<Self, EngineError> {
        let run = files::identity(run_dir).map_err(|source| super::doing(run_dir, source))?;
        let docker = dial().await.map_err(EngineError::Unsupported)?;
        let info = docker.info().await.map_err(|error| EngineError::Unsupported(told(&error)))?;
        check(&info).map_err(EngineError::Unsupported)?;
        Ok(Self { docker, run, abilities: abilities(&info, egress) })
    }

    pub(super) fn docker(&self) -> &bollard::Docker {
        &self.docker
    }

    /// The container of an instance.
    pub(super) fn name(&self, id: &InstanceId) -> String {
        format!("airstrip.{}.{id}", self.run)
    }

    /// The container of the one-off whose files are in `dir`.
    pub(super) fn one_off_name(&self, dir: &Path) -> String {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        format!("airstrip.{}{name}", self.run)
    }

    /// The name of the directory with the files of a one-off, by its container.
    pub(super) fn one_off_dir<'a>(&self, container: &'a str) -> Option<&'a str> {
        container.strip_prefix("airstrip.")?.strip_prefix(self.run.as_str()).filter(|name| name.starts_with('.'))
    }

    pub(super) fn labels(&self, id: &InstanceId, labels: &str) -> HashMap<String, String> {
        let mut all = self.one_off_labels();
        all.extend([(INSTANCE.to_owned(), id.to_string()), (LABELS.to_owned(), labels.to_owned())]);
        all
    }

    pub(super) fn one_off_labels(&self) -> HashMap<String, String> {
        HashMap::from([(RUN.to_owned(), self.run.clone())])
    }

    /// Every container of this directory, running or not.
    pub(super) async fn containers(&self) -> Result<Vec<Left>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{RUN}={}", self.run)])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let all = self.docker.list_containers(Some(options)).await.map_err(|error| io("list containers", &error))?;
        let left = all.into_iter().filter_map(|one| {
            let label = one.labels.unwrap_or_default().remove(INSTANCE);
            let kind = label.and_then(|id| InstanceId::new(id).ok()).map_or(Kind::OneOff, Kind::Instance);
            let ended = matches!(one.state, Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD));
            let name = one.names.unwrap_or_default().pop()?.trim_start_matches('/').to_owned();
            Some(Left { name, kind, ended })
        });
        Ok(left.collect())
    }

    /// Ends and removes a container with its volumes; does nothing if there is none.
    pub(super) async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions { v: true, force: true, ..Default::default() };
        match self.docker.remove_container(name, Some(options)).await {
            // There is none, or somebody else is removing it.
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(io(&format!("remove the container {name}"), &error)),
        }
    }

    /// Stops every process of a container.
    pub(super) async fn freeze(&self, name: &str) -> Result<(), EngineError> {
        match self.docker.pause_container(name).await {
            Err(error) if !told(&error).contains("is already paused") => {
                Err(io(&format!("freeze the container {name}"), &error))
            }
            _ => Ok(()),
        }
    }

    /// Lets them go on.
    pub(super) async fn thaw(&self, name: &str) -> Result<(), EngineError> {
        match self.docker.unpause_container(name).await {
            Err(error) if !told(&error).contains("is not paused") => {
                Err(io(&format!("thaw the container {name}"), &error))
            }
            _ => Ok(()),
        }
    }

    /// Ends every container of which the kernel has killed a process for want of memory, as a whole. Goes on for ever.
    pub(super) async fn end_what_needs_more_memory(&self) {
        let filter = |name: &str, value: &str| (name.to_owned(), vec![value.to_owned()]);
        let run = format!("{RUN}={}", self.run);
        loop {
            let filters = HashMap::from([filter("type", "container"), filter("event", "oom"), filter("label", &run)]);
            let options = EventsOptions { filters: Some(filters), ..Default::default() };
            let mut events = self.docker.events(Some(options));
            while let Some(Ok(event)) = events.next().await {
                if let Some(name) = event.actor.and_then(|actor| actor.attributes?.remove("name")) {
                    let _ = self.docker.kill_container(&name, None::<KillContainerOptions>).await;
                }
            }
            tokio::time::sleep(EVENTS_PAUSE).await;
        }
    }

    /// How a container ended, given what the guest said: it says nothing when it is killed, and a program whose process was
    /// killed for want of memory may say anything.
    pub(super) async fn verdict(&self, name: &str, told: Exit) -> Exit {
        if told.success() {
            return told;
        }
        self.await_end(name).await;
        let Ok(seen) = self.docker.inspect_container(name, None::<InspectContainerOptions>).await else { return told };
        let state = seen.state.unwrap_or_default();
        let limit = seen.host_config.and_then(|config| config.memory).and_then(|bytes| u64::try_from(bytes).ok());
        match (state.oom_killed, limit, state.exit_code) {
            (Some(true), Some(limit), _) if limit > 0 => Exit::OutOfMemory(limit),
            (_, _, Some(code)) if told == Exit::Lost && code > 128 => {
                i32::try_from(code - 128).map_or(told, Exit::Signal)
            }
            _ => told,
        }
    }

    async fn await_end(&self, name: &str) {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut answers = self.docker.wait_container(name, Some(options));
        let _ = tokio::time::timeout(END_LIMIT, answers.next()).await;
    }

    /// The last that a container's own first process has said.
    async fn last_words(&self, name: &str) -> String {
        let options = LogsOptions { stdout: true, stderr: true, tail: "5".to_owned(), ..Default::default() };
        let mut lines = self.docker.logs(name, Some(options));
        let mut text = String::new();
        while let Some(Ok(line)) = lines.next().await {
            text.push_str(&line.to_string());
        }
        text.trim().to_owned()
    }
}

/// A container to be made.
pub(super) struct Container<'a> {
    pub(super) client: &'a Client,
    pub(super) id: &'a InstanceId,
    pub(super) name: String,
    pub(super) body: Body,
}

impl Container<'_> {
    fn failed(&self, step: &str, reason: String) -> EngineError {
        EngineError::Setup { id: self.id.clone(), step: step.to_owned(), reason }
    }
}

#[async_trait]
impl Host for Container<'_> {
    async fn make(&self) -> Result<(), EngineError> {
        let options = CreateContainerOptions { name: Some(self.name.clone()), ..Default::default() };
        let docker = &self.client.docker;
        let created = docker.create_container(Some(options), self.body.clone()).await;
        created.map_err(|error| self.failed("create the container", told(&error)))?;
        let started = docker.start_container(&self.name, None::<StartContainerOptions>).await;
        started.map_err(|error| self.failed("start the container", told(&error)))
    }

    async fn ended(&self) -> EngineError {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let _ = self.client.docker.wait_container(&self.name, Some(options)).next().await;
        let words = self.client.last_words(&self.name).await;
        self.failed(
            "run airstrip in the container",
            if words.is_empty() { "it ended at once".to_owned() } else { words },
        )
    }
}

/// One more program in a running container.
pub(super) struct Inside<'a> {
    client: &'a Client,
    id: &'a InstanceId,
    /// Of the door.
    door: String,
    exec: tokio::sync::OnceCell<String>,
}

impl<'a> Inside<'a> {
    pub(super) fn new(client: &'a Client, id: &'a InstanceId, door: String) -> Self {
        Self { client, id, door, exec: tokio::sync::OnceCell::new() }
    }

    fn failed(&self, error: Error) -> EngineError {
        match error {
            Error::DockerResponseServerError { status_code: 409, message } if message.contains("is paused") => {
                let (step, reason) = ("join it".to_owned(), "it is frozen".to_owned());
                EngineError::Setup { id: self.id.clone(), step, reason }
            }
            Error::DockerResponseServerError { status_code: 404 | 409, .. } => EngineError::NotRunning(self.id.clone()),
            error => io(&format!("join {}", self.id), &error),
        }
    }
}

#[async_trait]
impl Host for Inside<'_> {
    async fn make(&self) -> Result<(), EngineError> {
        let cmd = vec![GUEST.to_owned(), files::inside(&self.door)];
        let config = ExecConfig { cmd: Some(cmd), ..Default::default() };
        let docker = &self.client.docker;
        let made = docker.create_exec(&self.client.name(self.id), config).await.map_err(|error| self.failed(error))?;
        let _ = self.exec.set(made.id.clone());
        let options = StartExecOptions { detach: true, ..Default::default() };
        docker.start_exec(&made.id, Some(options)).await.map(drop).map_err(|error| self.failed(error))
    }

    async fn ended(&self) -> EngineError {
        let exec = self.exec.get().map_or("", String::as_str);
        loop {
            tokio::time::sleep(LOOK).await;
            match self.client.docker.inspect_exec(exec).await {
                Ok(seen) if seen.running == Some(true) => {}
                Ok(_) => return EngineError::NotRunning(self.id.clone()),
                Err(error) => return self.failed(error),
            }
        }
    }
}

async fn dial() -> Result<bollard::Docker, String> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| format!("unix://{USUAL_SOCKET}"));
    let Some(socket) = host.strip_prefix("unix://") else {
        return Err(format!("DOCKER_HOST is {host}: a Docker engine on this machine is needed, as unix://SOCKET"));
    };
    let lacks = |error: &Error| {
        format!("no Docker engine answers at {socket}: {}; install and start one, or set DOCKER_HOST", told(error))
    };
    let docker = bollard::Docker::connect_with_unix(socket, ANSWER_LIMIT.as_secs(), bollard::API_DEFAULT_VERSION);
    let docker = docker.map_err(|error| lacks(&error))?;
    // Each engine speaks its own range of versions.
    docker.negotiate_version().await.map_err(|error| lacks(&error))
}

/// Not every engine can make sandboxes in which the user keeps its number.
fn check(info: &SystemInfo) -> Result<(), String> {
    let options = info.security_options.iter().flatten();
    if options.into_iter().any(|option| option.contains("name=rootless")) {
        return Err("this Docker engine runs without root, so that apps' files would belong to other users; \
                    use a Docker engine that runs as root"
            .to_owned());
    }
    match info.os_type.as_deref() {
        None | Some("linux") => Ok(()),
        Some(other) => Err(format!("this Docker engine runs {other} containers; airstrip needs linux")),
    }
}

fn abilities(info: &SystemInfo, egress: Ability) -> Abilities {
    let kernel = |there: Option<bool>| match there {
        Some(false) => Err("the Docker engine says that this machine's kernel cannot".to_owned()),
        _ => Ok(()),
    };
    Abilities {
        memory: kernel(info.memory_limit),
        cpu: kernel(info.cpu_cfs_quota),
        pids: kernel(info.pids_limit),
        freeze: Ok(()),
        egress,
    }
}

/// The engine's own words, without what the library puts around them.
pub(super) fn told(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

pub(super) fn io(doing: &str, error: &Error) -> EngineError {
    let source = std::io::Error::other(told(error));
    EngineError::Io { doing: format!("{doing} (Docker)"), source }
}
