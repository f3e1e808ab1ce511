//! An upgraded connection: bytes both ways until one side ends it or the target is cut.

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use crate::target::InFlight;

/// Copies both ways; the target counts it as in flight until the end.
pub(crate) async fn run(client: OnUpgrade, app: OnUpgrade, in_flight: InFlight) {
    let cut = in_flight.target().cut().clone();
    cut.run_until_cancelled(copy(client, app)).await;
}

async fn copy(client: OnUpgrade, app: OnUpgrade) {
    let (client, app) = match futures_util::future::try_join(client, app).await {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "upgrade did not complete"),
    };
    let (mut client, mut app): (TokioIo<Upgraded>, TokioIo<Upgraded>) = (TokioIo::new(client), TokioIo::new(app));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut app).await {
        tracing::debug!(%error, "upgraded connection ended");
    }
}
