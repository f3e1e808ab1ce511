//! The server's settings: flag over environment over file over default.

mod git;
mod proxies;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use router::acme::AcmeSettings;
use serde::Deserialize;

/// What `airstrip serve` runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Home directory.
    pub home: PathBuf,
    /// Where SSH listens.
    pub ssh: SocketAddr,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Where HTTPS listens; None: nowhere.
    pub https: Option<SocketAddr>,
    /// Proxies before this server that are believed.
    pub proxies: router::Proxies,
    /// Most HTTP connections from one client address.
    pub connections_per_address: usize,
    /// The authority that is asked for certificates; None: none but the server's own.
    pub acme: Option<AcmeSettings>,
    /// Where Prometheus asks, on loopback; None: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where statsd takes metrics, by UDP.
    pub statsd: Option<SocketAddr>,
    /// Where Graphite takes metrics, by UDP.
    pub graphite: Option<SocketAddr>,
    /// Apps are served at `APP.DOMAIN`.
    pub domain: router::HostName,
    /// How long a server that was replaced goes on with what it has begun.
    pub drain: Duration,
    /// The image that apps in Docker find around them; without one, this machine's system.
    pub docker_base: Option<String>,
    /// Bounds of pushes, fetches and SSH connections.
    pub git: gitd::Limits,
}

/// What was given explicitly, as flags (or, by clap, in the environment).
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// SSH address [default: 127.0.0.1:2222]
    #[arg(long, env = "AIRSTRIP_SSH", value_name = "ADDR")]
    pub ssh: Option<String>,
    /// HTTP address [default: 127.0.0.1:8080]
    #[arg(long, env = "AIRSTRIP_HTTP", value_name = "ADDR")]
    pub http: Option<String>,
    /// HTTPS address [default: off]
    #[arg(long, env = "AIRSTRIP_HTTPS", value_name = "ADDR")]
    pub https: Option<String>,
    /// Proxies before this server, which say who the client is: 10.0.0.5,192.0.2.0/24 [default: none]
    #[arg(long, env = "AIRSTRIP_TRUSTED_PROXIES", value_name = "NETWORKS")]
    pub trusted_proxies: Option<String>,
    /// on: they say so in the PROXY protocol, not in headers [default: off]
    #[arg(long, env = "AIRSTRIP_PROXY_PROTOCOL", value_name = "on|off")]
    pub proxy_protocol: Option<String>,
    /// Most HTTP connections from one client address [default: 2500]
    #[arg(long, env = "AIRSTRIP_CONNECTIONS_PER_ADDRESS", value_name = "NUMBER")]
    pub connections_per_address: Option<NonZeroUsize>,
    /// on: certificates by ACME, whose authority's terms of service are agreed to [default: on, unless DOMAIN is localhost]
    #[arg(long, env = "AIRSTRIP_ACME", value_name = "on|off")]
    pub acme: Option<String>,
    /// Address that the authority may write to [default: none]
    #[arg(long, env = "AIRSTRIP_ACME_EMAIL", value_name = "ADDRESS")]
    pub acme_email: Option<String>,
    /// The authority [default: Let's Encrypt]
    #[arg(long, env = "AIRSTRIP_ACME_DIRECTORY", value_name = "URL")]
    pub acme_directory: Option<String>,
    /// Certificate that the authority's own address is checked with [default: those that the system trusts]
    #[arg(long, env = "AIRSTRIP_ACME_ROOT", value_name = "FILE")]
    pub acme_root: Option<PathBuf>,
    /// Loopback address for Prometheus, at /metrics [default: off]
    #[arg(long, env = "AIRSTRIP_METRICS", value_name = "ADDR")]
    pub metrics: Option<String>,
    /// Send metrics to statsd at this address, by UDP [default: off]
    #[arg(long, env = "AIRSTRIP_STATSD", value_name = "ADDR")]
    pub statsd: Option<String>,
    /// Send metrics to Graphite at this address, by UDP [default: off]
    #[arg(long, env = "AIRSTRIP_GRAPHITE", value_name = "ADDR")]
    pub graphite: Option<String>,
    /// Apps are served at APP.DOMAIN [default: localhost]
    #[arg(long, env = "AIRSTRIP_DOMAIN", value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// How long requests, `WebSockets` and sessions go on after an upgrade of the server [default: 600 seconds]
    #[arg(long, env = "AIRSTRIP_DRAIN", value_name = "SECONDS")]
    pub drain: Option<String>,
    /// Image around apps that run in Docker [default: this machine's system]
    #[arg(long, env = "AIRSTRIP_DOCKER_BASE", value_name = "IMAGE")]
    pub docker_base: Option<String>,
    /// Bounds of pushes and SSH connections: pack=4G,connections=512 [docs/OPERATING.md has all]
    #[arg(long, env = "AIRSTRIP_GIT", value_name = "NAME=VALUE,…")]
    pub git: Option<String>,
    /// Configuration file [default: /etc/airstrip/airstrip.toml if it exists]
    #[arg(long, env = "AIRSTRIP_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The configuration file: the same names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSettings {
    home: Option<PathBuf>,
    ssh: Option<String>,
    http: Option<String>,
    https: Option<String>,
    trusted_proxies: Option<String>,
    proxy_protocol: Option<String>,
    connections_per_address: Option<NonZeroUsize>,
    acme: Option<String>,
    acme_email: Option<String>,
    acme_directory: Option<String>,
    acme_root: Option<PathBuf>,
    metrics: Option<String>,
    statsd: Option<String>,
    graphite: Option<String>,
    domain: Option<String>,
    drain: Option<u64>,
    docker_base: Option<String>,
    #[serde(default)]
    git: BTreeMap<String, git::Value>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value that is not of its form.
    #[error("{name} = {value:?}: {reason}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is expected.
        reason: String,
    },
    /// The configuration file cannot be read, or has an unknown key.
    #[error("configuration file {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// Neither a home nor a place for one.
    #[error("there is no home directory to put airstrip's home in: give --home DIR")]
    NoHome,
}

