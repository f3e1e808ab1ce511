//! The sockets that the server listens on, when it does not bind them itself: a service manager or an earlier daemon did.
//!
//! Each has a name: `ssh`, `http`, `https`; between daemons also `internal` (where apps reach each other), `control` and
//! `metrics`. Of `http`, `https` and `internal` there may be several, all on one address.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use router::Listeners;

use crate::failure::{Failure, Result};

/// Sockets that listen already. What is missing the server binds itself.
#[derive(Debug, Default)]
pub struct Sockets {
    /// SSH.
    pub ssh: Option<TcpListener>,
    /// HTTP.
    pub http: Option<Listeners>,
    /// HTTPS.
    pub https: Option<Listeners>,
    /// Where apps reach each other.
    pub internal: Option<Listeners>,
    /// Commands on this machine.
    pub control: Option<UnixListener>,
    /// Metrics.
    pub metrics: Option<TcpListener>,
}

impl Sockets {
    /// Those that a service manager has passed (`sd_listen_fds(3)`): socket units with `FileDescriptorName=`.
    pub fn from_service_manager() -> Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let failed = |e: io::Error| Failure::io("taking the sockets of the service manager", &e);
        let mut found = Vec::new();
        for number in 0..passed.len() {
            let name = names.split(':').nth(number).unwrap_or_default();
            let Some(socket) = passed.take_tcp_listener(number).map_err(failed)? else { continue };
            // Passed across an exec, they would be to the next one, too.
            fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|e| failed(e.into()))?;
            if !matches!(name, "ssh" | "http" | "https") {
                let remedy = "set FileDescriptorName=ssh, http or https in the socket's unit";
                return Err(Failure::new(format!("the service manager passed a socket named {name:?}"), remedy));
            }
            found.push((name.to_owned(), OwnedFd::from(socket)));
        }
        Self::from_named(found).map_err(failed)
    }

    /// Puts them together; those of an unknown name are closed.
    pub fn from_named(named: impl IntoIterator<Item = (String, OwnedFd)>) -> io::Result<Self> {
        let mut sockets = Self::default();
        let [mut http, mut https, mut internal] = [const { Vec::new() }; 3];
        for (name, socket) in named {
            match name.as_str() {
                "ssh" => sockets.ssh = Some(socket.into()),
                "http" => http.push(socket.into()),
                "https" => https.push(socket.into()),
                "internal" => internal.push(socket.into()),
                "control" => sockets.control = Some(socket.into()),
                "metrics" => sockets.metrics = Some(socket.into()),
                _ => tracing::warn!(name, "nobody here knows what to do with this socket"),
            }
        }
        sockets.http = Listeners::inherit(http)?;
        sockets.https = Listeners::inherit(https)?;
        sockets.internal = Listeners::inherit(internal)?;
        Ok(sockets)
    }

    /// Each with its name.
    pub fn named(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        let one = |name, socket| (name, socket);
        let tcp = [("http", &self.http), ("https", &self.https), ("internal", &self.internal)];
        let tcp = tcp.into_iter().flat_map(|(name, listeners)| {
            let sockets = listeners.iter().flat_map(Listeners::sockets);
            sockets.map(move |socket| (name, socket.as_fd()))
        });
        let ssh = self.ssh.iter().map(|socket| one("ssh", socket.as_fd()));
        let control = self.control.iter().map(|socket| one("control", socket.as_fd()));
        let metrics = self.metrics.iter().map(|socket| one("metrics", socket.as_fd()));
        ssh.chain(control).chain(metrics).chain(tcp).collect()
    }

    /// The same sockets once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        let listeners = |listeners: &Option<Listeners>| listeners.as_ref().map(Listeners::try_clone).transpose();
        Ok(Self {
            ssh: self.ssh.as_ref().map(TcpListener::try_clone).transpose()?,
            http: listeners(&self.http)?,
            https: listeners(&self.https)?,
            internal: listeners(&self.internal)?,
            control: self.control.as_ref().map(UnixListener::try_clone).transpose()?,
            metrics: self.metrics.as_ref().map(TcpListener::try_clone).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_go_by_their_names() {
        let tcp = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (ssh, http, strange) = (tcp(), tcp(), tcp());
        let address = (ssh.local_addr().unwrap(), http.local_addr().unwrap());
        let again = http.try_clone().unwrap();
        let named = [("http", http), ("ssh", ssh), ("smtp", strange), ("http", again)];
        let named = named.map(|(name, socket)| (name.to_owned(), OwnedFd::from(socket)));
        let sockets = Sockets::from_named(named).unwrap();
        let found = (sockets.ssh.as_ref().unwrap().local_addr().unwrap(), sockets.http.as_ref().unwrap().address());
        assert_eq!(found, address);
        let copies = sockets.try_clone().unwrap();
        assert_eq!(copies.named().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["ssh", "http", "http"]);
    }
}
