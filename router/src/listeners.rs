//! Sockets that listen: bound here, or taken over from somebody who did.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::{Limits, RouterError};

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;

/// After this long without a packet the kernel asks whether the client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Sockets that listen on one address, among which the kernel spreads the connections. While any copy of them is open, in
/// whatever process, no connection is refused or lost: what one router has not accepted another can.
#[derive(Debug)]
pub struct Listeners {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
}

impl Listeners {
    /// One for each thread.
    ///
    /// The first binds before it allows sharing, so that an address somebody else listens on is an error, even if it is
    /// another router of the same user.
    pub fn bind(address: SocketAddr, limits: &Limits) -> Result<Self, RouterError> {
        bind(address, limits.threads).map_err(|source| RouterError::Bind { address, source })
    }

    /// Those that somebody else has bound, to one address all of them. None if there is none.
    pub fn inherit(sockets: Vec<TcpListener>) -> io::Result<Option<Self>> {
        let Some(first) = sockets.first() else { return Ok(None) };
        Ok(Some(Self { address: first.local_addr()?, sockets }))
    }

    /// The real address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The sockets, to be handed over.
    pub fn sockets(&self) -> &[TcpListener] {
        &self.sockets
    }

    /// The same sockets once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        let sockets = self.sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { address: self.address, sockets })
    }

    /// For each thread those that it accepts from: every socket is somebody's, and everybody has one.
    pub(crate) fn shared_out(self, limits: &Limits) -> io::Result<Vec<Vec<TcpListener>>> {
        self.sockets.iter().try_for_each(|socket| activate(socket, limits))?;
        let mut shares: Vec<Vec<TcpListener>> = (0..limits.threads).map(|_| Vec::new()).collect();
        let without = shares.iter_mut().skip(self.sockets.len());
        for (share, socket) in without.zip(self.sockets.iter().cycle()) {
            share.push(socket.try_clone()?);
        }
        for (number, socket) in self.sockets.into_iter().enumerate() {
            shares[number % limits.threads].push(socket);
        }
        Ok(shares)
    }
}

fn bind(address: SocketAddr, count: usize) -> io::Result<Listeners> {
    let first = socket(address)?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..count {
        let next = socket(address)?;
        next.set_reuse_port(true)?;
        next.bind(&bound.into())?;
        sockets.push(next);
    }
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok(Listeners { address: bound, sockets: sockets.into_iter().map(Into::into).collect() })
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Accepted connections inherit these options. The user timeout makes the kernel end a connection whose client takes
/// nothing of an answer, or less than the next packet in all that time; keepalive, one whose client has vanished.
fn activate(socket: &TcpListener, limits: &Limits) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(limits.stall))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_nonblocking(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sockets, threads; then how many of them each thread has.
    #[test]
    fn every_socket_has_a_thread_and_every_thread_a_socket() {
        for (sockets, threads, expected) in
            [(1, 1, vec![1]), (2, 2, vec![1, 1]), (1, 3, vec![1, 1, 1]), (3, 2, vec![2, 1]), (2, 5, vec![1; 5])]
        {
            let limits = Limits { threads, ..Limits::default() };
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let listeners = Listeners::bind(any, &Limits { threads: sockets, ..Limits::default() }).unwrap();
            let shares = listeners.shared_out(&limits).unwrap();
            assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{sockets} sockets");
        }
    }
}
