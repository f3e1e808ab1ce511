//! An upgrade, on the side of the server that is replaced: it gives its home and sockets to another, ends what it has begun, and
//! takes them back if the other does not manage.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::start::{Parts, start};
use super::{GRACE, Running};
use crate::failure::{Failure, Result};
use crate::gate::Shut;
use crate::handover::Successor;
use crate::notify::{self, notify};
use crate::settings::Settings;
use crate::sockets::Sockets;

/// How long a new server may take to serve, once the home is free.
const TAKING_OVER: Duration = Duration::from_secs(60);
/// How long clients of a server that was replaced may go on using their connections. Shorter than the time that replaced
/// instances have for requests in flight: those of the old server find theirs alive.
const LINGER: Duration = Duration::from_secs(10);

/// Who serves now.
pub(super) enum HandedOver<Leaving> {
    /// The new server. What this one has begun is still to end.
    ToAnother(Leaving),
    /// A new server in this same process, because the other did not manage.
    ToMyself(Running),
}

/// Gives the home to the new server.
pub(super) async fn hand_over(
    settings: &Settings,
    mut running: Running,
    mut successor: Successor,
    shut: Shut,
    answer: oneshot::Sender<Result<u32>>,
) -> Result<HandedOver<impl Future<Output = ()>>> {
    let sockets = running.give_up().await?;
    shut.for_ever();
    let taken = match successor.take(&sockets) {
        Ok(()) => successor.ready(TAKING_OVER).await,
        Err(failure) => Err(failure),
    };
    let Err(failure) = taken else {
        drop(sockets);
        let pid = successor.pid();
        notify(&notify::main_process(pid));
        tracing::info!(pid, "another server has taken over");
        let _gone = answer.send(Ok(pid));
        let presence = successor.leave_alone();
        let drain = settings.drain;
        return Ok(HandedOver::ToAnother(async move {
            leave(running, drain).await;
            drop(presence);
        }));
    };
    successor.kill().await;
    tracing::error!(%failure, "not upgraded");
    let again = start_again(settings, sockets, running).await?;
    let _gone = answer.send(Err(failure));
    Ok(HandedOver::ToMyself(again))
}

/// A new server in the place of one that has given the home up.
async fn start_again(settings: &Settings, sockets: Sockets, old: Running) -> Result<Running> {
    let alone = CancellationToken::new();
    let again = start(settings, Parts::find(settings).await?, sockets, alone.clone()).await?;
    let drain = settings.drain;
    again.platform.visits.spawn(async move {
        leave(old, drain).await;
        alone.cancel();
    });
    Ok(again)
}

impl Running {
    /// Looks after nothing any more, but goes on answering requests. Gives copies of the sockets. Nothing changes meanwhile:
    /// the gate is shut.
    async fn give_up(&mut self) -> Result<Sockets> {
        let platform = &self.platform;
        let failed = |e: io::Error| Failure::io("handing the sockets over", &e);
        let edge = platform.edge.sockets().map_err(failed)?;
        let sockets = Sockets {
            ssh: Some(self.ssh_socket.try_clone().map_err(failed)?),
            http: edge.http,
            https: edge.https,
            internal: edge.internal,
            control: Some(self.control_socket.try_clone().map_err(failed)?),
            metrics: self.metrics_socket.as_ref().map(TcpListener::try_clone).transpose().map_err(failed)?,
        };
        self.ssh.stop_accepting();
        platform.thaw_sleepers().await;
        platform.duties.cancel();
        let _ended = (&mut self.control).await;
        platform.tasks.close();
        if tokio::time::timeout(GRACE, platform.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        // Dropped, it would take parents of control groups away that the next one counts on.
        std::mem::forget(platform.engines.clone());
        self.lock = None;
        Ok(sockets)
    }
}

/// Lets what a server that gave the home up has begun come to its end, for at most `drain`.
async fn leave(running: Running, drain: Duration) {
    let Running { platform, ssh, ssh_socket, control_socket, metrics_socket, .. } = running;
    drop((ssh_socket, control_socket, metrics_socket));
    platform.visits.close();
    let requests = async {
        platform.edge.close(LINGER, drain).await;
        platform.traffic.close();
    };
    let visits = tokio::time::timeout(drain, platform.visits.wait());
    let ((), (), _all_or_late) = tokio::join!(requests, ssh.shutdown(drain), visits);
    platform.shutdown.cancel();
    if tokio::time::timeout(GRACE, platform.visits.wait()).await.is_err() {
        tracing::warn!("some commands did not end in time");
    }
}
