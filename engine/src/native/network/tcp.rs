//! Outgoing TCP connections. The kernel inside speaks TCP with the program; the relay dials the other side first, and only
//! then lets the program's first packet through, so that `connect` inside ends as the relay's own attempt did.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::packet::{self, LONGEST_FIRST, Pair};
use super::relay::{Relay, unreachable};
use super::stream::reset;
use crate::native::sys;

/// Connections at the same time, those being dialled included.
const MOST: usize = 4096;
/// How long dialling may take; the program inside may give up earlier.
const DIAL_LIMIT: Duration = Duration::from_secs(30);
/// How long a dialled connection waits to be taken up.
const TAKE_LIMIT: Duration = Duration::from_secs(5);

/// Connections that the program has asked for and not got yet.
pub(super) type Asked = HashMap<Pair, Attempt>;

/// How far the relay has come.
#[derive(Debug)]
pub(super) enum Attempt {
    Dialling(Open),
    Ready(Ready),
}

/// A connection to the other side that waits for the program's.
#[derive(Debug)]
pub(super) struct Ready {
    outside: TcpStream,
    first: Vec<u8>,
    open: Open,
    expiry: AbortHandle,
}

/// Watches for first packets.
pub(super) async fn watch(relay: Rc<Relay>, packets: OwnedFd) -> io::Result<()> {
    let packets = sys::watch(packets)?;
    let mut buffer = vec![0; LONGEST_FIRST as usize];
    loop {
        let length = packets
            .async_io(Interest::READABLE, |fd| Ok(recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?))
            .await?;
        if let Some((pair, first)) = packet::first_of_connection(&buffer[..length]) {
            relay.ask(pair, first);
        }
    }
}

/// Takes up connections whose first packet was let through.
pub(super) async fn take(relay: Rc<Relay>, listener: TcpListener) -> io::Result<()> {
    loop {
        let Ok((inside, peer)) = listener.accept().await else {
            // Out of descriptors: some connection has to end first.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Ok(to) = inside.local_addr() else { continue };
        match relay.taken(Pair { from: peer, to }) {
            Some(ready) => drop(spawn_local(relay.clone().carry(inside, ready.outside, ready.open))),
            None => reset(&inside),
        }
    }
}

/// Takes up connections to the sandbox's loopback that are meant for the host's.
pub(super) async fn forward(relay: Rc<Relay>, listener: TcpListener, to: SocketAddr) -> io::Result<()> {
    loop {
        match (listener.accept().await, relay.open()) {
            (Ok((inside, _)), Some(open)) => drop(spawn_local(relay.clone().pass_on(inside, to, open))),
            (Ok((inside, _)), None) => reset(&inside),
            (Err(_), _) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// One of the connections that are permitted at the same time.
#[derive(Debug)]
pub(super) struct Open(#[expect(dead_code, reason = "counted, not read")] Rc<()>);

impl Relay {
    fn open(&self) -> Option<Open> {
        (Rc::strong_count(&self.open) <= MOST).then(|| Open(Rc::clone(&self.open)))
    }

    /// A first packet was seen; a repeated one is let through if the other side is there.
    fn ask(self: &Rc<Self>, pair: Pair, first: Vec<u8>) {
        match self.asked.borrow().get(&pair) {
            Some(Attempt::Dialling(_)) => return,
            Some(Attempt::Ready(ready)) => return self.send(pair.to, &ready.first),
            None => {}
        }
        // Beyond the bound nothing answers, and the program's kernel tries again by itself.
        let Some(open) = self.open() else { return };
        self.asked.borrow_mut().insert(pair, Attempt::Dialling(open));
        spawn_local(Rc::clone(self).attempt(pair, first));
    }

    async fn attempt(self: Rc<Self>, pair: Pair, first: Vec<u8>) {
        let dialled = self.dial(pair).await;
        let Some(Attempt::Dialling(open)) = self.asked.borrow_mut().remove(&pair) else { return };
        match dialled {
            Ok(outside) => {
                self.send(pair.to, &first);
                let expiry = spawn_local(Rc::clone(&self).forget(pair)).abort_handle();
                self.asked.borrow_mut().insert(pair, Attempt::Ready(Ready { outside, first, open, expiry }));
            }
            Err(error) => self.refuse(pair, packet::refuse_connection(pair, &first, unreachable(&error))),
        }
    }

    async fn dial(&self, pair: Pair) -> io::Result<TcpStream> {
        let mut last = io::ErrorKind::HostUnreachable.into();
        for target in self.targets(pair.to)? {
            match timeout(DIAL_LIMIT, TcpStream::connect(target)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    /// A dialled connection that nobody takes up is closed.
    async fn forget(self: Rc<Self>, pair: Pair) {
        sleep(TAKE_LIMIT).await;
        self.asked.borrow_mut().remove(&pair);
    }

    fn taken(&self, pair: Pair) -> Option<Ready> {
        let mut asked = self.asked.borrow_mut();
        match asked.remove(&pair)? {
            Attempt::Ready(ready) => {
                ready.expiry.abort();
                Some(ready)
            }
            dialling @ Attempt::Dialling(_) => {
                asked.insert(pair, dialling);
                None
            }
        }
    }

    async fn carry(self: Rc<Self>, inside: TcpStream, outside: TcpStream, open: Open) {
        self.exchange.join(inside, outside).await;
        drop(open);
    }

    async fn pass_on(self: Rc<Self>, inside: TcpStream, to: SocketAddr, open: Open) {
        match timeout(DIAL_LIMIT, TcpStream::connect(to)).await {
            Ok(Ok(outside)) => self.carry(inside, outside, open).await,
            _ => reset(&inside),
        }
    }
}
