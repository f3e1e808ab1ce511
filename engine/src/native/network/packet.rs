//! IP packets of both versions, as far as the relay reads and writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The flags of a TCP packet that tell what it does: FIN, SYN, RST, ACK.
pub(super) const FLAGS: u8 = 0x17;
/// Of these, the only one of a packet that opens a connection.
pub(super) const SYN: u8 = 0x02;
/// No packet that opens a connection is longer: two headers of sixty bytes, and some data.
pub(super) const LONGEST_FIRST: u32 = 2048;

const HEADER: usize = 20;
const HEADER6: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ICMP6: u8 = 58;
/// So much room is before the data of a UDP packet, at most.
pub(super) const UDP_HEADERS: usize = HEADER6 + UDP_HEADER;

/// Who sent a packet, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
}

/// Why nothing gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreachable {
    Network,
    Host,
    Port,
    /// By a rule. Unlike that of a host that is away, this news ends a wait for datagrams.
    Prohibited,
}

impl Unreachable {
    /// Type and code of ICMP's "destination unreachable" (RFC 792, RFC 1812).
    fn in_icmp(self) -> [u8; 2] {
        let code = match self {
            Self::Network => 0,
            Self::Host => 1,
            Self::Port => 3,
            Self::Prohibited => 13,
        };
        [3, code]
    }

    /// The same of `ICMPv6` (RFC 4443).
    fn in_icmp6(self) -> [u8; 2] {
        let code = match self {
            Self::Network => 0,
            Self::Prohibited => 1,
            Self::Host => 3,
            Self::Port => 4,
        };
        [1, code]
    }
}

/// What the first header of a packet says.
struct Outline {
    header: usize,
    total: usize,
    from: IpAddr,
    to: IpAddr,
}

impl Outline {
    /// Of a TCP packet that is there as a whole.
    fn read(bytes: &[u8]) -> Option<Self> {
        let outline = match bytes.first()? >> 4 {
            4 => Self::read4(bytes)?,
            6 => Self::read6(bytes)?,
            _ => return None,
        };
        let enough = outline.total >= outline.header + TCP_HEADER && bytes.len() >= outline.total;
        enough.then_some(outline)
    }

    fn read4(bytes: &[u8]) -> Option<Self> {
        let start: &[u8; HEADER] = bytes.first_chunk()?;
        let header = usize::from(start[0] & 0x0f) * 4;
        let address = |at: usize| Ipv4Addr::new(start[at], start[at + 1], start[at + 2], start[at + 3]).into();
        let total = u16::from_be_bytes([start[2], start[3]]).into();
        (start[9] == TCP && header >= HEADER).then(|| Self { header, total, from: address(12), to: address(16) })
    }

    fn read6(bytes: &[u8]) -> Option<Self> {
        let start: &[u8; HEADER6] = bytes.first_chunk()?;
        let address = |at: usize| start[at..].first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).into());
        let total = HEADER6 + usize::from(u16::from_be_bytes([start[4], start[5]]));
        (start[6] == TCP).then_some(Self { header: HEADER6, total, from: address(8)?, to: address(24)? })
    }
}

/// The first packet of a connection: who opens it to whom, and the packet with its checksum in order. (On a loopback device it
/// is left to hardware that does not exist.)
pub(super) fn first_of_connection(bytes: &[u8]) -> Option<(Pair, Vec<u8>)> {
    let Outline { header, total, from, to } = Outline::read(bytes)?;
    let mut packet = bytes.get(..total)?.to_vec();
    let tcp = packet.get_mut(header..)?;
    if tcp[13] & FLAGS != SYN {
        return None;
    }
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    let pair = Pair { from: SocketAddr::new(from, port(0)), to: SocketAddr::new(to, port(2)) };
    tcp[16..18].fill(0);
    let sum = checksum(&[&pseudo_header(pair, TCP, tcp.len()), tcp]);
    tcp[16..18].copy_from_slice(&sum);
    Some((pair, packet))
}

