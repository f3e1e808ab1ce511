//! What is set up inside a fresh network namespace while its first process still has the right to: the loopback device, a
//! route that makes every address a local one, the packet filter that hands connections to the relay, and its sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockProtocol, SockType, listen, setsockopt, socket, sockopt};
use socket2::{SockFilter, SockRef};

use super::netlink::{Batch, Netlink};
use super::ruleset::ruleset;
use super::{ADDRESS, ADDRESS6, MARK, MOST_EXCEPTIONS, OUTGOING, RELAY, RELAY6};
use crate::native::protocol::{Failure, Step};

/// The first device of every network namespace.
const LOOPBACK: u32 = 1;
const NEW: i32 = libc::NLM_F_ACK | libc::NLM_F_CREATE;

/// Makes the loopback device work; all that a sandbox without outgoing connections gets.
pub(super) fn loopback() -> Result<(), Failure> {
    let netlink = Netlink::open(SockProtocol::NetlinkRoute).step(|| "open netlink".to_owned())?;
    let mut batch = Batch::default();
    let up = u32::try_from(libc::IFF_UP).unwrap_or(1).to_ne_bytes();
    let header = [&[0; 4][..], &LOOPBACK.to_ne_bytes(), &up, &up].concat();
    batch.message(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header, |_| {});
    netlink.apply(&batch).step(|| "loopback device".to_owned())
}

/// Makes every address one that the relay answers for, and opens the relay's sockets: for each version of IP those of
/// [`super::SOCKETS`], then a listener for each exception on loopback.
pub(super) fn outgoing(ipv6: bool, exceptions: &[SocketAddr]) -> Result<Vec<OwnedFd>, Failure> {
    let versions: Vec<_> = [Some(Version::Four), ipv6.then_some(Version::Six)].into_iter().flatten().collect();
    routes(&versions).step(|| format!("{OUTGOING}address and route"))?;
    let netlink = Netlink::open(SockProtocol::NetlinkNetFilter).step(|| format!("{OUTGOING}netlink"))?;
    netlink.apply(&ruleset(ipv6)).step(|| format!("{OUTGOING}nftables with tproxy"))?;
    let mut all = Vec::new();
    for version in versions {
        all.push(version.listener().step(|| format!("{OUTGOING}TCP socket"))?);
        all.push(version.datagrams().step(|| format!("{OUTGOING}UDP socket"))?);
        all.push(version.raw().step(|| format!("{OUTGOING}raw socket"))?);
        all.push(version.watcher().step(|| format!("{OUTGOING}packet socket"))?);
    }
    if exceptions.len() > MOST_EXCEPTIONS {
        return Err(Errno::E2BIG).step(|| format!("{OUTGOING}{} exceptions on loopback", exceptions.len()));
    }
    for address in exceptions {
        let listener =
            TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        all.push(listener.step(|| format!("{OUTGOING}listen on {address}"))?.into());
    }
    Ok(all)
}

/// `ip addr add ADDRESS dev lo; ip route add local default dev lo src ADDRESS`
fn routes(versions: &[Version]) -> io::Result<()> {
    let mut batch = Batch::default();
    for version in versions {
        let (family, address) = (version.number(), version.address());
        let bits = u8::try_from(address.len() * 8).unwrap_or(0);
        // At once, without a search for others that have the address (a flag that IPv4 has no use for).
        let flags = u8::try_from(libc::IFA_F_NODAD).unwrap_or(0);
        let header = [&[family, bits, flags, 0][..], &LOOPBACK.to_ne_bytes()].concat();
        batch.message(libc::RTM_NEWADDR, NEW | libc::NLM_F_EXCL, &header, |attributes| {
            attributes.put(libc::IFA_LOCAL, &address);
            attributes.put(libc::IFA_ADDRESS, &address);
        });
        let header = [family, 0, 0, 0, libc::RT_TABLE_LOCAL, libc::RTPROT_BOOT, libc::RT_SCOPE_HOST, libc::RTN_LOCAL];
        batch.message(libc::RTM_NEWROUTE, NEW | libc::NLM_F_EXCL, &[&header[..], &[0; 4]].concat(), |attributes| {
            attributes.put(libc::RTA_OIF, &LOOPBACK.to_ne_bytes());
            attributes.put(libc::RTA_PREFSRC, &address);
        });
    }
    Netlink::open(SockProtocol::NetlinkRoute)?.apply(&batch)
}

/// Of IP.
#[derive(Debug, Clone, Copy)]
enum Version {
    Four,
    Six,
}

impl Version {
    fn number(self) -> u8 {
        u8::try_from(self.family() as i32).unwrap_or(0)
    }

    fn family(self) -> AddressFamily {
        match self {
            Self::Four => AddressFamily::Inet,
            Self::Six => AddressFamily::Inet6,
        }
    }

    fn address(self) -> Vec<u8> {
        match self {
            Self::Four => ADDRESS.octets().to_vec(),
            Self::Six => ADDRESS6.octets().to_vec(),
        }
    }

    /// Accepts connections to any address: what it is accepted as is where the program wanted to go.
    fn listener(self) -> io::Result<OwnedFd> {
        let fd = self.at_relay(SockType::Stream)?;
        listen(&fd, Backlog::new(1024)?)?;
        Ok(fd)
    }

