//! The commands of protocol version 2. (gitprotocol-v2(5), "Command Request")

use std::io;

use tokio::io::AsyncRead;

use crate::pktline::{self, Packet};
use crate::{Limits, ObjectId};

/// Arguments of a command that are neither wants nor haves, at most.
const OTHERS: usize = 1000;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    LsRefs(LsRefs),
    Fetch(Fetch),
}

/// Which refs to list, and what about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LsRefs {
    pub(super) peel: bool,
    pub(super) symrefs: bool,
    pub(super) unborn: bool,
    prefixes: Vec<Vec<u8>>,
}

/// What a client wants and has.
#[expect(clippy::struct_excessive_bools, reason = "each is a word that the client says or does not say")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) wants: Vec<ObjectId>,
    pub(super) haves: Vec<ObjectId>,
    pub(super) done: bool,
    pub(super) include_tags: bool,
    /// Deltas may be against objects that the client has.
    pub(super) thin: bool,
    /// Bases may be told by their distance.
    pub(super) distances: bool,
    /// Where the client's clone is cut off.
    pub(super) shallow: Vec<ObjectId>,
    pub(super) deepen: Deepen,
    /// Blobs of so many bytes or more are not to be sent.
    pub(super) blob_limit: Option<u64>,
}

/// Where the client's clone is to be cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Deepen {
    pub(super) depth: Option<u32>,
    /// The depth counts from where it is cut off now.
    pub(super) relative: bool,
    /// Nothing older, in seconds.
    pub(super) since: Option<i64>,
    /// Nothing that these refs lead to.
    pub(super) not: Vec<Vec<u8>>,
}

impl Deepen {
    /// Whether there is to be any change.
    pub(super) fn asked(&self) -> bool {
        self.depth.is_some() || self.since.is_some() || !self.not.is_empty()
    }
}

/// Why a command makes no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("protocol error: {0}")]
    Malformed(&'static str),
    #[error("too many lines in one request: at most {0}")]
    TooMany(usize),
    #[error("invalid filter-spec '{0}': blob:none and blob:limit are known")]
    Filter(String),
}

/// Lines of one request.
pub(super) fn most(limits: &Limits) -> usize {
    limits.refs.saturating_mul(2).saturating_add(OTHERS)
}

impl Request {
    /// The next command; None if the client has no more.
    pub(super) async fn read(
        input: &mut (impl AsyncRead + Unpin),
        limits: &Limits,
    ) -> Result<Option<Self>, RequestError> {
        let Some(Packet::Data(command)) = pktline::read(input, limits.packet_bytes).await? else { return Ok(None) };
        let mut request = match Packet::text(&command) {
            b"command=ls-refs" => Self::LsRefs(LsRefs::default()),
            b"command=fetch" => Self::Fetch(Fetch::default()),
            _ => return Err(RequestError::Malformed("unknown command")),
        };
        let mut arguments = false;
        for _ in 0..most(limits) {
            match pktline::read(input, limits.packet_bytes).await? {
                Some(Packet::Flush) => return Ok(Some(request)),
                Some(Packet::Delimiter) if !arguments => arguments = true,
                Some(Packet::Data(line)) if arguments => request.add(Packet::text(&line))?,
                // Capabilities such as `agent=…` change nothing here.
                Some(Packet::Data(_)) => {}
                Some(Packet::Delimiter) | None => return Err(RequestError::Malformed("expected flush")),
            }
        }
        Err(RequestError::TooMany(most(limits)))
    }

    fn add(&mut self, argument: &[u8]) -> Result<(), RequestError> {
        match self {
            Self::LsRefs(asked) => asked.add(argument),
            Self::Fetch(asked) => asked.add(argument)?,
        }
        Ok(())
    }
}

impl LsRefs {
    /// Whether a ref was asked for: without prefixes all are.
    pub(super) fn wants(&self, name: &[u8]) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    fn add(&mut self, argument: &[u8]) {
        match argument {
            b"peel" => self.peel = true,
            b"symrefs" => self.symrefs = true,
            b"unborn" => self.unborn = true,
            _ => self.prefixes.extend(argument.strip_prefix(b"ref-prefix ").map(<[u8]>::to_vec)),
        }
    }
}

impl Fetch {
    pub(super) fn add(&mut self, argument: &[u8]) -> Result<(), RequestError> {
        let (word, value) = match argument.iter().position(|byte| *byte == b' ') {
            Some(end) => (argument.get(..end).unwrap_or_default(), argument.get(end + 1..).unwrap_or_default()),
            None => (argument, [].as_slice()),
        };
        match word {
            b"want" => self.wants.push(parse_id(value)?),
            b"have" => self.haves.push(parse_id(value)?),
            b"done" => self.done = true,
            b"include-tag" => self.include_tags = true,
            b"thin-pack" => self.thin = true,
            b"ofs-delta" => self.distances = true,
            b"shallow" => self.shallow.push(parse_id(value)?),
            b"deepen" => self.deepen.depth = Some(parse_depth(value)?),
            b"deepen-relative" => self.deepen.relative = true,
            b"deepen-since" => self.deepen.since = Some(parse_number(value)?),
            b"deepen-not" => self.deepen.not.push(value.to_vec()),
            b"filter" => self.blob_limit = Some(parse_filter(value)?),
            // Such as `no-progress`: there is none.
            _ => {}
        }
        Ok(())
    }
}