/// Puts headers before the data, which begins at [`UDP_HEADERS`], and gives the packet. `None`: too long.
pub(super) fn datagram(pair: Pair, buffer: &mut [u8]) -> Option<&[u8]> {
    let length = u16::try_from(buffer.len() - UDP_HEADERS + UDP_HEADER).ok()?;
    let mut udp = udp_header(pair, length);
    if pair.to.is_ipv6() {
        let sum = checksum(&[&pseudo_header(pair, UDP, length.into()), &udp, &buffer[UDP_HEADERS..]]);
        udp[6..].copy_from_slice(&if sum == [0, 0] { [0xff, 0xff] } else { sum });
    }
    let headers = [ip_header(UDP, length, pair.from.ip(), pair.to.ip())?, udp.to_vec()].concat();
    let start = UDP_HEADERS - headers.len();
    buffer[start..UDP_HEADERS].copy_from_slice(&headers);
    Some(&buffer[start..])
}

/// Tells the sender of a UDP packet that it got nowhere.
pub(super) fn refuse_datagram(pair: Pair, why: Unreachable) -> Option<Vec<u8>> {
    let mut original = ip_header(UDP, 8, pair.from.ip(), pair.to.ip())?;
    original.extend(udp_header(pair, 8));
    unreachable(pair, &original, why)
}

/// Tells the sender of `packet` that it got nowhere.
pub(super) fn refuse_connection(pair: Pair, packet: &[u8], why: Unreachable) -> Option<Vec<u8>> {
    let header = Outline::read(packet)?.header;
    unreachable(pair, packet.get(..header + 8)?, why)
}

fn unreachable(pair: Pair, original: &[u8], why: Unreachable) -> Option<Vec<u8>> {
    let (protocol, [kind, code], relay): (_, _, IpAddr) = match pair.from {
        SocketAddr::V4(_) => (ICMP, why.in_icmp(), (*super::RELAY.ip()).into()),
        SocketAddr::V6(_) => (ICMP6, why.in_icmp6(), (*super::RELAY6.ip()).into()),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(original);
    let way = Pair { from: SocketAddr::new(relay, 0), to: pair.from };
    let pseudo = if protocol == ICMP6 { pseudo_header(way, ICMP6, message.len()) } else { Vec::new() };
    let sum = checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&sum);
    let length = u16::try_from(message.len()).ok()?;
    Some([ip_header(protocol, length, relay, pair.from.ip())?, message].concat())
}

/// Before `length` bytes. `None`: too many, or addresses of different versions.
fn ip_header(protocol: u8, length: u16, from: IpAddr, to: IpAddr) -> Option<Vec<u8>> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = length.checked_add(20)?.to_be_bytes();
            let mut header = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
            header.extend([from.octets(), to.octets()].concat());
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum);
            Some(header)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = length.to_be_bytes();
            Some([&[0x60, 0, 0, 0, high, low, protocol, 64][..], &from.octets(), &to.octets()].concat())
        }
        _ => None,
    }
}

/// Without a checksum, which IPv4 permits: the packet never leaves the machine's memory.
fn udp_header(pair: Pair, length: u16) -> [u8; UDP_HEADER] {
    let mut header = [0; UDP_HEADER];
    for (at, value) in [pair.from.port(), pair.to.port(), length].into_iter().enumerate() {
        header[2 * at..2 * at + 2].copy_from_slice(&value.to_be_bytes());
    }
    header
}

/// What a checksum covers besides the packet itself. Its fields have their IPv6 width, which adds up to the same for IPv4.
fn pseudo_header(pair: Pair, protocol: u8, length: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(40);
    for ip in [pair.from.ip(), pair.to.ip()] {
        match ip {
            IpAddr::V4(ip) => header.extend(ip.octets()),
            IpAddr::V6(ip) => header.extend(ip.octets()),
        }
    }
    header.extend(u32::try_from(length).unwrap_or(0).to_be_bytes());
    header.extend([0, 0, 0, protocol]);
    header
}

