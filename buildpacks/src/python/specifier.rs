//! Versions and what is asked of them: `>=3.9,<4`, and poetry's `^3.9`, `~3.9`, `3.*` and `||` besides.
//!
//! No more of PEP 440 than Python versions and locked packages need: epochs and local parts do not count.

use std::cmp::Ordering;
use std::fmt;

/// A version, comparable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    release: Vec<u64>,
    /// 0 for a release, less for what comes before it, more for what comes after.
    phase: (i8, u64),
}

/// Alternatives, in each of which every clause must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Specifier {
    alternatives: Vec<Vec<Clause>>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    operator: Operator,
    version: Version,
    /// `3.11.*`: only the numbers given count.
    wildcard: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    /// `~=3.9.1`
    Compatible,
    /// poetry's `~3.9`
    Tilde,
    /// poetry's `^3.9`
    Caret,
}

/// Longer ones first.
const OPERATORS: [(&str, Operator); 11] = [
    ("===", Operator::Equal),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("~=", Operator::Compatible),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
    ("=", Operator::Equal),
];

impl Version {
    /// None if it does not begin with numbers, or goes on with what no version has.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v').split('+').next()?;
        let text = text.split_once('!').map_or(text, |(_, rest)| rest);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (numbers, rest) = text.split_at(end);
        let numbers = numbers.trim_end_matches('.');
        let release = numbers.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
        Some(Self { release, phase: phase(rest)? })
    }

    /// Whether the first numbers are these.
    fn starts_with(&self, numbers: &[u64]) -> bool {
        numbers.iter().enumerate().all(|(at, number)| self.release.get(at).copied().unwrap_or(0) == *number)
    }
}

/// What stands behind the numbers.
fn phase(text: &str) -> Option<(i8, u64)> {
    let text = text.trim_start_matches(['-', '_', '.']).to_ascii_lowercase();
    let end = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
    let (name, number) = text.split_at(end);
    let order = match name.trim_end_matches(['-', '_', '.']) {
        "" if number.is_empty() => 0,
        "dev" => -4,
        "a" | "alpha" => -3,
        "b" | "beta" => -2,
        "c" | "rc" | "pre" | "preview" => -1,
        "" | "post" | "rev" | "r" => 1,
        _ => return None,
    };
    let digits = number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    Some((order, digits.parse().unwrap_or(0)))
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let length = self.release.len().max(other.release.len());
        let padded = |version: &Self| {
            let mut release = version.release.clone();
            release.resize(length, 0);
            release
        };
        padded(self).cmp(&padded(other)).then(self.phase.cmp(&other.phase))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Specifier {
    /// None if it is no specifier.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let alternatives = text.split("||").map(alternative).collect::<Option<_>>()?;
        Some(Self { alternatives, text: text.trim().to_owned() })
    }

    /// Whether a version will do.
    pub(super) fn accepts(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|clauses| clauses.iter().all(|clause| clause.accepts(version)))
    }
}

impl fmt::Display for Specifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn alternative(text: &str) -> Option<Vec<Clause>> {
    let text = text.trim();
    if text.is_empty() || text == "*" {
        return Some(Vec::new());
    }
    let clauses = text.split(',').map(str::trim).filter(|clause| !clause.is_empty() && *clause != "*");
    clauses.map(Clause::parse).collect()
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let found = OPERATORS.iter().find_map(|(sign, operator)| Some((text.strip_prefix(sign)?, *operator)));
        let (version, operator) = found.unwrap_or((text, Operator::Equal));
        let version = version.trim();
        let plain = version.trim_end_matches(".*");
        Some(Self { operator, version: Version::parse(plain)?, wildcard: plain.len() < version.len() })
    }

    fn accepts(&self, version: &Version) -> bool {
        let wanted = &self.version;
        let equal = if self.wildcard {
            version.starts_with(&wanted.release)
        } else {
            version == wanted || version.cmp(wanted).is_eq()
        };
        match self.operator {
            Operator::Equal => equal,
            Operator::NotEqual => !equal,
            Operator::Less => version < wanted,
            Operator::AtMost => version <= wanted,
            Operator::Greater => version > wanted,
            Operator::AtLeast => version >= wanted,
            Operator::Compatible => {
                version >= wanted && version.starts_with(self.kept(wanted.release.len().saturating_sub(1)))
            }
            Operator::Tilde => version >= wanted && version.starts_with(self.kept(wanted.release.len().min(2))),
            Operator::Caret => version >= wanted && version.starts_with(self.kept(self.significant())),
        }
    }

    fn kept(&self, numbers: usize) -> &[u64] {
        &self.version.release[..numbers.min(self.version.release.len())]
    }

    /// How many numbers there are up to the first that is not zero.
    fn significant(&self) -> usize {
        self.version.release.iter().position(|number| *number != 0).map_or(self.version.release.len(), |at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_compare() {
        let ascending = ["1.0.dev1", "1.0a1", "1.0b2", "1.0rc1", "1.0", "1.0.post1", "1.0.1", "1.9", "1.10", "2"];
        for pair in ascending.windows(2) {
            assert!(Version::parse(pair[0]).unwrap() < Version::parse(pair[1]).unwrap(), "{pair:?}");
        }
        assert!(Version::parse("1.0").unwrap().cmp(&Version::parse("1").unwrap()).is_eq());
        for text in ["", "x", "1.x", "1..2", "-1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn specifiers() {
        let cases = [
            (">=3.9,<4", "3.11.7", true),
            (">=3.9,<3.11", "3.11.7", false),
            (">=3.9,!=3.11.*", "3.11.7", false),
            ("~=3.9", "3.11.7", true),
            ("~=3.9.1", "3.11.7", false),
            ("^3.9", "3.11.7", true),
            ("^3.9", "4.0", false),
            ("^0.2.3", "0.3.0", false),
            ("~3.11", "3.11.7", true),
            ("~3.10", "3.11.7", false),
            ("3.11.*", "3.11.7", true),
            ("*", "3.11.7", true),
            ("", "3.11.7", true),
            ("<3 || >=3.11", "3.11.7", true),
            ("2.7.* || 3.10.*", "3.11.7", false),
            ("==1.0", "1.0.0", true),
            (" >= 3.11 ", "3.11", true),
        ];
        for (specifier, version, accepts) in cases {
            let specifier = Specifier::parse(specifier).unwrap();
            assert_eq!(specifier.accepts(&Version::parse(version).unwrap()), accepts, "{specifier} {version}");
        }
        assert_eq!(Specifier::parse("three"), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", specifier in "([<>=!~^]{0,2}[0-9.*]{0,5}[,|]{0,2}){0,4}", version in "[0-9.a-z]{0,8}") {
            let version = Version::parse(&version).or(Version::parse(&text));
            for text in [&text, &specifier] {
                if let (Some(specifier), Some(version)) = (Specifier::parse(text), &version) {
                    specifier.accepts(version);
                }
            }
        }
    }
}
