//! Bounds of pushes, fetches and SSH connections, as an operator writes them: `pack=4G,connections=512`.

use std::collections::BTreeMap;
use std::time::Duration;

use gitd::Limits;
use serde::Deserialize;

use super::SettingsError;
use crate::limits::{parse_bytes, parse_seconds};

/// A value of the configuration file.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Value {
    Number(u64),
    Text(String),
}

/// The defaults, with what the file says over them, and over that what was given as `NAME=VALUE,…`.
pub(super) fn limits(flag: Option<&str>, file: BTreeMap<String, Value>) -> Result<Limits, SettingsError> {
    let mut limits = Limits::default();
    for (name, value) in file {
        let value = match value {
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text,
        };
        set(&mut limits, &name, &value)?;
    }
    for pair in flag.unwrap_or_default().split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| wrong(pair, "expected NAME=VALUE"))?;
        set(&mut limits, name.trim(), value.trim())?;
    }
    Ok(limits)
}

fn set(limits: &mut Limits, name: &str, value: &str) -> Result<(), SettingsError> {
    match name {
        "pack" => limits.pack_bytes = bytes(name, value)?,
        "objects" => {
            let objects = u32::try_from(count(name, value)?);
            limits.pack_objects = objects.map_err(|_| wrong_value(name, value, TOO_MUCH))?;
        }
        "unpacked" => limits.unpacked_bytes = bytes(name, value)?,
        "object" => limits.object_bytes = small(name, value, bytes(name, value)?)?,
        "line" => limits.packet_bytes = small(name, value, bytes(name, value)?)?,
        "packs" => limits.packs = count(name, value)?,
        "refs" => limits.refs = count(name, value)?,
        "refs-per-push" => limits.commands = count(name, value)?,
        "stall" => limits.stall = seconds(name, value)?,
        "connections" => limits.connections = count(name, value)?,
        "connections-per-address" => limits.connections_per_address = count(name, value)?,
        "unauthenticated" => limits.unauthenticated = count(name, value)?,
        "tries" => limits.tries = count(name, value)?,
        "login" => limits.login = seconds(name, value)?,
        _ => return Err(wrong(name, KNOWN)),
    }
    Ok(())
}

const TOO_MUCH: &str = "that is too much";
const KNOWN: &str = "known are pack, objects, unpacked, object, line, packs, refs, refs-per-push, stall, connections, connections-per-address, \
                     unauthenticated, tries and login";

fn bytes(name: &str, value: &str) -> Result<u64, SettingsError> {
    parse_bytes(value)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| wrong_value(name, value, "expected a size, such as 512M"))
}

fn seconds(name: &str, value: &str) -> Result<Duration, SettingsError> {
    let seconds = parse_seconds(value).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| wrong_value(name, value, "expected a time, such as 20s or 10m"))
}

fn count(name: &str, value: &str) -> Result<usize, SettingsError> {
    value.parse().ok().filter(|count| *count > 0).ok_or_else(|| wrong_value(name, value, "expected a number above 0"))
}

fn small(name: &str, value: &str, bytes: u64) -> Result<usize, SettingsError> {
    usize::try_from(bytes).map_err(|_| wrong_value(name, value, TOO_MUCH))
}

fn wrong_value(name: &str, value: &str, reason: &str) -> SettingsError {
    wrong(&format!("{name}={value}"), reason)
}

fn wrong(value: &str, reason: &str) -> SettingsError {
    SettingsError::Value { name: "git", value: value.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_over_file_over_default() {
        let file = toml::from_str(
            "pack = \"1G\"\nobjects = 1000\nunpacked = \"8G\"\nobject = \"16M\"\ntries = 3\nstall = \"2m\"",
        )
        .unwrap();
        let set = limits(Some("pack=4G, connections=512"), file).unwrap();
        let expected = Limits {
            pack_bytes: 4 << 30,
            pack_objects: 1000,
            unpacked_bytes: 8 << 30,
            object_bytes: 16 << 20,
            tries: 3,
            stall: Duration::from_secs(120),
            connections: 512,
            ..Limits::default()
        };
        assert_eq!(set, expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (flag, word) in [
            ("pack", "NAME=VALUE"),
            ("pakc=1G", "refs-per-push"),
            ("pack=1", "512M"),
            ("pack=0M", "512M"),
            ("connections=0", "connections=0"),
            ("login=20", "20s"),
            ("tries=many", "tries=many"),
        ] {
            let error = limits(Some(flag), BTreeMap::new()).unwrap_err().to_string();
            assert!(error.contains(word), "{flag}: {error}");
        }
    }
}