/// The internet's checksum. All parts but the last have an even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = parts.iter().flat_map(|part| part.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(!sum & 0xffff).unwrap_or(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair() -> Pair {
        Pair { from: "10.0.2.100:4000".parse().unwrap(), to: "198.51.100.7:80".parse().unwrap() }
    }

    fn pair6() -> Pair {
        Pair { from: "[fd00::100]:4000".parse().unwrap(), to: "[2001:db8::7]:80".parse().unwrap() }
    }

    fn syn(pair: Pair) -> Vec<u8> {
        let mut packet = ip_header(TCP, 20, pair.from.ip(), pair.to.ip()).unwrap();
        packet.extend(pair.from.port().to_be_bytes());
        packet.extend(pair.to.port().to_be_bytes());
        packet.extend([0, 0, 0, 7, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0xab, 0xcd, 0, 0]);
        packet
    }

    #[test]
    fn a_first_packet_is_put_in_order() {
        for (pair, header) in [(pair(), HEADER), (pair6(), HEADER6)] {
            let (found, packet) = first_of_connection(&syn(pair)).unwrap();
            assert_eq!(found, pair);
            // A packet with its checksum in place sums up to nothing.
            assert_eq!(checksum(&[&pseudo_header(pair, TCP, 20), &packet[header..]]), [0, 0]);
            assert!(header == HEADER6 || checksum(&[&packet[..header]]) == [0, 0]);
            let mut answer = syn(pair);
            answer[header + 13] = 0x12;
            assert_eq!(first_of_connection(&answer), None);
        }
    }

    #[test]
    fn a_refusal_quotes_what_it_refuses() {
        let refusal = refuse_connection(pair(), &syn(pair()), Unreachable::Port).unwrap();
        assert_eq!((refusal[20], refusal[21], &refusal[28..]), (3, 3, &syn(pair())[..28]));
        assert_eq!(checksum(&[&refusal[20..]]), [0, 0]);
        assert_eq!(refuse_datagram(pair(), Unreachable::Host).unwrap().len(), 56);

        let refusal = refuse_connection(pair6(), &syn(pair6()), Unreachable::Port).unwrap();
        assert_eq!((refusal[40], refusal[41], &refusal[48..]), (1, 4, &syn(pair6())[..48]));
        let way = Pair { from: super::super::RELAY6.into(), to: pair6().from };
        assert_eq!(checksum(&[&pseudo_header(way, ICMP6, refusal.len() - 40), &refusal[40..]]), [0, 0]);
        assert_eq!(refuse_datagram(pair6(), Unreachable::Host).unwrap().len(), 96);
    }

    #[test]
    fn a_datagram() {
        let mut buffer = vec![0; UDP_HEADERS + 3];
        let packet = datagram(pair(), &mut buffer).unwrap();
        assert_eq!(packet.len(), 31);
        assert_eq!((&packet[2..4], &packet[20..28]), (&[0, 31][..], &[0x0f, 0xa0, 0, 80, 0, 11, 0, 0][..]));
        let packet = datagram(pair6(), &mut buffer).unwrap();
        assert_eq!((packet.len(), &packet[4..8]), (51, &[0, 11, UDP, 64][..]));
        assert_eq!(checksum(&[&pseudo_header(pair6(), UDP, 11), &packet[40..]]), [0, 0]);
        assert_eq!(datagram(pair(), &mut vec![0; 70_000]), None);
    }

    proptest! {
        #[test]
        fn no_packet_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), first in 0x40_u8..0x70) {
            let _ = first_of_connection(&bytes);
            let mut likely = bytes;
            if likely.len() > 60 {
                let v6 = first >> 4 == 6;
                let length = u16::try_from(if v6 { likely.len() - 40 } else { likely.len() }).unwrap();
                likely[0] = first;
                likely[if v6 { 4..6 } else { 2..4 }].copy_from_slice(&length.to_be_bytes());
                likely[if v6 { 6 } else { 9 }] = TCP;
                likely[if v6 { 53 } else { 33 }] = SYN;
            }
            if let Some((pair, packet)) = first_of_connection(&likely) {
                let _ = refuse_connection(pair, &packet, Unreachable::Host);
            }
        }
    }
}