    fn datagrams(self) -> io::Result<OwnedFd> {
        let fd = self.at_relay(SockType::Datagram)?;
        match self {
            Self::Four => setsockopt(&fd, sockopt::Ipv4OrigDstAddr, &true)?,
            Self::Six => setsockopt(&fd, sockopt::Ipv6OrigDstAddr, &true)?,
        }
        Ok(fd)
    }

    /// A socket that takes what is for any address.
    fn at_relay(self, kind: SockType) -> io::Result<OwnedFd> {
        let fd = open(self.family(), kind, None)?;
        let socket = SockRef::from(&fd);
        let address: SocketAddr = match self {
            Self::Four => {
                socket.set_ip_transparent_v4(true)?;
                RELAY.into()
            }
            Self::Six => {
                socket.set_ip_transparent_v6(true)?;
                socket.set_only_v6(true)?;
                RELAY6.into()
            }
        };
        socket.bind(&address.into())?;
        Ok(fd)
    }

    /// Sends whole packets, marked as the relay's.
    fn raw(self) -> io::Result<OwnedFd> {
        let fd = open(self.family(), SockType::Raw, SockProtocol::Raw)?;
        setsockopt(&fd, sockopt::Mark, &MARK)?;
        Ok(fd)
    }

    /// Sees the first packet of every connection that is not the relay's own doing.
    fn watcher(self) -> io::Result<OwnedFd> {
        let protocol = match self {
            Self::Four => SockProtocol::EthIp,
            Self::Six => SockProtocol::EthIpv6,
        };
        let fd = open(AddressFamily::Packet, SockType::Datagram, protocol)?;
        match self {
            Self::Four => SockRef::from(&fd).attach_filter(&first_packets())?,
            Self::Six => SockRef::from(&fd).attach_filter(&first_packets6())?,
        }
        Ok(fd)
    }
}

fn open(family: AddressFamily, kind: SockType, protocol: impl Into<Option<SockProtocol>>) -> io::Result<OwnedFd> {
    Ok(socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)?)
}

const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_ABS | libc::BPF_B;
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_ABS | libc::BPF_H;
const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_ABS | libc::BPF_W;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND;
const LOAD_MARK: SockFilter = step(LOAD_WORD, 0, 0, (libc::SKF_AD_OFF + libc::SKF_AD_MARK).cast_unsigned());
const TAKE: SockFilter = step(libc::BPF_RET, 0, 0, super::packet::LONGEST_FIRST);
const LEAVE: SockFilter = step(libc::BPF_RET, 0, 0, 0);
const TCP: u32 = libc::IPPROTO_TCP.cast_unsigned();

#[expect(
    clippy::cast_possible_truncation,
    reason = "codes of instructions are small; there is no other cast in constants"
)]
const fn step(code: u32, yes: u8, no: u8, k: u32) -> SockFilter {
    SockFilter::new(code as u16, yes, no, k)
}

/// Skips so many of the instructions that follow.
const fn jump_if(test: u32, k: u32, yes: u8, no: u8) -> SockFilter {
    step(libc::BPF_JMP | test, yes, no, k)
}

/// A program of the classic packet filter: unmarked TCP packets that open a connection to neither loopback nor the
/// sandbox's own address.
fn first_packets() -> [SockFilter; 16] {
    use libc::{BPF_JEQ, BPF_JSET};
    [
        LOAD_MARK,
        jump_if(BPF_JEQ, MARK, 13, 0),
        step(LOAD_BYTE, 0, 0, 9),
        jump_if(BPF_JEQ, TCP, 0, 11),
        step(LOAD_HALF, 0, 0, 6),
        jump_if(BPF_JSET, 0x1fff, 9, 0),
        step(LOAD_WORD, 0, 0, 16),
        jump_if(BPF_JEQ, u32::from(ADDRESS), 7, 0),
        step(AND, 0, 0, 0xff00_0000),
        jump_if(BPF_JEQ, u32::from(Ipv4Addr::new(127, 0, 0, 0)), 5, 0),
        step(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, 13),
        step(AND, 0, 0, u32::from(super::packet::FLAGS)),
        jump_if(BPF_JEQ, u32::from(super::packet::SYN), 0, 1),
        TAKE,
        LEAVE,
    ]
}

/// The same for IPv6. Of the address the first word decides: that of `::1` and others that nobody has, or the sandbox's.
fn first_packets6() -> [SockFilter; 12] {
    use libc::BPF_JEQ;
    let [first, second, ..] = ADDRESS6.segments();
    [
        LOAD_MARK,
        jump_if(BPF_JEQ, MARK, 9, 0),
        step(LOAD_BYTE, 0, 0, 6),
        jump_if(BPF_JEQ, TCP, 0, 7),
        step(LOAD_WORD, 0, 0, 24),
        jump_if(BPF_JEQ, 0, 5, 0),
        jump_if(BPF_JEQ, u32::from(first) << 16 | u32::from(second), 4, 0),
        step(LOAD_BYTE, 0, 0, 53),
        step(AND, 0, 0, u32::from(super::packet::FLAGS)),
        jump_if(BPF_JEQ, u32::from(super::packet::SYN), 0, 1),
        TAKE,
        LEAVE,
    ]
}

/// The exceptions that are dialled by a listener inside.
pub(in crate::native) fn on_loopback(exceptions: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut all: Vec<_> = exceptions.iter().filter(|address| address.ip().is_loopback()).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}
