//! Proxies before the router that its owner trusts: what they say about the client is believed, and nobody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::head::Client;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Whom to believe, and how it says who the client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Where they are. Nobody, unless set.
    pub trusted: Vec<Network>,
    /// Each of their connections begins with a header of the PROXY protocol (version 1 or 2). Otherwise `X-Forwarded-For`,
    /// `-Proto` and `-Port` of their requests are believed, or else `Forwarded`.
    pub protocol: bool,
}

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// IPv4 as the IPv6 addresses that stand for it.
    bits: u128,
    length: u32,
}

/// Neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct InvalidNetwork(pub String);

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        (self.bits ^ bits(address)) & mask(self.length) == 0
    }
}

/// `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`.
impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Some(most), |length| length.parse().ok().filter(|length| *length <= most));
        let length = 128 - most + length.ok_or_else(invalid)?;
        let bits = bits(address);
        if bits & !mask(length) == 0 { Ok(Self { bits, length }) } else { Err(invalid()) }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(length: u32) -> u128 {
    u128::MAX.checked_shl(128 - length).unwrap_or_default()
}

impl Proxies {
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether a connection from this address begins with a header of the PROXY protocol.
    pub(crate) fn announces(&self, address: IpAddr) -> bool {
        self.protocol && self.trusts(address)
    }

    /// The client that a request comes from, if this one is a proxy.
    pub(crate) fn behind(&self, client: &Client, headers: &HeaderMap) -> Option<Client> {
        if self.protocol || self.trusted.is_empty() || !self.trusts(client.ip) {
            return None;
        }
        let said = if headers.contains_key(FORWARDED_FOR) || headers.contains_key(FORWARDED_PROTO) {
            Said::in_parts(self, headers)
        } else {
            Said::in_one(self, headers)
        };
        Some(said.about(client))
    }

    /// Every proxy adds the address that it was asked from: the last one that is not a proxy's own is the client's. What
    /// stands before it anybody may have written.
    fn first_stranger<'a>(&self, addresses: impl DoubleEndedIterator<Item = &'a str>) -> Option<IpAddr> {
        let mut first = None;
        for address in addresses.rev() {
            let Some(address) = node(address) else { break };
            first = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        first
    }
}

/// What proxies say about the client.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    address: Option<IpAddr>,
    secure: Option<bool>,
    port: Option<u16>,
}

impl Said {
    /// In `X-Forwarded-For` and its like.
    fn in_parts(proxies: &Proxies, headers: &HeaderMap) -> Self {
        Self {
            address: proxies.first_stranger(entries(headers, &FORWARDED_FOR).into_iter()),
            secure: entries(headers, &FORWARDED_PROTO).last().and_then(|scheme| secure(scheme)),
            port: entries(headers, &FORWARDED_PORT).last().and_then(|port| port.parse().ok()),
        }
    }

    /// In `Forwarded` (RFC 7239).
    fn in_one(proxies: &Proxies, headers: &HeaderMap) -> Self {
        let elements = entries(headers, &header::FORWARDED);
        let addresses: Vec<_> = elements.iter().map(|element| parameter(element, "for").unwrap_or_default()).collect();
        Self {
            address: proxies.first_stranger(addresses.into_iter()),
            secure: elements.last().and_then(|element| secure(parameter(element, "proto")?)),
            port: None,
        }
    }

    fn about(self, proxy: &Client) -> Client {
        let mut client = proxy.clone();
        if let Some(address) = self.address {
            let promises = client.promises;
            client = Client { promises, ..Client::new(SocketAddr::new(address, 0), client.port, client.scheme) };
        }
        if let Some(secure) = self.secure {
            client.scheme = HeaderValue::from_static(if secure { "https" } else { "http" });
            client.port = HeaderValue::from(self.port.unwrap_or(if secure { 443 } else { 80 }));
        }
        client
    }
}

/// What stands between the commas of all headers of this name. Not in quotes: nothing that is looked for has a comma.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.split(',')).map(str::trim).collect()
}

fn secure(scheme: &str) -> Option<bool> {
    if scheme.eq_ignore_ascii_case("https") {
        return Some(true);
    }
    scheme.eq_ignore_ascii_case("http").then_some(false)
}

fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.trim_matches('"'))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(inside) = text.strip_prefix('[') {
        let (address, _port) = inside.split_once(']')?;
        return address.parse::<Ipv6Addr>().ok().map(|address| IpAddr::from(address).to_canonical());
    }
    let (address, _port) = text.split_once(':')?;
    address.parse::<Ipv4Addr>().ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies(trusted: &[&str]) -> Proxies {
        Proxies { trusted: trusted.iter().map(|text| text.parse().unwrap()).collect(), protocol: false }
    }

    fn seen(proxies: &Proxies, peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let peer = SocketAddr::new(peer.parse().unwrap(), 5);
        let client = Client::new(peer, HeaderValue::from_static("8080"), HeaderValue::from_static("http"));
        let map = headers.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            map
        });
        let seen = proxies.behind(&client, &map).unwrap_or_else(|| client.clone());
        format!("{} {} {}", seen.ip, seen.scheme.to_str().unwrap(), seen.port.to_str().unwrap())
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_nobody_else() {
        let near = proxies(&["10.0.0.0/8", "2001:db8::/32"]);
        for (peer, headers, expected) in [
            ("192.0.2.1", vec![("x-forwarded-for", "198.51.100.1")], "192.0.2.1 http 8080"),
            ("10.0.0.1", vec![], "10.0.0.1 http 8080"),
            ("10.0.0.1", vec![("x-forwarded-for", "198.51.100.1")], "198.51.100.1 http 8080"),
            ("2001:db8::7", vec![("x-forwarded-for", "198.51.100.1")], "198.51.100.1 http 8080"),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1, 198.51.100.1")], "198.51.100.1 http 8080"),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1, 198.51.100.1, 10.0.0.2")], "198.51.100.1 http 8080"),
            (
                "10.0.0.1",
                vec![("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.1")],
                "198.51.100.1 http 8080",
            ),
            ("10.0.0.1", vec![("x-forwarded-for", "10.0.0.3,10.0.0.2")], "10.0.0.3 http 8080"),
            ("10.0.0.1", vec![("x-forwarded-for", "198.51.100.1, unknown")], "10.0.0.1 http 8080"),
            ("10.0.0.1", vec![("x-forwarded-for", "198.51.100.1, unknown, 10.0.0.9")], "10.0.0.9 http 8080"),
            ("10.0.0.1", vec![("x-forwarded-proto", "https")], "10.0.0.1 https 443"),
            ("10.0.0.1", vec![("x-forwarded-proto", "http, https")], "10.0.0.1 https 443"),
            ("10.0.0.1", vec![("x-forwarded-proto", "https"), ("x-forwarded-port", "8443")], "10.0.0.1 https 8443"),
            ("10.0.0.1", vec![("x-forwarded-proto", "gopher")], "10.0.0.1 http 8080"),
            ("10.0.0.1", vec![("forwarded", "for=198.51.100.1;proto=https;by=10.0.0.1")], "198.51.100.1 https 443"),
            ("10.0.0.1", vec![("forwarded", "For=\"[2001:DB9::1]:80\"")], "2001:db9::1 http 8080"),
            (
                "10.0.0.1",
                vec![("forwarded", "for=1.1.1.1, for=198.51.100.1:9, for=10.0.0.2")],
                "198.51.100.1 http 8080",
            ),
            ("10.0.0.1", vec![("forwarded", "for=_hidden")], "10.0.0.1 http 8080"),
        ] {
            assert_eq!(seen(&near, peer, &headers), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn networks() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "192.0.2.2", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "192.0.2.2", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            assert_eq!(network.parse::<Network>().unwrap().contains(address.parse().unwrap()), inside, "{network}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0/8", "::/129", "a/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork(text.to_owned())));
        }
    }

    proptest! {
        /// Whatever a client writes before what the proxy adds, the client is who asked the proxy.
        #[test]
        fn a_client_cannot_name_another(lie in "[ -~]{0,60}") {
            let proxies = proxies(&["10.0.0.0/8"]);
            let client = Client::new("10.0.0.1:5".parse().unwrap(), HeaderValue::from_static("80"), HeaderValue::from_static("http"));
            let mut headers = HeaderMap::new();
            headers.append(FORWARDED_FOR, HeaderValue::from_str(&format!("{lie}, 198.51.100.1")).unwrap());
            prop_assert_eq!(proxies.behind(&client, &headers).unwrap().ip, "198.51.100.1".parse::<IpAddr>().unwrap());
        }
    }
}
