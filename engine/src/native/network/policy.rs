//! Where a sandbox's connections may go: a pure function of the address that the relay itself is about to dial.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Egress;

/// What the host's routing table says of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// Another machine's.
    Elsewhere,
    /// The host's own, a broadcast address, or one that could not be looked up.
    Here,
}

/// What a sandbox may reach.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) egress: Egress,
    pub(super) exceptions: Vec<SocketAddr>,
}

impl Policy {
    pub(super) fn permits(&self, to: SocketAddr, route: Route) -> bool {
        let ip = to.ip().to_canonical();
        let public = || route == Route::Elsewhere && !never(ip);
        match self.egress {
            Egress::None => false,
            _ if self.exceptions.contains(&SocketAddr::new(ip, to.port())) => true,
            Egress::Private => public(),
            Egress::Internet => public() && !private(ip),
        }
    }
}

/// Addresses that are not anybody's on the internet or in a private network, and those where clouds keep secrets.
fn never(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            let metadata = ip == Ipv4Addr::new(100, 100, 100, 200);
            first == 0 || first >= 224 || ip.is_loopback() || ip.is_link_local() || metadata
        }
        IpAddr::V6(ip) => {
            let metadata = ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            // Below ::/96 lie `::`, `::1` and the old way to write an IPv4 address.
            let low = ip.segments()[..6] == [0; 6];
            low || metadata || ip.is_multicast() || ip.is_unicast_link_local() || translated(ip).is_some_and(closed)
        }
    }
}

/// The IPv4 address behind a translator's or a tunnel's.
fn translated(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let joined = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(joined(high, low)),
        _ => None,
    }
}

fn closed(ip: Ipv4Addr) -> bool {
    never(ip.into()) || private(ip.into())
}

fn private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private() || first == 100 && second & 0xc0 == 64
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(egress: Egress) -> Policy {
        Policy { egress, exceptions: vec!["192.168.1.5:3128".parse().unwrap(), "127.0.0.1:3141".parse().unwrap()] }
    }

    /// Internet, private network, nowhere.
    fn seen(to: &str, route: Route) -> [bool; 3] {
        let to = to.parse().unwrap();
        [Egress::Internet, Egress::Private, Egress::None].map(|egress| policy(egress).permits(to, route))
    }

    #[test]
    fn table() {
        let (open, inner, closed) = ([true, true, false], [false, true, false], [false; 3]);
        for (to, expected) in [
            ("93.184.216.34:443", open),
            ("198.51.100.7:80", open),
            ("203.0.113.80:443", open),
            ("[2606:4700::1111]:443", open),
            ("10.1.2.3:5432", inner),
            ("172.16.0.1:1", inner),
            ("172.31.255.255:1", inner),
            ("172.32.0.1:1", open),
            ("192.168.1.6:80", inner),
            ("100.64.0.1:80", inner),
            ("100.127.255.255:80", inner),
            ("100.128.0.1:80", open),
            ("[fd12::1]:80", inner),
            ("[::ffff:10.1.2.3]:80", inner),
            ("0.0.0.0:80", closed),
            ("0.1.2.3:80", closed),
            ("127.0.0.1:80", closed),
            ("127.255.0.1:80", closed),
            ("169.254.169.254:80", closed),
            ("169.254.1.1:80", closed),
            ("100.100.100.200:80", closed),
            ("224.0.0.1:80", closed),
            ("239.255.255.250:1900", closed),
            ("240.0.0.1:80", closed),
            ("255.255.255.255:67", closed),
            ("[::]:80", closed),
            ("[::1]:80", closed),
            ("[::7f00:1]:80", closed),
            ("[::ffff:127.0.0.1]:80", closed),
            ("[::ffff:169.254.169.254]:80", closed),
            ("[64:ff9b::a9fe:a9fe]:80", closed),
            ("[64:ff9b::a01:203]:80", closed),
            ("[2002:7f00:1::]:80", closed),
            ("[fe80::1]:80", closed),
            ("[ff02::1]:80", closed),
            ("[fd00:ec2::254]:80", closed),
            ("192.168.1.5:3128", open),
            ("[::ffff:192.168.1.5]:3128", open),
            ("192.168.1.5:3129", inner),
            ("127.0.0.1:3141", open),
        ] {
            assert_eq!(seen(to, Route::Elsewhere), expected, "{to}");
        }
        assert_eq!(seen("198.51.100.7:80", Route::Here), closed);
        assert_eq!(seen("10.1.2.3:80", Route::Here), closed);
        assert_eq!(seen("192.168.1.5:3128", Route::Here), open);
    }

    proptest! {
        #[test]
        fn never_wider_than_it_says(bits: u32, port: u16, v6: u128) {
            for ip in [IpAddr::from(Ipv4Addr::from(bits)), Ipv4Addr::from(bits).to_ipv6_mapped().into(), Ipv6Addr::from(v6).into()] {
                let to = SocketAddr::new(ip, port);
                let permits = |egress, route| Policy { egress, exceptions: Vec::new() }.permits(to, route);
                prop_assert!(!permits(Egress::None, Route::Elsewhere));
                prop_assert!(!permits(Egress::Private, Route::Here));
                prop_assert!(!permits(Egress::Internet, Route::Elsewhere) || permits(Egress::Private, Route::Elsewhere));
                let ip = ip.to_canonical();
                if ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() {
                    prop_assert!(!permits(Egress::Private, Route::Elsewhere));
                }
            }
        }
    }
}