/// The authority that nearly everybody uses.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

const DEFAULT_FILE: &str = "/etc/airstrip/airstrip.toml";

impl Settings {
    /// Puts flags, file and defaults together.
    pub fn resolve(given_home: Option<PathBuf>, flags: Flags) -> Result<Self, SettingsError> {
        let file = read_file(flags.config.as_deref())?;
        let domain = domain(flags.domain.or(file.domain).unwrap_or_else(|| "localhost".into()))?;
        let acme = Acme {
            on: flags.acme.or(file.acme),
            email: flags.acme_email.or(file.acme_email),
            directory: flags.acme_directory.or(file.acme_directory),
            root: flags.acme_root.or(file.acme_root),
        };
        Ok(Self {
            home: home(given_home.or(file.home))?,
            ssh: address("ssh", flags.ssh.or(file.ssh), "127.0.0.1:2222")?,
            http: address("http", flags.http.or(file.http), "127.0.0.1:8080")?,
            https: flags.https.or(file.https).map(|value| parsed("https", value)).transpose()?,
            proxies: proxies::believed(
                flags.trusted_proxies.or(file.trusted_proxies).as_deref(),
                flags.proxy_protocol.or(file.proxy_protocol).as_deref(),
            )?,
            connections_per_address: flags
                .connections_per_address
                .or(file.connections_per_address)
                .map_or(router::Limits::default().connections_per_address, NonZeroUsize::get),
            acme: acme.checked(&domain)?,
            metrics: flags.metrics.or(file.metrics).map(loopback).transpose()?,
            statsd: flags.statsd.or(file.statsd).map(|value| parsed("statsd", value)).transpose()?,
            graphite: flags.graphite.or(file.graphite).map(|value| parsed("graphite", value)).transpose()?,
            domain,
            drain: drain(flags.drain, file.drain)?,
            docker_base: flags.docker_base.or(file.docker_base),
            git: git::limits(flags.git.as_deref(), file.git)?,
        })
    }
}

/// What is said of the authority.
struct Acme {
    on: Option<String>,
    email: Option<String>,
    directory: Option<String>,
    root: Option<PathBuf>,
}

impl Acme {
    /// No authority certifies names below `localhost`: a server for these asks none, unless it is told something of one.
    fn checked(self, domain: &router::HostName) -> Result<Option<AcmeSettings>, SettingsError> {
        let wrong = |name, value, reason: &str| SettingsError::Value { name, value, reason: reason.into() };
        let on = match self.on.as_deref() {
            Some("on") => true,
            Some("off") => false,
            Some(other) => return Err(wrong("acme", other.into(), "expected on or off")),
            None => self.email.is_some() || self.directory.is_some() || is_certifiable(domain),
        };
        let directory = self.directory.unwrap_or_else(|| LETS_ENCRYPT.into());
        if !directory.starts_with("https://") {
            return Err(wrong(
                "acme-directory",
                directory,
                "expected the URL of an authority's directory, by https://",
            ));
        }
        let email = self.email.map(|email| match email.strip_prefix("mailto:").unwrap_or(&email) {
            address if address.contains('@') && !address.contains([' ', ',']) => Ok(format!("mailto:{address}")),
            _ => Err(wrong("acme-email", email, "expected one e-mail address")),
        });
        let contact = email.transpose()?;
        Ok(on.then_some(AcmeSettings { directory, contact, root: self.root }))
    }
}

/// Whether a public authority may certify a name.
pub fn is_certifiable(name: &router::HostName) -> bool {
    let name = name.as_str();
    let local = name == "localhost" || name.ends_with(".localhost");
    !local && name.parse::<std::net::IpAddr>().is_err()
}

