//! `airstrip serve`: puts the parts together, says when it is ready, and ends in order.

mod first_keys;
mod leaving;
mod open;
mod start;

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use gitd::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use self::leaving::{HandedOver, hand_over};
use self::start::begin;
use crate::failure::{Failure, Result};
use crate::handover::Predecessor;
use crate::home::HomeLock;
use crate::notify::{self, notify};
use crate::platform::Platform;
use crate::settings::Settings;
use crate::upgrade::{Program, Request};

/// How long requests, pushes and commands in flight have to end at a shutdown.
const GRACE: Duration = Duration::from_secs(30);

/// A server that has been started.
struct Running {
    platform: Arc<Platform>,
    ssh: Server,
    ssh_socket: TcpListener,
    control: tokio::task::JoinHandle<()>,
    control_socket: UnixListener,
    metrics_socket: Option<TcpListener>,
    upgrades: mpsc::Receiver<Request>,
    ready: String,
    lock: Option<HomeLock>,
}

/// Runs the server until SIGTERM, SIGINT or `stop-all`, or until another has taken its place and all that it began is done.
pub async fn serve(settings: Settings, predecessor: Option<Arc<Predecessor>>) -> Result<()> {
    let mut end = Ends::listen()?;
    let mut upgrade = listen_for(SignalKind::hangup())?;
    let program = Program::of_this_process()?;
    raise_descriptor_limit();
    let mut running = begin(&settings, predecessor).await?;
    loop {
        let request = tokio::select! {
            () = end.told() => break,
            () = running.platform.shutdown.cancelled() => break,
            _ = upgrade.recv() => Request::by_signal(),
            Some(request) = running.upgrades.recv() => request,
        };
        let prepared = running.platform.prepare_upgrade(&program, &request.output);
        let prepared = tokio::select! {
            prepared = request.output.cancelled().run_until_cancelled(prepared) => prepared,
            () = end.told() => break,
        };
        let (successor, shut) = match prepared.unwrap_or_else(|| Err(Failure::plain("cancelled"))) {
            Ok(prepared) => prepared,
            Err(failure) => {
                tracing::warn!(%failure, "not upgraded");
                let _gone = request.answer.send(Err(failure));
                continue;
            }
        };
        match hand_over(&settings, running, successor, shut, request.answer).await? {
            HandedOver::ToAnother(leaving) => {
                tokio::select! {
                    () = leaving => {}
                    () = end.told() => {}
                }
                return Ok(());
            }
            HandedOver::ToMyself(again) => running = again,
        }
    }
    notify(notify::STOPPING);
    stop(running).await;
    Ok(())
}

/// Every request in flight needs two descriptors; the usual soft limit of 1024 is for programs that use `select`.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "raising the limit of open files");
    }
}

fn listen_for(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|e| Failure::io("listening for signals", &e))
}

/// The signals that end the server.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn listen() -> Result<Self> {
        Ok(Self { terminate: listen_for(SignalKind::terminate())?, interrupt: listen_for(SignalKind::interrupt())? })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The one line on standard output that programs wait for.
#[expect(clippy::print_stdout, reason = "the contract's ready line")]
fn announce(line: &str) {
    println!("{line}");
}

/// Stops accepting, lets what is in flight end, leaves instances running.
async fn stop(running: Running) {
    let Running { platform, ssh, ssh_socket, control, control_socket, metrics_socket, .. } = running;
    drop((ssh_socket, control_socket, metrics_socket));
    platform.shutdown.cancel();
    tokio::join!(platform.edge.close(Duration::ZERO, GRACE), ssh.shutdown(GRACE));
    let _ended = control.await;
    platform.traffic.close();
    for tasks in [&platform.visits, &platform.tasks] {
        tasks.close();
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
    }
}
