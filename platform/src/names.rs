//! Names that come from outside, as checked types: whatever has one of these types has been parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names that no app may have: they mean something as SSH users.
const RESERVED: [&str; 5] = ["airstrip", "dokku", "piku", "git", "root"];

/// A name outside the rules, with the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not {expected}")]
pub struct InvalidName {
    name: String,
    expected: &'static str,
}

/// Defines a checked string: its rule is a function from text to bool, its description completes "… is not".
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $rule:expr, $expected:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let rule: fn(&str) -> bool = $rule;
                if rule(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName { name: text.to_owned(), expected: $expected })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_name!(
    /// The name of an app.
    AppName,
    |text| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        text.len() <= 30
            && text.bytes().all(inner)
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && !RESERVED.contains(&text)
    },
    "an app name: use 1 to 30 of a-z, 0-9 and '-', starting with a letter, not ending with '-', \
     and none of airstrip, dokku, piku, git, root"
);

checked_name!(
    /// `web`, `worker`, …: the name before the colon in a Procfile.
    ProcessType,
    |text| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=30).contains(&text.len()) && text.bytes().all(inner)
    },
    "a process type: use 1 to 30 letters, digits, '-' and '_'"
);

impl ProcessType {
    /// Whether its instances take requests.
    pub fn is_web(&self) -> bool {
        self.0 == "web"
    }

    /// Whether it is the command that runs once before a switch.
    pub fn is_release(&self) -> bool {
        self.0 == "release"
    }
}

checked_name!(
    /// The name of a configuration variable.
    ConfigKey,
    |text| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        (1..=255).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with(|c: char| c.is_ascii_digit())
    },
    "a variable name: use letters, digits and '_', not starting with a digit"
);

checked_name!(
    /// The name under which a public key is kept.
    KeyName,
    |text| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@' | b'+');
        (1..=64).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-')
    },
    "a key name: use 1 to 64 letters, digits and '-', '_', '.', '@', '+', not starting with '-'"
);

/// One instance's place in an app: `web.1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Process {
    /// `web`.
    pub kind: ProcessType,
    /// Counted from 1.
    pub number: u32,
}

impl FromStr for Process {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let parse = || {
            let (kind, number) = text.rsplit_once('.')?;
            let number = number.parse().ok().filter(|number| *number > 0)?;
            Some(Self { kind: kind.parse().ok()?, number })
        };
        parse().ok_or_else(|| InvalidName { name: text.to_owned(), expected: "a process such as web.1" })
    }
}

impl TryFrom<String> for Process {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Process> for String {
    fn from(process: Process) -> Self {
        process.to_string()
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.number)
    }
}

/// `web` or `web.2`: all instances of a type, or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    kind: ProcessType,
    number: Option<u32>,
}

impl Selector {
    /// Whether `process` is meant.
    pub fn matches(&self, process: &Process) -> bool {
        self.kind == process.kind && self.number.is_none_or(|number| number == process.number)
    }
}

impl FromStr for Selector {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.contains('.') {
            let process: Process = text.parse()?;
            return Ok(Self { kind: process.kind, number: Some(process.number) });
        }
        Ok(Self { kind: text.parse()?, number: None })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "{}.{number}", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

/// The number of a release: `v12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(pub u32);

impl FromStr for Version {
    type Err = InvalidName;
    /// Accepts `v12` and `12`.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let digits = text.strip_prefix('v').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let number = plain.then(|| digits.parse().ok()).flatten().filter(|number| *number > 0);
        number.map(Self).ok_or_else(|| InvalidName { name: text.to_owned(), expected: "a release such as v12" })
    }
}

impl TryFrom<String> for Version {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names() {
        for good in ["a", "blog", "blog-2", "a2345678901234567890123456789z"] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        let long = "x".repeat(31);
        for bad in ["", "2blog", "-a", "a-", "Blog", "a_b", "a.b", "a/b", "..", "git", "airstrip", "é", &long] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn processes() {
        let process: Process = "web.12".parse().unwrap();
        assert_eq!(process.to_string(), "web.12");
        for bad in ["web", "web.0", "web.-1", ".1", "web.1.x", "a b.1"] {
            assert!(bad.parse::<Process>().is_err(), "{bad}");
        }
        assert!("web".parse::<Selector>().unwrap().matches(&process));
        assert!(!"web.1".parse::<Selector>().unwrap().matches(&process));
    }

    #[test]
    fn versions() {
        assert_eq!("v12".parse::<Version>().unwrap(), Version(12));
        assert_eq!("12".parse::<Version>().unwrap(), Version(12));
        for bad in ["", "v", "v0", "v-1", "vv1", "1.0", "v+1"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn config_keys() {
        for good in ["A", "_x", "DATABASE_URL", "a1"] {
            assert!(good.parse::<ConfigKey>().is_ok(), "{good}");
        }
        for bad in ["", "1A", "A-B", "A B", "A=B", "é"] {
            assert!(bad.parse::<ConfigKey>().is_err(), "{bad}");
        }
    }
}
