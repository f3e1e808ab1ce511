//! The process that carries what a sandbox sends to the outside, and back. It lives in the host's network, has no privilege,
//! and holds sockets of the sandbox's network; see [`super`] for how packets come to it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use caps::CapSet;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, MsgFlags, SockaddrLike, SockaddrStorage, sendto};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::{JoinSet, LocalSet};

use super::packet::{Pair, Unreachable};
use super::policy::{Policy, Route};
use super::route::Routes;
use super::stream::Exchange;
use super::udp::Flows;
use super::{NAME_SERVER, SOCKETS, internal, nameserver, tcp, udp};
use crate::Egress;
use crate::native::protocol::{self, Request, receive};
use crate::native::{memory, seccomp, sys};

/// Two for each connection, one for each flow, and some.
const DESCRIPTORS: u64 = 10_240;
const DOMAIN: u16 = 53;

/// What the relay of a sandbox is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) egress: Egress,
    pub(super) exceptions: Vec<SocketAddr>,
    /// Where connections to internal names go.
    pub(super) internal: Option<SocketAddr>,
    /// Where connections go that a listener inside takes up, in the order of those listeners.
    pub(super) forwards: Vec<SocketAddr>,
    /// Whether there are sockets for IPv6, too.
    pub(super) ipv6: bool,
    /// The user to become; only root can choose.
    pub(super) uid: Option<u32>,
}

/// A relay's whole life.
pub(in crate::native) fn main() -> io::Result<()> {
    let shim = sys::take_standard_input()?;
    let Some((Request::Start, mut fds)) = receive(shim.as_fd())? else { return Ok(()) };
    if fds.len() <= SOCKETS {
        return Ok(());
    }
    let job: Job = protocol::read_job(fds.remove(0))?;
    confine(job.uid)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, serve(job, fds, shim))
}

/// Gives up every privilege, for good.
fn confine(uid: Option<u32>) -> io::Result<()> {
    // Room for all connections, as far as the machine permits.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS.max(hard)).is_err() {
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(DESCRIPTORS), hard)?;
    }
    for none in [Resource::RLIMIT_CORE, Resource::RLIMIT_FSIZE] {
        setrlimit(none, 0, 0)?;
    }
    if let Some(uid) = uid {
        caps::clear(None, CapSet::Bounding).map_err(io::Error::other)?;
        setgroups(&[])?;
        setresgid(Gid::from_raw(uid), Gid::from_raw(uid), Gid::from_raw(uid))?;
        setresuid(Uid::from_raw(uid), Uid::from_raw(uid), Uid::from_raw(uid))?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    seccomp::apply()
}

async fn serve(job: Job, fds: Vec<OwnedFd>, shim: OwnedFd) -> io::Result<()> {
    let mut fds = fds.into_iter();
    let four = Sockets::take(&mut fds)?;
    let six = if job.ipv6 { Some(Sockets::take(&mut fds)?) } else { None };
    let raw6 = six.as_ref().map(|six| six.raw.try_clone()).transpose()?;
    let relay = Rc::new(Relay {
        policy: Policy { egress: job.egress, exceptions: job.exceptions },
        routes: Routes::open()?,
        internal: job.internal,
        raw: four.raw.try_clone()?,
        raw6,
        asked: RefCell::default(),
        open: Rc::new(()),
        flows: Flows::new(),
        exchange: Exchange::new(),
    });
    let mut all = JoinSet::new();
    for sockets in std::iter::once(four).chain(six) {
        all.spawn_local(tcp::watch(Rc::clone(&relay), sockets.packets));
        all.spawn_local(tcp::take(Rc::clone(&relay), from_fd(sockets.listener)?));
        all.spawn_local(udp::take(Rc::clone(&relay), sockets.datagrams));
    }
    for (listener, to) in fds.zip(job.forwards) {
        all.spawn_local(tcp::forward(Rc::clone(&relay), from_fd(listener)?, to));
    }
    all.spawn_local(closed(shim));
    memory::let_go_of_code();
    // With one of these gone the relay is of no use; the shim starts another.
    all.join_next().await.map_or(Ok(()), |ended| ended?)
}

