//! A sandbox's own network: a loopback device, and nothing else of the kernel's.
//!
//! *In*: the first process makes sockets, which the daemon connects to the sandbox's loopback (`inbound`).
//!
//! *Out*: one mechanism for root and ordinary users, which changes nothing of the host's routes and packet filter. Inside,
//! every address is a local one (`setup`), and a packet filter (`ruleset`) hands each packet that is not for
//! the sandbox itself to the sockets of a *relay*: a process without privileges that lives in the host's network (`relay`, looked after by
//! the shim: `outbound`). What the program connects to is where the relay's sockets are reached, so the kernel inside does all of TCP.
//! The first packet of each connection is held back until the relay has checked where it goes (`policy`, `route`), dialled, and put
//! it (`packet`) into the sandbox's network again with a mark: so `connect` inside ends as the relay's own does (`tcp`, `stream`).
//! Datagrams go through a socket for each flow (`udp`). A program that undid all this would only lose its network: the
//! relay dials nothing that the policy does not permit, and it dials what it checked.
//!
//! The network of a container, which somebody else has made, is set up the same way by a thread that goes there (`adopted`).
//!
//! Names are asked of `10.0.2.3`, behind which are the host's name servers (`nameserver`); some are answered here (`internal`). IPv6 has an outside if the host's has
//! one; else there is no route, and `connect` says so at once.

mod adopted;
mod inbound;
mod internal;
mod nameserver;
mod netlink;
mod outbound;
mod packet;
mod policy;
mod relay;
mod route;
mod ruleset;
mod setup;
mod stream;
mod tcp;
mod udp;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};

pub(super) use adopted::{adopt, try_to_adopt};
pub(super) use inbound::{Inbound, Stash, hand_over};
pub(crate) use nameserver::shown as resolver_file;
pub(super) use outbound::Outbound;
pub(super) use relay::main as relay_main;

use policy::Route;
use route::Routes;

use super::protocol::{Failure, Reply, Start, Step, send};
use crate::Egress;

/// What outgoing connections come from, as seen inside.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
/// The same for IPv6: a local address (RFC 4193), so that names with addresses of both kinds lead to IPv4.
const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd61, 0x6972, 0x7374, 0, 0, 0, 0, 0x100);
/// Who answers questions about names.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// Where the relay's sockets are: an address and a port that no program inside is in the way of.
const RELAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 2), 1);
const RELAY6: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::new(0xfd61, 0x6972, 0x7374, 0, 0, 0, 0, 2), 1, 0, 0);
/// Put on the packets that the relay sends. Without privileges a program cannot put marks on its own.
const MARK: u32 = 0x6169_7273;
/// How many sockets the relay has for each version of IP.
const SOCKETS: usize = 4;
/// Most exceptions on loopback: each is one descriptor more in the message to the relay.
const MOST_EXCEPTIONS: usize = 8;
/// With these words begins what is said of a machine that does not permit the above.
pub(super) const OUTGOING: &str = "outgoing network: ";

/// In the first process, while it has the right to: makes the network, and hands the relay's sockets to the shim.
pub(super) fn set_up(start: &Start, shim: BorrowedFd<'_>) -> Result<(), Failure> {
    setup::loopback()?;
    if start.spec.egress == Egress::None {
        return Ok(());
    }
    let sockets = setup::outgoing(start.ipv6, &setup::on_loopback(&start.spec.egress_exceptions))?;
    let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    send(shim, &Reply::Network, &fds).step(|| "hand over sockets".to_owned())
}

/// Whether the host can reach the outside by IPv6.
pub(super) fn host_has_ipv6() -> bool {
    // Within the range of all addresses that are given out (RFC 4291).
    let somewhere = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);
    Routes::open().and_then(|routes| routes.to(somewhere.into())).is_ok_and(|route| route == Route::Elsewhere)
}

/// True for a listener of the relay's, which is not the program's.
pub(super) fn is_relay(address: std::net::SocketAddr) -> bool {
    address == RELAY.into() || address == RELAY6.into()
}
