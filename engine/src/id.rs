//! Names of instances.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of an instance: 1 to 100 of `a-z`, `0-9`, `-`, `_` and `.`, not starting with a dot.
/// It is a file name on the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(String);

/// The name is outside the rules of [`InstanceId`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an instance name: use 1 to 100 of a-z, 0-9, '-', '_', '.', not starting with '.'")]
pub struct InvalidInstanceId(String);

impl InstanceId {
    /// Checks a name.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidInstanceId> {
        let name = name.into();
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.bytes().all(legal) {
            return Err(InvalidInstanceId(name));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for InstanceId {
    type Error = InvalidInstanceId;
    fn try_from(name: String) -> Result<Self, InvalidInstanceId> {
        Self::new(name)
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::InstanceId;

    #[test]
    fn names() {
        for good in ["a", "blog.web.1-4f", "9_x"] {
            assert!(InstanceId::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".a", "A", "a/b", "a b", "\0", &"x".repeat(101)] {
            assert!(InstanceId::new(bad).is_err(), "{bad}");
        }
    }
}
