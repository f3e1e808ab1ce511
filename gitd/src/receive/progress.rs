//! Text on its way to the pusher while a push is worked on.

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::pktline::{self, Band};

/// After so much silence the pusher gets a sign of life, as from git's own server.
const SILENCE: Duration = Duration::from_secs(5);

/// Sends text on band 2 as it comes, until `done` has been told and the text before it is sent. Without
/// `side_band` the text is dropped. A pusher who has gone does not hold anybody up.
pub(crate) async fn relay(
    stdout: &mut (dyn AsyncWrite + Send + Unpin),
    side_band: bool,
    mut text: mpsc::Receiver<Vec<u8>>,
    mut done: oneshot::Receiver<()>,
) {
    loop {
        let next = tokio::select! {
            biased;
            bytes = timeout(SILENCE, text.recv()) => bytes,
            _ = &mut done => break,
        };
        match next {
            Ok(Some(bytes)) if side_band => send(stdout, &bytes).await,
            Err(_) if side_band => write(stdout, pktline::KEEPALIVE).await,
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => break,
        }
    }
    text.close();
    while let Some(bytes) = text.recv().await {
        if side_band {
            send(stdout, &bytes).await;
        }
    }
}

async fn send(stdout: &mut (dyn AsyncWrite + Send + Unpin), bytes: &[u8]) {
    let mut packets = Vec::with_capacity(bytes.len() + 5);
    pktline::band(&mut packets, Band::Progress, bytes);
    write(stdout, &packets).await;
}

async fn write(stdout: &mut (dyn AsyncWrite + Send + Unpin), bytes: &[u8]) {
    let _gone = stdout.write_all(bytes).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn text_in_order_then_signs_of_life_then_the_end() {
        let (sender, text) = mpsc::channel(4);
        let (finish, done) = oneshot::channel();
        let mut stdout = Vec::new();
        let work = async {
            sender.send(b"one\n".to_vec()).await.unwrap();
            tokio::time::sleep(SILENCE * 3 / 2).await;
            sender.send(b"two\n".to_vec()).await.unwrap();
            finish.send(()).unwrap();
        };
        tokio::join!(work, relay(&mut stdout, true, text, done));
        assert_eq!(stdout, b"0009\x02one\n0005\x010009\x02two\n");
        assert!(sender.send(Vec::new()).await.is_err());
    }
}