/// Made inside, for one version of IP; see [`super::setup`].
struct Sockets {
    listener: OwnedFd,
    datagrams: OwnedFd,
    raw: OwnedFd,
    packets: OwnedFd,
}

impl Sockets {
    fn take(fds: &mut impl Iterator<Item = OwnedFd>) -> io::Result<Self> {
        let mut next = || fds.next().ok_or(io::ErrorKind::InvalidInput);
        Ok(Self { listener: next()?, datagrams: next()?, raw: next()?, packets: next()? })
    }
}

/// Waits until whoever has started this process has gone. (The kernel's signal for that would come when the thread ends
/// that has: the daemon's threads come and go.)
async fn closed(shim: OwnedFd) -> io::Result<()> {
    let shim = sys::watch(shim)?;
    shim.readable().await.map(drop)
}

fn from_fd(listener: OwnedFd) -> io::Result<TcpListener> {
    TcpListener::from_std(std::net::TcpListener::from(listener))
}

/// What all connections and flows of one sandbox share.
#[derive(Debug)]
pub(super) struct Relay {
    policy: Policy,
    routes: Routes,
    internal: Option<SocketAddr>,
    raw: OwnedFd,
    raw6: Option<OwnedFd>,
    pub(super) asked: RefCell<tcp::Asked>,
    /// Cloned for every connection.
    pub(super) open: Rc<()>,
    pub(super) flows: Flows,
    pub(super) exchange: Exchange,
}

impl Relay {
    /// The addresses to dial for the one that the program named: itself if it is permitted, or the host's name servers.
    pub(super) fn targets(&self, to: SocketAddr) -> io::Result<Vec<SocketAddr>> {
        if Self::asks_names(to) {
            return Ok(self.flows.turn(nameserver::of_host().into_iter().map(|ip| (ip, DOMAIN).into()).collect()));
        }
        if let Some(internal) = self.internal
            && to == SocketAddr::from((internal::ADDRESS, internal::PORT))
        {
            return Ok(vec![internal]);
        }
        // What is never permitted need not be looked up, and fails the same way whether it is there or not.
        if !self.policy.permits(to, Route::Elsewhere) || !self.policy.permits(to, self.routes.to(to.ip())?) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(vec![to])
    }

    /// The answer to a question about a name, if it is one that is answered here.
    pub(super) fn answer(&self, to: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
        self.internal.filter(|_| Self::asks_names(to)).and_then(|_| internal::answer(question))
    }

    pub(super) fn asks_names(to: SocketAddr) -> bool {
        to == SocketAddr::from((NAME_SERVER, DOMAIN))
    }

    /// Puts a packet into the sandbox's network. One that does not fit is lost, as on any network.
    pub(super) fn send(&self, to: SocketAddr, packet: &[u8]) {
        // The kernel takes the port of a raw socket for a protocol's number, and wants none.
        let to = SockaddrStorage::from(SocketAddr::new(to.ip(), 0));
        let socket = if to.family() == Some(AddressFamily::Inet6) { self.raw6.as_ref() } else { Some(&self.raw) };
        let _ = socket.map(|raw| sendto(raw.as_raw_fd(), packet, &to, MsgFlags::MSG_DONTWAIT));
    }

    /// Sends a refusal to who is refused.
    pub(super) fn refuse(&self, pair: Pair, refusal: Option<Vec<u8>>) {
        let _ = refusal.map(|refusal| self.send(pair.from, &refusal));
    }
}

/// What a failed attempt is called inside.
pub(super) fn unreachable(error: &io::Error) -> Unreachable {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Unreachable::Port,
        io::ErrorKind::NetworkUnreachable => Unreachable::Network,
        io::ErrorKind::PermissionDenied => Unreachable::Prohibited,
        _ => Unreachable::Host,
    }
}
