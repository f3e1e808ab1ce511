//! What changes the server's state goes through here, so that the server can be handed over between two changes.
//!
//! Every push and every command that changes something holds a [`Pass`] from its beginning to its end. Who shuts the gate
//! waits until all have come out; those who come meanwhile wait outside, and are let in again or turned away.

use std::sync::Arc;
use std::time::Duration;

use gitd::Output;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Result};

/// The gate of one server.
#[derive(Debug, Default)]
pub struct Gate {
    inside: Arc<RwLock<()>>,
    /// It does not open any more.
    closed: CancellationToken,
}

/// The right to change something.
#[derive(Debug)]
pub struct Pass(#[expect(dead_code, reason = "held, not used")] OwnedRwLockReadGuard<()>);

/// Nobody is inside. Opens again when it is dropped.
#[derive(Debug)]
pub struct Shut {
    _nobody: OwnedRwLockWriteGuard<()>,
    closed: CancellationToken,
}

impl Gate {
    /// Goes in. Waits while it is shut, and says so.
    pub async fn enter(&self, output: &Output) -> Result<Pass> {
        if let Ok(inside) = self.inside.clone().try_read_owned() {
            return self.check(inside);
        }
        output.line("-----> Waiting for an upgrade of the server").await;
        let entering = self.inside.clone().read_owned();
        let inside = output.cancelled().run_until_cancelled(entering).await;
        self.check(inside.ok_or_else(|| Failure::plain("cancelled while waiting"))?)
    }

    fn check(&self, inside: OwnedRwLockReadGuard<()>) -> Result<Pass> {
        if self.closed.is_cancelled() {
            return Err(Failure::new(
                "the server has been upgraded meanwhile",
                "say that again: the new server answers",
            ));
        }
        Ok(Pass(inside))
    }

    /// Waits until nobody is inside and keeps everybody out; None if that takes longer than `limit`.
    pub async fn shut(&self, limit: Duration) -> Option<Shut> {
        let nobody = tokio::time::timeout(limit, self.inside.clone().write_owned()).await.ok()?;
        Some(Shut { _nobody: nobody, closed: self.closed.clone() })
    }
}

impl Shut {
    /// Turns away whoever waits or comes.
    pub fn for_ever(self) {
        self.closed.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> (Output, tokio::sync::mpsc::Receiver<Vec<u8>>) {
        Output::new(CancellationToken::new())
    }

    #[tokio::test]
    async fn it_shuts_when_all_have_come_out() {
        let (gate, (output, _text)) = (Gate::default(), output());
        let (one, two) = (gate.enter(&output).await.unwrap(), gate.enter(&output).await.unwrap());
        assert!(gate.shut(Duration::from_millis(10)).await.is_none(), "two are inside");
        drop(one);
        assert!(gate.shut(Duration::from_millis(10)).await.is_none(), "one is inside");
        let shutting = gate.shut(Duration::from_secs(60));
        let leaving = async { drop(two) };
        assert!(tokio::join!(shutting, leaving).0.is_some());
    }

    #[tokio::test]
    async fn those_outside_are_let_in_again_or_turned_away() {
        let (gate, (output, mut text)) = (Gate::default(), output());
        let shut = gate.shut(Duration::from_secs(1)).await.unwrap();
        let (pass, ()) = tokio::join!(gate.enter(&output), async {
            let said = text.recv().await.unwrap();
            assert_eq!(said, b"-----> Waiting for an upgrade of the server\n");
            drop(shut);
        });
        drop(pass.unwrap());
        let shut = gate.shut(Duration::from_secs(1)).await.unwrap();
        let (refused, ()) = tokio::join!(gate.enter(&output), async {
            text.recv().await.unwrap();
            shut.for_ever();
        });
        assert!(refused.unwrap_err().message.contains("upgraded"));
        assert!(gate.enter(&output).await.is_err());
    }
}
