//! A forwarded connection (`ssh -L`): bytes in both directions until both ends are done.

use std::time::Duration;

use russh::ChannelOpenFailure;
use russh::server::ChannelOpenHandle;
use tokio::io::{AsyncWriteExt, copy as copy_all, split};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::inlet::Stdin;
use crate::outlet::{Outgoing, Outlet};
use crate::{Duplex, Session};

/// Time for the other end to accept.
const CONNECT: Duration = Duration::from_secs(30);

/// Where the client wants to go.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The channel's side.
pub(crate) struct Streams {
    pub(crate) stdin: Stdin,
    pub(crate) output: mpsc::Sender<Outgoing>,
    pub(crate) hangup: CancellationToken,
}

/// Asks the session for a connection, and tells the client whether there is one.
pub(crate) async fn connect(
    session: &dyn Session,
    target: &Target,
    reply: ChannelOpenHandle,
) -> Option<Box<dyn Duplex>> {
    if !session.still_allowed().await {
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        return None;
    }
    match timeout(CONNECT, session.forward(&target.host, target.port)).await {
        Ok(Ok(remote)) => {
            reply.accept().await;
            Some(remote)
        }
        Ok(Err(refusal)) => {
            tracing::debug!(host = target.host, port = target.port, %refusal, "forwarding refused");
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            None
        }
        Err(_) => {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            None
        }
    }
}

/// Copies both ways; an end of file is passed on, the channel closed after the second.
pub(crate) async fn copy(remote: Box<dyn Duplex>, streams: Streams) {
    let Streams { mut stdin, output, hangup } = streams;
    let (mut from_remote, mut to_remote) = split(remote);
    let mut outlet = Outlet::stdout(&output);
    let upward = async {
        let _broken = copy_all(&mut stdin, &mut to_remote).await;
        let _gone = to_remote.shutdown().await;
    };
    let downward = async {
        let _broken = copy_all(&mut from_remote, &mut outlet).await;
        let _gone = output.send(Outgoing::Eof).await;
    };
    tokio::select! {
        _ = async { tokio::join!(upward, downward) } => {}
        () = hangup.cancelled() => {}
    }
    let _gone = output.send(Outgoing::Close).await;
}
