//! Names of trees: hashes of their content (see [`crate::inventory`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::inventory::hex;

/// `sha256-` and 64 hexadecimal digits, lower case. A file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Not a digest.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a digest")]
pub struct InvalidDigest(String);

impl Digest {
    /// Its text, which is its directory's name in the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_sha256(hash: &[u8]) -> Self {
        Self(format!("sha256-{}", hex(hash)))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        let hex = text.strip_prefix("sha256-").unwrap_or_default();
        if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text))
        } else {
            Err(InvalidDigest(text))
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}
