//! What the host's routing table says of an address.

use std::io;
use std::net::IpAddr;

use nix::sys::socket::SockProtocol;

use super::netlink::{Batch, Netlink};
use super::policy::Route;

/// See the module.
#[derive(Debug)]
pub(super) struct Routes(Netlink);

impl Routes {
    pub(super) fn open() -> io::Result<Self> {
        Netlink::open(SockProtocol::NetlinkRoute).map(Self)
    }

    /// The kernel's own answer covers every address of every interface, and whatever else it takes for its own. The error is
    /// the one that dialling would give; no answer counts as the host's own.
    pub(super) fn to(&self, ip: IpAddr) -> io::Result<Route> {
        match self.0.ask(&question(ip), |body| body.get(7).copied()) {
            Ok(libc::RTN_UNICAST) => Ok(Route::Elsewhere),
            Ok(_) => Ok(Route::Here),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => Err(error),
                _ => Ok(Route::Here),
            },
        }
    }
}

fn question(ip: IpAddr) -> Batch {
    let (family, bytes) = match ip {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
    };
    let bits = u8::try_from(bytes.len() * 8).unwrap_or(0);
    let header = [u8::try_from(family).unwrap_or(0), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut batch = Batch::default();
    batch.message(libc::RTM_GETROUTE, 0, &header, |attributes| attributes.put(libc::RTA_DST, &bytes));
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_addresses_are_known() {
        let routes = Routes::open().unwrap();
        for ip in ["127.0.0.1", "127.8.9.10", "::1", "0.0.0.0", "255.255.255.255"] {
            assert!(!matches!(routes.to(ip.parse().unwrap()), Ok(Route::Elsewhere)), "{ip}");
        }
        for interface in nix::ifaddrs::getifaddrs().unwrap() {
            let Some(address) = interface.address else { continue };
            let ip = address.as_sockaddr_in().map(|ip| IpAddr::V4(ip.ip()));
            let ip = ip.or_else(|| address.as_sockaddr_in6().map(|ip| IpAddr::V6(ip.ip())));
            if let Some(ip) = ip {
                assert!(!matches!(routes.to(ip), Ok(Route::Elsewhere)), "{ip}");
            }
        }
    }
}
