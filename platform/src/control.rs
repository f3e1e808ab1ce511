//! `control.sock`: commands for the daemon from the machine it runs on.
//!
//! Whoever can open the socket (mode 0600: the daemon's own user, and root) is the local administrator. A connection
//! carries one command in frames ([`frame`]); the daemon makes of it the same channel that SSH gives, so that every command
//! works the same on both ways.

mod client;
mod connection;
mod frame;
mod input;
mod streams;
mod terminal;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tokio::net::UnixListener;

use crate::platform::Platform;

pub use client::call;

/// Makes the socket, replacing one that a daemon left behind. The caller holds the home's lock: no other daemon listens.
pub fn listen(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    // Bound where nobody else can come, and moved when only we can open it.
    let directory = tempfile::Builder::new().prefix(".s").tempdir_in(path.parent().unwrap_or(Path::new(".")))?;
    let made = directory.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&made)?;
    std::fs::set_permissions(&made, PermissionsExt::from_mode(0o600))?;
    std::fs::rename(&made, path)?;
    Ok(listener)
}

/// Serves commands until the platform is relieved of its duties.
pub async fn serve(platform: Arc<Platform>, listener: UnixListener) {
    let duties = platform.duties.clone();
    while let Some(accepted) = duties.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                platform.visits.spawn(connection::serve(platform.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting on control.sock");
                // Out of file descriptors, most likely: some will be free again.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_owner_can_open_the_socket_and_an_old_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(listen(&path).unwrap());
        let listener = listen(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let client = tokio::net::UnixStream::connect(&path);
        let (client, server) = tokio::join!(client, listener.accept());
        assert!(client.is_ok() && server.is_ok());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
