//! The route table: made anew for every change, never altered, swapped whole.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::Target;

/// A host name in lower case, without port: labels of `a-z`, `0-9`, `-`, `_`, at most 253 bytes. Also an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

/// Not a host name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a host name")]
pub struct InvalidHostName(pub String);

impl HostName {
    /// Checks a name; upper case becomes lower case, one final dot is dropped.
    pub fn new(_name: &str) -> Result<Self, InvalidHostName> {
        todo!()
    }

    /// The name.
    pub fn as_str(&self) -> &str {
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
#[derive(Debug)]
pub struct Service {
    /// For error pages and logs.
    pub name: String,
    /// Whether it can be asked now.
    pub state: State,
}

/// Whether a service can be asked.
#[derive(Debug)]
pub enum State {
    /// These answer; requests go to the one with the fewest in flight. Never empty.
    Serving(Vec<Arc<Target>>),
    /// Nothing answers; the text says why in one sentence for the visitor (503).
    Unavailable(String),
}
