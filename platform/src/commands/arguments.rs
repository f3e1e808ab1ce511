//! Arguments that commands share, or that have a form of their own.

use std::str::FromStr;

use engine::Egress;

use router::HostName;

use super::settings::BranchName;
use crate::limits::parse_seconds;
use crate::names::{ConfigKey, InvalidName, ProcessType, Selector, Version};
use crate::network::EgressName;

/// How a listing is written.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Form {
    /// Write JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

/// Which lines of a log.
#[derive(Debug, clap::Args)]
pub(super) struct Query {
    /// Go on with new lines as they come (also -t, --tail)
    #[arg(short, long, short_alias = 't', alias = "tail")]
    pub(super) follow: bool,
    /// So many of the newest lines
    #[arg(short, long, value_name = "N", default_value = "100", value_parser = count)]
    pub(super) num: usize,
    /// Only of these: `web`, or `web.2`
    #[arg(short, long, alias = "ps", value_name = "PROCESS")]
    pub(super) process: Option<Selector>,
    /// Only of this release
    #[arg(long, value_name = "RELEASE")]
    pub(super) release: Option<Version>,
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number of lines"))
}

/// A place in a list, counted from 1.
pub(super) fn place(text: &str) -> Result<usize, String> {
    let place = text.parse().ok().filter(|place| *place > 0);
    place.ok_or_else(|| format!("{text:?} is not a place among buildpacks, from 1"))
}

/// What a key may do with its app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum AppRole {
    Deploy,
    Admin,
}

/// `deploy-branch NAME`
#[derive(Debug, clap::Args)]
pub(super) struct GitSetting {
    #[arg(value_name = "deploy-branch", value_parser = ["deploy-branch"])]
    name: String,
    #[arg(value_name = "NAME")]
    pub(super) branch: BranchName,
}

/// `www.example.org`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Domain(pub(super) HostName);

impl FromStr for Domain {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        HostName::new(text).map(Self).map_err(|error| error.to_string())
    }
}

/// `web=2`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scale(pub(super) ProcessType, pub(super) u32);

impl FromStr for Scale {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const MOST: u32 = 100;
        let (kind, count) = text.split_once('=').ok_or_else(|| format!("{text:?} is not TYPE=N, such as web=2"))?;
        let kind: ProcessType = kind.parse().map_err(|e: InvalidName| e.to_string())?;
        let count = count.parse().ok().filter(|count| *count <= MOST);
        count
            .map(|count| Self(kind, count))
            .ok_or_else(|| format!("{text:?}: the number of instances is from 0 to {MOST}"))
    }
}

/// `after=30m` or `off`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SleepSetting(pub(super) Option<u32>);

impl FromStr for SleepSetting {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const MOST: u32 = 30 * 24 * 60 * 60;
        if text == "off" {
            return Ok(Self(None));
        }
        let seconds =
            text.strip_prefix("after=").and_then(parse_seconds).and_then(|seconds| u32::try_from(seconds).ok());
        let seconds = seconds.filter(|seconds| (1..=MOST).contains(seconds));
        seconds.map(|seconds| Self(Some(seconds))).ok_or_else(|| {
            format!("{text:?} is not after=TIME, from 1s to 720h (30 days), such as after=30m, and not off")
        })
    }
}

/// `timeout=SECONDS`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChecksTimeout(pub(super) u32);

impl FromStr for ChecksTimeout {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = text.strip_prefix("timeout=").and_then(|seconds| seconds.parse().ok());
        let seconds = seconds.filter(|seconds| (1..=3600).contains(seconds));
        seconds.map(Self).ok_or_else(|| format!("{text:?} is not timeout=SECONDS, from 1 to 3600"))
    }
}

/// The form of an exported release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ExportFormat {
    /// For Docker, podman, skopeo.
    Oci,
    /// For `deploy` on another server.
    Tar,
}

/// Of how many builds releases are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeptBuilds(pub(super) u32);

impl FromStr for KeptBuilds {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const MOST: u32 = 1000;
        let builds = text.parse().ok().filter(|builds| (1..=MOST).contains(builds));
        builds
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a number of builds, from 1 (the one that serves) to {MOST}"))
    }
}

/// `egress=internet` or `internal=on`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkSetting {
    Egress(Egress),
    Internal(bool),
}

impl FromStr for NetworkSetting {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "internal=on" => return Ok(Self::Internal(true)),
            "internal=off" => return Ok(Self::Internal(false)),
            _ => {}
        }
        let name = text.strip_prefix("egress=").and_then(|name| name.parse().ok());
        name.map(|EgressName(egress)| Self::Egress(egress)).ok_or_else(|| {
            format!("{text:?} is not egress=internet, egress=private, egress=none, internal=on or internal=off")
        })
    }
}

/// `KEY=VALUE`, or `-` for standard input.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Assignment {
    Pair(ConfigKey, String),
    Stdin,
}

impl FromStr for Assignment {
    type Err = String;
    /// What is refused may be part of a secret (a value that lost its quotes): only what looks like a name is shown.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Stdin);
        }
        let (key, value) = text.split_once('=').ok_or(
            "an argument is not KEY=VALUE; if a value has blanks, quote it twice: ssh … config:set APP 'KEY=\"two words\"'",
        )?;
        let looks_like_a_name =
            key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        let hidden =
            "what stands before '=' is not a variable name: use letters, digits and '_', not starting with a digit";
        let refused = |e: InvalidName| if looks_like_a_name { e.to_string() } else { hidden.to_owned() };
        let key: ConfigKey = key.parse().map_err(refused)?;
        Ok(Self::Pair(key, value.to_owned()))
    }
}

impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pair(key, _) => write!(f, "{key}=…"),
            Self::Stdin => f.write_str("-"),
        }
    }
}
