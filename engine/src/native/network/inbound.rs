//! Connections into instances. A socket belongs for its whole life to the network it was made in: the first process of an
//! instance makes them, the daemon connects them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::InstanceId;
use crate::native::channel::Channel;
use crate::native::protocol::{MOST_SOCKETS, Reply, Request, send};

/// A first process answers at once, unless it is frozen or starved.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// On loopback a connection is there at once, unless the listener's queue is full.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// In a first process: makes sockets and hands them over.
pub(in crate::native) fn hand_over(to: impl AsFd, v6: bool, count: usize) -> io::Result<()> {
    let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    // Whoever asks gets what there is: none where the family is switched off.
    let made: Vec<_> =
        (0..count.min(MOST_SOCKETS)).map_while(|_| socket(family, SockType::Stream, flags, None).ok()).collect();
    let fds: Vec<_> = made.iter().map(AsFd::as_fd).collect();
    send(to.as_fd(), &Reply::Sockets, &fds)
}

/// In the daemon: the instances whose first process it is in touch with.
#[derive(Debug, Default)]
pub(in crate::native) struct Inbound(Mutex<HashMap<InstanceId, Arc<Stash>>>);

/// A channel to a first process, and sockets that it has made beforehand.
#[derive(Debug)]
pub(in crate::native) struct Stash(tokio::sync::Mutex<Sockets>);

#[derive(Debug)]
struct Sockets {
    channel: Channel,
    made: Vec<OwnedFd>,
    /// Answers that are still to come. Who asked for one may have gone meanwhile.
    due: usize,
}

impl Inbound {
    /// What there is of an instance.
    pub(in crate::native) fn get(&self, id: &InstanceId) -> Option<Arc<Stash>> {
        self.table().get(id).cloned()
    }

    pub(in crate::native) fn put(&self, id: &InstanceId, channel: Channel) -> Arc<Stash> {
        let stash = Arc::new(Stash(tokio::sync::Mutex::new(Sockets { channel, made: Vec::new(), due: 0 })));
        Arc::clone(self.table().entry(id.clone()).or_insert(stash))
    }

    /// To be called when an instance has ended: its sockets would keep its network alive.
    pub(in crate::native) fn forget(&self, id: &InstanceId) {
        self.table().remove(id);
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceId, Arc<Stash>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stash {
    /// Connects to a port of the instance's loopback. `Err` in `Ok`: nobody there accepts; `Err`: the instance does not answer.
    pub(in crate::native) async fn connect(&self, port: u16) -> io::Result<io::Result<TcpStream>> {
        let first = connect(self.take(false).await?, Ipv4Addr::LOCALHOST.into(), port).await;
        match first {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            other => return Ok(other),
        }
        match self.take(true).await {
            Ok(socket) => Ok(connect(socket, Ipv6Addr::LOCALHOST.into(), port).await),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                Ok(Err(io::ErrorKind::ConnectionRefused.into()))
            }
            Err(error) => Err(error),
        }
    }

    /// The limit holds for those who wait in turn, too.
    async fn take(&self, v6: bool) -> io::Result<OwnedFd> {
        timeout(ANSWER_LIMIT, async { self.0.lock().await.take(v6).await }).await?
    }
}

impl Sockets {
    async fn take(&mut self, v6: bool) -> io::Result<OwnedFd> {
        if !v6 && let Some(socket) = self.made.pop() {
            return Ok(socket);
        }
        let mut sockets = self.ask(v6, if v6 { 1 } else { MOST_SOCKETS }).await?;
        let socket = sockets.pop().ok_or(io::ErrorKind::AddrNotAvailable)?;
        self.made.append(&mut sockets);
        Ok(socket)
    }

    async fn ask(&mut self, v6: bool, count: usize) -> io::Result<Vec<OwnedFd>> {
        self.channel.send(Request::Sockets { v6, count })?;
        self.due += 1;
        loop {
            let Some((Reply::Sockets, sockets)) = self.channel.receive::<Reply>().await? else {
                return Err(io::ErrorKind::ConnectionReset.into());
            };
            self.due -= 1;
            if self.due == 0 {
                return Ok(sockets);
            }
        }
    }
}

async fn connect(socket: OwnedFd, ip: IpAddr, port: u16) -> io::Result<TcpStream> {
    let socket = TcpSocket::from_std_stream(StdTcpStream::from(socket));
    timeout(CONNECT_LIMIT, socket.connect(SocketAddr::new(ip, port))).await?
}
