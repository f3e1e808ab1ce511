//! Where connections out of an app may go, and which addresses of the operator's own builds may reach besides. Enforcing it
//! is the engine's.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use engine::Egress;

/// An [`Egress`] by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressName(pub Egress);

impl EgressName {
    const ALL: [(&'static str, Egress); 3] =
        [("internet", Egress::Internet), ("private", Egress::Private), ("none", Egress::None)];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, egress)| *egress == self.0).map_or("", |(name, _)| name)
    }

    /// What it means.
    pub fn reaches(self) -> &'static str {
        match self.0 {
            Egress::Internet => "public addresses; not the server itself or its private networks",
            Egress::Private => "public addresses and private networks; not the server itself",
            Egress::None => "nothing",
        }
    }
}

impl fmt::Display for EgressName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no [`Egress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not internet, private or none")]
pub struct NoSuchEgress(String);

impl FromStr for EgressName {
    type Err = NoSuchEgress;
    fn from_str(text: &str) -> Result<Self, NoSuchEgress> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, egress)| Self(egress)).ok_or_else(|| NoSuchEgress(text.to_owned()))
    }
}

/// How long the operator's addresses may take to be looked up, all together.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);
/// Configuration files are read up to this size.
const FILE_BYTES: u64 = 256 << 10;

/// The private addresses that package tools are told to use by the operator's settings: proxies and indexes named in the
/// environment and in configuration files. What lies on public addresses needs no exception.
pub async fn operators_own(env: &[(String, String)], files: &[PathBuf]) -> Vec<SocketAddr> {
    let texts = files.iter().filter_map(|file| read(file));
    let named = env.iter().flat_map(|(name, value)| if is_proxy(name) { proxy(value) } else { endpoints(value) });
    let all: BTreeSet<Endpoint> = named.chain(texts.flat_map(|text| in_file(&text))).collect();
    let lookups = all.into_iter().map(|Endpoint { host, port }| async move {
        let found = tokio::time::timeout(LOOKUP_LIMIT, tokio::net::lookup_host((host.as_str(), port))).await;
        match found {
            Ok(Ok(found)) => found.filter(|address| is_private(address.ip())).collect(),
            _ => Vec::new(),
        }
    });
    futures_util::future::join_all(lookups).await.into_iter().flatten().collect()
}

fn read(file: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(file).ok()?.take(FILE_BYTES).read_to_end(&mut text).ok()?;
    String::from_utf8(text).ok()
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    host: String,
    port: u16,
}

fn is_proxy(variable: &str) -> bool {
    let name = variable.to_ascii_uppercase();
    name.ends_with("PROXY") && name != "NO_PROXY"
}

/// What a proxy's variable names: a URL, or a host and a port alone.
fn proxy(value: &str) -> Vec<Endpoint> {
    if value.contains("://") {
        return endpoints(value);
    }
    endpoints(&format!("http://{}", value.trim()))
}

/// Without what is commented out.
fn in_file(text: &str) -> Vec<Endpoint> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with(['#', ';']));
    lines.flat_map(endpoints).collect()
}

/// What the URLs in a text lead to.
fn endpoints(text: &str) -> Vec<Endpoint> {
    let starts = text.match_indices("://").filter_map(|(at, sign)| {
        let scheme = text.get(..at)?.rsplit(|c: char| !c.is_ascii_alphanumeric()).next()?;
        let port = match scheme.to_ascii_lowercase().as_str() {
            "http" => 80,
            "https" => 443,
            "socks" | "socks4" | "socks4a" | "socks5" | "socks5h" => 1080,
            _ => return None,
        };
        endpoint(text.get(at + sign.len()..)?, port)
    });
    starts.collect()
}

/// `user:password@host:port/path`
fn endpoint(text: &str, usual_port: u16) -> Option<Endpoint> {
    let end = |c: char| c.is_whitespace() || c.is_control() || "/?#\"'`,;<>()\\{}".contains(c);
    let authority = text.split(end).next()?;
    let place = authority.rsplit('@').next()?;
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if port.is_empty() => usual_port,
        None => return None,
    };
    (!host.is_empty()).then(|| Endpoint { host: host.to_owned(), port })
}

/// On loopback, or in a private network. Link-local addresses, where clouds keep secrets, are nobody's proxy.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            address.is_loopback() || address.is_private() || shared
        }
        IpAddr::V6(address) => address == Ipv6Addr::LOCALHOST || address.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        for (name, egress) in EgressName::ALL {
            assert_eq!((name.parse(), EgressName(egress).as_str()), (Ok(EgressName(egress)), name));
        }
        assert_eq!(
            "public".parse::<EgressName>().unwrap_err().to_string(),
            "\"public\" is not internet, private or none"
        );
    }

    #[test]
    fn where_settings_lead() {
        let cases: [(&str, &[(&str, u16)]); 12] = [
            ("http://proxy:3128", &[("proxy", 3128)]),
            ("https://index.example/simple/", &[("index.example", 443)]),
            ("http://me:p@ss@10.0.0.5:8080/x?y=http://b", &[("10.0.0.5", 8080), ("b", 80)]),
            ("http://[::1]:3141/root/pypi", &[("::1", 3141)]),
            ("https://[fd00::1]/", &[("fd00::1", 443)]),
            ("corp=https://a/simple https://b:8443/simple", &[("a", 443), ("b", 8443)]),
            ("socks5h://gate:1081", &[("gate", 1081)]),
            ("/opt/wheels", &[]),
            ("file:///opt/wheels", &[]),
            ("http://", &[]),
            ("http://host:port/", &[]),
            ("http://[::1/", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<Endpoint> =
                expected.iter().map(|(host, port)| Endpoint { host: (*host).to_owned(), port: *port }).collect();
            assert_eq!(endpoints(text), expected, "{text}");
        }
        assert_eq!(proxy("127.0.0.1:3128"), proxy("http://127.0.0.1:3128"));
        let file = "[global]\n# index-url = http://10.0.0.1/\nindex-url = \"http://10.0.0.2/\"\n";
        assert_eq!(in_file(file), [Endpoint { host: "10.0.0.2".into(), port: 80 }]);
    }

    #[tokio::test]
    async fn only_what_is_private_needs_an_exception() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "index-url = http://10.1.2.3/simple\n").unwrap();
        let env = [
            ("HTTP_PROXY", "127.0.0.1:3128"),
            ("https_proxy", "http://[fd00::7]:3129"),
            ("NO_PROXY", "127.0.0.9:1"),
            ("PIP_INDEX_URL", "https://192.0.2.1/simple"),
            ("UV_INDEX_URL", "https://100.64.0.1/simple"),
            ("PIP_EXTRA_INDEX_URL", "http://169.254.169.254/latest"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut found = operators_own(&env, &[file.path().to_owned(), "/nonexistent".into()]).await;
        found.sort();
        let expected = ["10.1.2.3:80", "100.64.0.1:443", "127.0.0.1:3128", "[fd00::7]:3129"];
        assert_eq!(found, expected.map(|address| address.parse::<SocketAddr>().unwrap()));
    }

    proptest! {
        #[test]
        fn any_setting_is_read(text in "(https?://|[a-z]{1,4}[=:]|\\PC){0,12}") {
            for Endpoint { host, .. } in proxy(&text).into_iter().chain(in_file(&text)) {
                prop_assert!(!host.is_empty() && text.contains(&host));
            }
        }
    }
}
