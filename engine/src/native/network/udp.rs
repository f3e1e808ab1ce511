//! Outgoing datagrams: a socket of the host for each flow, whose answers go back inside under the name they were asked by.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

use super::packet::{self, Pair, UDP_HEADERS};
use super::relay::{Relay, unreachable};
use crate::native::sys;

/// Flows at the same time; the one that was silent longest makes room for a new one.
const MOST: usize = 1024;
const IDLE: Duration = Duration::from_secs(60);
/// A flow to a name server is one question or two.
const IDLE_NAMES: Duration = Duration::from_secs(10);
const LONGEST: usize = 1 << 16;

/// The flows there are.
#[derive(Debug)]
pub(super) struct Flows {
    table: RefCell<HashMap<Pair, Flow>>,
    /// For answers; what is before the data is for their headers.
    buffer: RefCell<Vec<u8>>,
    /// Which of the host's name servers is asked. Turns when one does not answer.
    name_server: Cell<usize>,
}

#[derive(Debug)]
struct Flow {
    socket: Rc<UdpSocket>,
    used: Rc<Cell<Instant>>,
    answered: Rc<Cell<bool>>,
    reader: AbortHandle,
}

impl Flows {
    pub(super) fn new() -> Self {
        let buffer = RefCell::new(vec![0; UDP_HEADERS + LONGEST]);
        Self { table: RefCell::default(), buffer, name_server: Cell::new(0) }
    }

    /// One of several name servers.
    pub(super) fn turn(&self, mut servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let turn = self.name_server.get() % servers.len().max(1);
        servers.rotate_left(turn);
        servers
    }

    fn make_room(&self) {
        let mut table = self.table.borrow_mut();
        if table.len() < MOST {
            return;
        }
        let oldest = table.iter().min_by_key(|(_, flow)| flow.used.get()).map(|(pair, _)| *pair);
        if let Some(flow) = oldest.and_then(|pair| table.remove(&pair)) {
            flow.reader.abort();
        }
    }
}

/// Takes the program's datagrams.
pub(super) async fn take(relay: Rc<Relay>, socket: OwnedFd) -> io::Result<()> {
    let socket = sys::watch(socket)?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = socket.async_io(Interest::READABLE, |fd| receive(fd.as_raw_fd(), &mut buffer)).await;
        match received {
            Ok((Some(pair), length)) => relay.datagram(pair, &buffer[..length]),
            Ok((None, _)) => {}
            // Such as one that a packet to a program that has gone came back with.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// One datagram, who sent it, and to whom.
fn receive(fd: i32, buffer: &mut [u8]) -> io::Result<(Option<Pair>, usize)> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut space = nix::cmsg_space!(libc::sockaddr_in6);
    let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let to = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4OrigDstAddr(to) => Some(SocketAddrV4::from(SockaddrIn::from(to)).into()),
        ControlMessageOwned::Ipv6OrigDstAddr(to) => Some(SocketAddrV6::from(SockaddrIn6::from(to)).into()),
        _ => None,
    });
    let from = message.address.and_then(|address| {
        let four = address.as_sockaddr_in().map(|from| SocketAddr::V4((*from).into()));
        four.or_else(|| address.as_sockaddr_in6().map(|from| SocketAddr::V6((*from).into())))
    });
    Ok((from.zip(to).map(|(from, to)| Pair { from, to }), message.bytes))
}

impl Relay {
    fn datagram(self: &Rc<Self>, pair: Pair, data: &[u8]) {
        if let Some(answer) = self.answer(pair.to, data) {
            return self.send_datagram(Pair { from: pair.to, to: pair.from }, &answer);
        }
        let sent = self.flow(pair).and_then(|socket| SockRef::from(&*socket).send(data));
        match sent {
            // A full buffer loses datagrams, as networks do.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.refuse(pair, packet::refuse_datagram(pair, unreachable(&error))),
        }
    }

    fn send_datagram(&self, pair: Pair, data: &[u8]) {
        let mut packet = [&[0; UDP_HEADERS][..], data].concat();
        if let Some(packet) = packet::datagram(pair, &mut packet) {
            self.send(pair.to, packet);
        }
    }

    /// The socket of a flow.
    fn flow(self: &Rc<Self>, pair: Pair) -> io::Result<Rc<UdpSocket>> {
        if let Some(flow) = self.flows.table.borrow().get(&pair) {
            let silent = flow.used.replace(Instant::now()).elapsed() > Duration::from_secs(1);
            if !(Self::asks_names(pair.to) && silent && !flow.answered.get()) {
                return Ok(Rc::clone(&flow.socket));
            }
            // A question repeated because nobody answered: ask the next.
            self.flows.name_server.set(self.flows.name_server.get() + 1);
        }
        self.begin(pair)
    }

    fn begin(self: &Rc<Self>, pair: Pair) -> io::Result<Rc<UdpSocket>> {
        let to = self.targets(pair.to)?.into_iter().next().ok_or(io::ErrorKind::HostUnreachable)?;
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        let socket = Rc::new(UdpSocket::from_std(socket)?);
        let (used, answered) = (Rc::new(Cell::new(Instant::now())), Rc::new(Cell::new(false)));
        self.flows.make_room();
        let reader = Reader { socket: socket.clone(), used: used.clone(), answered: answered.clone(), pair };
        let reader = spawn_local(reader.run(Rc::clone(self))).abort_handle();
        let flow = Flow { socket: socket.clone(), used, answered, reader };
        if let Some(old) = self.flows.table.borrow_mut().insert(pair, flow) {
            old.reader.abort();
        }
        Ok(socket)
    }
}

/// Brings a flow's answers back, until it has been silent for long.
struct Reader {
    socket: Rc<UdpSocket>,
    used: Rc<Cell<Instant>>,
    answered: Rc<Cell<bool>>,
    pair: Pair,
}

impl Reader {
    async fn run(self, relay: Rc<Relay>) {
        let idle = if Relay::asks_names(self.pair.to) { IDLE_NAMES } else { IDLE };
        loop {
            let end = self.used.get() + idle;
            tokio::select! {
                ready = self.socket.ready(Interest::READABLE | Interest::ERROR) => {
                    match ready {
                        Ok(ready) if ready.is_readable() => self.bring(&relay, Interest::READABLE),
                        // A refusal; the runtime takes only one kind of readiness at a time.
                        Ok(_) => self.bring(&relay, Interest::ERROR),
                        Err(_) => break,
                    }
                }
                () = sleep_until(end) => {
                    if self.used.get() + idle <= Instant::now() {
                        break;
                    }
                }
            }
        }
        relay.flows.table.borrow_mut().remove(&self.pair);
    }

    /// Everything that has come.
    fn bring(&self, relay: &Relay, ready: Interest) {
        let mut buffer = relay.flows.buffer.borrow_mut();
        let back = Pair { from: self.pair.to, to: self.pair.from };
        loop {
            match self.socket.try_io(ready, || receive_plain(&self.socket, &mut buffer[UDP_HEADERS..])) {
                Ok(length) => {
                    self.used.set(Instant::now());
                    self.answered.set(true);
                    let packet = &mut buffer[..UDP_HEADERS + length];
                    if let Some(packet) = packet::datagram(back, packet) {
                        relay.send(self.pair.from, packet);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return relay.refuse(self.pair, packet::refuse_datagram(self.pair, unreachable(&error))),
            }
        }
    }
}

fn receive_plain(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(nix::sys::socket::recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
}