fn parse_number<T: std::str::FromStr>(digits: &[u8]) -> Result<T, RequestError> {
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.ok_or(RequestError::Malformed("bad number"))
}

fn parse_depth(digits: &[u8]) -> Result<u32, RequestError> {
    match parse_number(digits)? {
        0 => Err(RequestError::Malformed("a depth is at least 1")),
        depth => Ok(depth),
    }
}

/// `blob:none`, or `blob:limit=` with a number and perhaps `k`, `m` or `g`.
fn parse_filter(spec: &[u8]) -> Result<u64, RequestError> {
    let unknown = || RequestError::Filter(String::from_utf8_lossy(spec).into_owned());
    if spec == b"blob:none" {
        return Ok(0);
    }
    let limit = spec.strip_prefix(b"blob:limit=").ok_or_else(unknown)?;
    let (digits, shift) = match limit.split_last() {
        Some((b'k' | b'K', digits)) => (digits, 10),
        Some((b'm' | b'M', digits)) => (digits, 20),
        Some((b'g' | b'G', digits)) => (digits, 30),
        _ => (limit, 0),
    };
    let number: u64 = parse_number(digits).map_err(|_| unknown())?;
    number.checked_mul(1 << shift).ok_or_else(unknown)
}

fn parse_id(hex: &[u8]) -> Result<ObjectId, RequestError> {
    ObjectId::from_hex(hex).map_err(|_| RequestError::Malformed("bad object id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "1111111111111111111111111111111111111111";

    async fn read(bytes: &str) -> Result<Option<Request>, RequestError> {
        Request::read(&mut bytes.as_bytes(), &Limits::default()).await
    }

    fn packets(lines: &[&str]) -> String {
        let packet =
            |line: &&str| if line.len() == 4 { (*line).to_owned() } else { format!("{:04x}{line}", line.len() + 4) };
        lines.iter().map(packet).collect()
    }

    #[tokio::test]
    async fn commands_and_arguments() {
        let bytes = packets(&["command=ls-refs\n", "agent=x", "0001", "peel\n", "ref-prefix refs/heads/\n", "0000"]);
        let Some(Request::LsRefs(asked)) = read(&bytes).await.unwrap() else { panic!("ls-refs") };
        assert!(asked.peel && !asked.symrefs);
        assert!(asked.wants(b"refs/heads/main") && !asked.wants(b"HEAD"));

        let (want, have) = (format!("want {A}\n"), format!("have {A}\n"));
        let bytes = packets(&["command=fetch", "0001", "thin-pack", &want, &have, "done\n", "0000"]);
        // `done\n` has five bytes, and none of the lines above has four.
        let Some(Request::Fetch(asked)) = read(&bytes).await.unwrap() else { panic!("fetch") };
        assert_eq!((asked.wants.len(), asked.haves.len(), asked.done), (1, 1, true));
    }

    #[tokio::test]
    async fn the_end_and_nonsense() {
        assert!(read("").await.unwrap().is_none());
        assert!(read("0000").await.unwrap().is_none());
        for lines in [
            ["command=push", "0000", "0000"],
            ["command=fetch", "0001", "want x"],
            ["command=fetch", "0001", "deepen 0"],
            ["command=fetch", "0001", "filter tree:0"],
            ["command=fetch", "0001", "0001"],
        ] {
            assert!(read(&packets(&lines)).await.is_err(), "{lines:?}");
        }
        assert!(read(&packets(&["command=fetch", "0001"])).await.is_err());
    }

    #[test]
    fn filters() {
        for (spec, expected) in [
            ("blob:none", Some(0)),
            ("blob:limit=10", Some(10)),
            ("blob:limit=2k", Some(2048)),
            ("blob:limit=1G", Some(1 << 30)),
            ("blob:limit=", None),
            ("blob:limit=k", None),
            ("blob:limit=99999999999999999999", None),
            ("blob:limit=9999999999999999999g", None),
            ("tree:0", None),
            ("", None),
        ] {
            assert_eq!(parse_filter(spec.as_bytes()).ok(), expected, "{spec}");
        }
    }

    proptest! {
        #[test]
        fn any_argument_is_answered(argument in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Fetch::default().add(&argument);
            LsRefs::default().add(&argument);
        }
    }
}
