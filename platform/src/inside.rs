//! Programs inside an app: shells and commands in a running instance, and one-offs of the current release.

use std::sync::Arc;

use engine::{Command, Exit, Streams, WindowSize};
use gitd::{Channel, Output};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::failure::{Failure, Result};
use crate::instance::{CODE, Instance, Labels, USER_HOME, environment, instance_id, prepared, shell, suffix};
use crate::names::Process;
use crate::nap::Visit;
use crate::platform::Platform;
use crate::release::Runnable;
use crate::store::App;
use crate::toolchain::PROGRAM;
use crate::uses::held_until_the_end_of;

/// What to run inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A shell for a person.
    Shell,
    /// A line, as any sshd runs it: by `sh -c`.
    Line(String),
    /// File transfers: this program again, which is shown inside.
    Sftp,
}

impl Program {
    /// What is to be started for it beside a process, or instead of one.
    fn prepared(self, release: &Runnable, process: &str) -> Vec<String> {
        match self {
            Self::Sftp => self.argv(),
            program => prepared(release, process, program.argv()),
        }
    }

    fn argv(self) -> Vec<String> {
        match self {
            Self::Shell => vec![shell().into(), "-l".into()],
            Self::Line(line) => vec!["/bin/sh".into(), "-c".into(), line],
            Self::Sftp => vec![PROGRAM.into(), gitd::sftp::ARGUMENT.into()],
        }
    }
}

impl Platform {
    /// A one-off instance of the current release running these words as they are, in the code's directory.
    pub async fn one_off(
        &self,
        app: &App,
        argv: Vec<String>,
        env: &[(String, String)],
        terminal: Option<WindowSize>,
    ) -> Result<engine::Process> {
        let release = self.current(app)?;
        self.attach(&release, &format!("run.{}", suffix()), argv, CODE, env, terminal).await
    }

    /// A program in the running instance at `place` (None: web.1, else the first that runs). Where nothing runs: in a one-off.
    pub async fn enter(
        self: &Arc<Self>,
        app: &App,
        place: Option<&Process>,
        program: Program,
        env: &[(String, String)],
        terminal: Option<WindowSize>,
        notice: &Output,
    ) -> Result<engine::Process> {
        let release = self.current(app)?;
        let visit = self.rouse(app.id).await;
        let running = self.running(app);
        let chosen = match place {
            Some(place) => {
                let found = running.into_iter().find(|instance| instance.labels.process == *place);
                Some(found.ok_or_else(|| not_running(app, place))?)
            }
            None => running.into_iter().max_by_key(|Instance { labels: Labels { process, .. }, .. }| {
                (process.kind.is_web(), std::cmp::Reverse(process.number))
            }),
        };
        let Some(Instance { id, labels: Labels { process, port, .. }, .. }) = chosen else {
            notice.line(&format!(" !     {} has no running instance: starting one for this session", app.name)).await;
            return self.attach(&release, &format!("run.{}", suffix()), program.argv(), USER_HOME, env, terminal).await;
        };
        let env = with_client_env(environment(&release, &process.to_string(), port), env);
        let command = Command { argv: program.prepared(&release, &process.to_string()), env, cwd: USER_HOME.into() };
        Ok(held_until_the_end_of(self.engine.exec(&id, &command, terminal).await?, visit))
    }

    fn running(&self, app: &App) -> Vec<Instance> {
        self.formations.of(app.id).places().iter().filter_map(|place| place.occupancy().instance).collect()
    }

    /// The port on loopback at which the instance's own processes listen as `port`, for forwarding.
    pub async fn forward(
        self: &Arc<Self>,
        app: &App,
        place: Option<&Process>,
        port: u16,
    ) -> Result<(tokio::net::TcpStream, Visit)> {
        let visit = self.rouse(app.id).await;
        let running = self.running(app);
        let chosen = running.into_iter().find(|instance| place.is_none_or(|place| *place == instance.labels.process));
        let id = chosen.ok_or_else(|| Failure::plain(format!("{} is not running", app.name)))?.id;
        let listening = self.engine.listening(&id).await?;
        if !listening.iter().any(|address| address.port() == port) {
            return Err(Failure::plain(format!("nothing in {} listens on port {port}", app.name)));
        }
        let stream = self.engine.connect(&id, port).await;
        Ok((stream.map_err(|e| Failure::io(format_args!("port {port}"), &e))?, visit))
    }

    async fn attach(
        &self,
        release: &Runnable,
        process: &str,
        argv: Vec<String>,
        cwd: &str,
        env: &[(String, String)],
        terminal: Option<WindowSize>,
    ) -> Result<engine::Process> {
        let id = instance_id(release, process, &suffix()).map_err(|e| Failure::plain(e.to_string()))?;
        let mut spec = self.spec(release, process, argv);
        spec.command.cwd = cwd.into();
        spec.command.env = with_client_env(spec.command.env, env);
        let lease = self.uses.lease(release.app, release.made_by);
        let process = self.engines.named(release.terms.engine).await?.attach(&id, &spec, terminal).await?;
        Ok(lease.until_the_end_of(process))
    }

    /// Runs a one-off to its end, its output to the user, indented.
    pub async fn run_to_end(
        &self,
        release: &Runnable,
        process: &str,
        argv: Vec<String>,
        output: &Output,
    ) -> Result<Exit> {
        let mut process = self.attach(release, process, argv, CODE, &[], None).await?;
        if let Some(Streams::Pipes { stdin, stdout, stderr }) = process.streams.take() {
            drop(stdin);
            tokio::join!(indent(stdout, output), indent(stderr, output));
        }
        Ok(process.control.wait().await?)
    }
}

/// The variables and the size of a client's terminal, as a program inside gets them.
pub fn client_terminal(channel: &Channel) -> (Vec<(String, String)>, Option<WindowSize>) {
    let mut env = channel.env.clone();
    let Some(terminal) = &channel.terminal else { return (env, None) };
    if !terminal.term.is_empty() {
        env.push(("TERM".into(), terminal.term.clone()));
    }
    let size = *terminal.size.borrow();
    (env, Some(WindowSize { columns: size.columns, rows: size.rows }))
}

/// The client's variables (`TERM`, `LANG`, …) over the app's.
fn with_client_env(mut env: Vec<(String, String)>, client: &[(String, String)]) -> Vec<(String, String)> {
    for (name, value) in client {
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    env
}

fn not_running(app: &App, place: &Process) -> Failure {
    Failure::new(format!("{place} of {} is not running", app.name), format!("see `ps {}` for what is", app.name))
}

/// Copies lines, each behind seven spaces.
async fn indent(mut from: Box<dyn AsyncRead + Send + Unpin>, to: &Output) {
    let mut buffer = vec![0; 16 << 10];
    let mut line_starts = true;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut indented = Vec::with_capacity(length + 64);
        for byte in &buffer[..length] {
            if std::mem::replace(&mut line_starts, *byte == b'\n') {
                indented.extend(b"       ");
            }
            indented.push(*byte);
        }
        to.write(&indented).await;
    }
    if !line_starts {
        to.write(b"\n").await;
    }
}
