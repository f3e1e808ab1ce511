//! The route table: made anew for every change, never altered, swapped whole.

use std::borrow::{Borrow, Cow};
use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::meter::Meter;
use crate::page::Pages;
use crate::settings::Settings;
use crate::sight::Log;
use crate::target::Target;

/// A host name in lower case, without port: labels of `a-z`, `0-9`, `-`, `_`, at most 253 bytes. Also an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

/// Not a host name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a host name")]
pub struct InvalidHostName(pub String);

impl HostName {
    /// Checks a name; upper case becomes lower case, one final dot is dropped.
    pub fn new(name: &str) -> Result<Self, InvalidHostName> {
        normal(name).map(|name| Self(name.into_owned())).ok_or_else(|| InvalidHostName(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a table can be asked with a borrowed name: hash and order are those of the text.
impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which service answers for which host.
#[derive(Debug, Default)]
pub struct Table {
    /// Every known host.
    pub hosts: HashMap<HostName, Arc<Service>>,
}

/// What answers for one or more hosts.
#[derive(Clone, Debug)]
pub struct Service {
    /// For error pages and logs.
    pub name: String,
    /// Whether it can be asked now.
    pub state: State,
    /// How its requests are handled.
    pub settings: Settings,
    /// Its own pages instead of the router's.
    pub pages: Option<Arc<Pages>>,
    /// What is counted of it: give the same one to the next table.
    pub meter: Arc<Meter>,
    /// Is told of each request.
    pub log: Option<Arc<dyn Log>>,
    /// Is called by each request, if what answers may be asleep.
    pub wake: Option<Arc<dyn Wake>>,
}

/// Wakes what answers for a service.
pub trait Wake: fmt::Debug + Send + Sync + 'static {
    /// There is a request: it is counted by the service's [`Meter`] already, and will be sent to a target or wait for one. Called
    /// for every request, so this is to be quick.
    fn asked(&self);
}

/// Whether a service can be asked.
#[derive(Clone, Debug)]
pub enum State {
    /// These answer. Never empty.
    Serving(Vec<Arc<Target>>),
    /// Nothing answers yet; requests wait if they may, else this is why there is no answer (503).
    Starting(String),
    /// Nothing answers; the text says why in one sentence for the visitor (503).
    Unavailable(String),
}

impl Service {
    /// A service without limits of its own.
    pub fn new(name: impl Into<String>, state: State) -> Self {
        Self {
            name: name.into(),
            state,
            settings: Settings::default(),
            pages: None,
            meter: Arc::default(),
            log: None,
            wake: None,
        }
    }

    /// The targets that answer now; none if unavailable.
    pub(crate) fn targets(&self) -> &[Arc<Target>] {
        match &self.state {
            State::Serving(targets) => targets,
            State::Starting(_) | State::Unavailable(_) => &[],
        }
    }
}

/// A host name as it stands in a table, or None if it is none. Borrowed when there was nothing to change: this runs for every request.
pub(crate) fn normal(name: &str) -> Option<Cow<'_, str>> {
    if name.contains(':') {
        return ipv6(name);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let upper = are_labels(name.as_bytes())?;
    Some(if upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) })
}

/// None if it is not labels with dots between them; whether it has upper case, if it is.
fn are_labels(name: &[u8]) -> Option<bool> {
    let (mut label, mut upper) = (0, false);
    for byte in name {
        match byte {
            b'.' if label == 0 => return None,
            b'.' => label = 0,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'A'..=b'Z' => (label, upper) = (label + 1, true),
            _ => return None,
        }
        if label > 63 {
            return None;
        }
    }
    (label > 0 && name.len() <= 253).then_some(upper)
}

fn ipv6(name: &str) -> Option<Cow<'_, str>> {
    let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    inside.parse::<Ipv6Addr>().ok().map(|address| Cow::Owned(address.to_string()))
}
