//! Tells the service manager how the server is: the protocol of `sd_notify(3)`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The server is ready.
pub const READY: &str = "READY=1";
/// The server ends.
pub const STOPPING: &str = "STOPPING=1";

/// The server is another process from now on.
pub fn main_process(pid: u32) -> String {
    format!("MAINPID={pid}\n{READY}")
}

/// Says it to whoever asked to be told (`NOTIFY_SOCKET`); does nothing if nobody did.
pub fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, state, "telling the service manager");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reaches_sockets_with_a_path_and_without() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("airstrip-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listening = [
            (path.clone().into(), UnixDatagram::bind(&path)),
            (format!("@{name}").into(), UnixDatagram::bind_addr(&address)),
        ];
        for (socket, listener) in listening {
            let socket: std::ffi::OsString = socket;
            send(&socket, &main_process(7)).unwrap();
            let mut said = [0; 64];
            let length = listener.unwrap().recv(&mut said).unwrap();
            assert_eq!(&said[..length], b"MAINPID=7\nREADY=1");
        }
    }
}
