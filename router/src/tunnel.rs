//! An upgraded connection: bytes both ways until one side ends it or the target is cut.

use std::io;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::target::InFlight;

/// Copies both ways, beginning with what the app has already said; the target counts it as in flight until the end.
pub(crate) async fn run(client: OnUpgrade, app: TcpStream, said: Bytes, mut in_flight: InFlight) {
    in_flight.lasts();
    let hang_up = in_flight.target().hang_up();
    hang_up.run_until_cancelled(copy(client, app, said)).await;
}

async fn copy(client: OnUpgrade, mut app: TcpStream, said: Bytes) {
    let mut client = match client.await {
        Ok(client) => TokioIo::new(client),
        Err(error) => return tracing::debug!(%error, "upgrade did not complete"),
    };
    if let Err(error) = exchange(&mut client, &mut app, &said).await {
        tracing::debug!(%error, "upgraded connection ended");
    }
}

async fn exchange(client: &mut TokioIo<Upgraded>, app: &mut TcpStream, said: &[u8]) -> io::Result<()> {
    client.write_all(said).await?;
    tokio::io::copy_bidirectional(client, app).await?;
    Ok(())
}