/// The home to use, for commands that only need to find the daemon.
pub fn home(given: Option<PathBuf>) -> Result<PathBuf, SettingsError> {
    if let Some(home) = given {
        return Ok(home);
    }
    if nix::unistd::geteuid().is_root() {
        return Ok("/var/lib/airstrip".into());
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".local/share")));
    data.map(|data| data.join("airstrip")).ok_or(SettingsError::NoHome)
}

fn read_file(given: Option<&Path>) -> Result<FileSettings, SettingsError> {
    let path = given.unwrap_or(Path::new(DEFAULT_FILE));
    let error = |reason: String| SettingsError::File { path: path.to_owned(), reason };
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|e| error(e.message().to_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && given.is_none() => Ok(FileSettings::default()),
        Err(e) => Err(error(e.to_string())),
    }
}

fn address(name: &'static str, given: Option<String>, default: &str) -> Result<SocketAddr, SettingsError> {
    parsed(name, given.unwrap_or_else(|| default.to_owned()))
}

/// Whoever can reach metrics learns the names of all apps.
fn loopback(value: String) -> Result<SocketAddr, SettingsError> {
    let address = parsed("metrics", value.clone())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    let reason = "expected a loopback address, such as 127.0.0.1:9464: anybody may ask there".into();
    Err(SettingsError::Value { name: "metrics", value, reason })
}

fn parsed(name: &'static str, value: String) -> Result<SocketAddr, SettingsError> {
    value.parse().map_err(|_| {
        let reason = "expected an IP address and a port, such as 0.0.0.0:2222 or [::]:2222".into();
        SettingsError::Value { name, value, reason }
    })
}

fn drain(flag: Option<String>, file: Option<u64>) -> Result<Duration, SettingsError> {
    let wrong = |value| SettingsError::Value { name: "drain", value, reason: "expected a number of seconds".into() };
    let flag = flag.map(|value| value.parse().map_err(|_| wrong(value))).transpose()?;
    Ok(Duration::from_secs(flag.or(file).unwrap_or(600)))
}

fn domain(value: String) -> Result<router::HostName, SettingsError> {
    router::HostName::new(&value).map_err(|e| SettingsError::Value { name: "domain", value, reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str, flags: Flags) -> Result<Settings, SettingsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Settings::resolve(None, Flags { config: Some(file.path().to_owned()), ..flags })
    }

    #[test]
    fn flag_over_file_over_default() {
        let flags = Flags { ssh: Some("127.0.0.1:0".into()), ..Flags::default() };
        let settings = with_file("ssh = \"127.0.0.1:1\"\ndomain = \"Example.org\"", flags).unwrap();
        assert_eq!(settings.ssh.port(), 0);
        assert_eq!(settings.http.port(), 8080);
        assert_eq!(settings.domain.as_str(), "example.org");
    }

    #[test]
    fn metrics_stay_on_the_machine() {
        assert_eq!(with_file("", Flags::default()).unwrap().metrics, None);
        let settings = with_file("metrics = \"[::1]:9464\"", Flags::default()).unwrap();
        assert_eq!(settings.metrics, Some("[::1]:9464".parse().unwrap()));
        let error = with_file("metrics = \"0.0.0.0:9464\"", Flags::default()).unwrap_err().to_string();
        assert!(error.contains("metrics") && error.contains("loopback"), "{error}");
    }

    #[test]
    fn an_authority_is_asked_for_names_that_it_may_certify() {
        let acme = |text: &str| with_file(text, Flags::default()).unwrap().acme;
        assert_eq!(acme(""), None);
        assert_eq!(acme("domain = \"my.localhost\""), None);
        assert_eq!(acme("domain = \"apps.example.org\"\nacme = \"off\""), None);
        let settings = acme("domain = \"apps.example.org\"").unwrap();
        assert_eq!((settings.directory.as_str(), settings.contact), (LETS_ENCRYPT, None));
        let settings =
            acme("acme_email = \"me@example.org\"\nacme_directory = \"https://ca.example.org/dir\"").unwrap();
        assert_eq!(settings.contact.as_deref(), Some("mailto:me@example.org"));
        assert_eq!(settings.directory, "https://ca.example.org/dir");
        for wrong in ["acme = \"yes\"", "acme_email = \"me\"", "acme_directory = \"http://ca.example.org\""] {
            assert!(with_file(wrong, Flags::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let unknown = with_file("sssh = \"x\"", Flags::default()).unwrap_err().to_string();
        assert!(unknown.contains("sssh"), "{unknown}");
        let address = with_file("http = \"localhost\"", Flags::default()).unwrap_err().to_string();
        assert!(address.contains("http") && address.contains("localhost"), "{address}");
    }
}
