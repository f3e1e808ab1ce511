//! What a pusher asks for: commands, capabilities and options. (gitprotocol-pack(5), "Reference Update Request")

use std::io;

use tokio::io::AsyncRead;

use crate::pktline::{self, Packet};
use crate::{Limits, ObjectId, RefUpdate};

/// Options of one push at most.
const OPTIONS: usize = 32;

/// A push, before its pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PushRequest {
    pub(crate) commands: Vec<Command>,
    pub(crate) capabilities: Capabilities,
    pub(crate) options: Vec<String>,
    /// Whether the client itself lacks history.
    pub(crate) shallow: bool,
}

/// One ref that is to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// As sent, unchecked.
    pub(crate) name: Vec<u8>,
    pub(crate) old: Option<ObjectId>,
    pub(crate) new: Option<ObjectId>,
}

/// Those of our capabilities that the client uses.
#[expect(clippy::struct_excessive_bools, reason = "each is a word that the client says or does not say")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) report_status: bool,
    pub(crate) side_band: bool,
    pub(crate) push_options: bool,
    /// All refs or none.
    pub(crate) atomic: bool,
}

/// Why a request makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("protocol error: {0}")]
    Malformed(&'static str),
    #[error("the server only knows SHA-1 repositories")]
    ObjectFormat,
    #[error("too many {what} in one push: at most {most}")]
    TooMany { what: &'static str, most: usize },
}

impl PushRequest {
    /// What a command asks for, with what is said about all.
    pub(crate) fn ref_update(&self, command: &Command) -> RefUpdate {
        let name = String::from_utf8_lossy(&command.name).into_owned();
        RefUpdate { name, old: command.old, new: command.new, options: self.options.clone() }
    }

    /// Why its options cannot be followed, if these are known.
    pub(crate) fn unknown_option(&self, known: &[&str]) -> Option<String> {
        let option = self.options.iter().find(|option| !known.contains(&option.as_str()))?;
        Some(format!("unknown push option {option:?}, known are: {}", known.join(", ")))
    }

    /// Reads up to where the pack begins. None: the client does not want anything. With the error comes whether the client
    /// expects it in a band.
    pub(crate) async fn read(
        input: &mut (impl AsyncRead + Unpin),
        limits: &Limits,
    ) -> Result<Option<Self>, (RequestError, bool)> {
        let mut request = Self::default();
        match request.fill(input, limits).await {
            Ok(()) => Ok((!request.commands.is_empty()).then_some(request)),
            Err(error) => Err((error, request.capabilities.side_band)),
        }
    }

    async fn fill(&mut self, input: &mut (impl AsyncRead + Unpin), limits: &Limits) -> Result<(), RequestError> {
        let complete = loop {
            match pktline::read(input, limits.packet_bytes).await? {
                Some(Packet::Data(line)) => self.add_line(&line, limits.commands)?,
                Some(Packet::Flush) => break true,
                Some(Packet::Delimiter) | None => break false,
            }
        };
        if !complete && !self.commands.is_empty() {
            return Err(RequestError::Malformed("expected flush after ref listing"));
        }
        if self.capabilities.push_options {
            self.read_options(input, limits.packet_bytes).await?;
        }
        Ok(())
    }

    /// Whether a pack follows: a push that only deletes has none.
    pub(crate) fn has_pack(&self) -> bool {
        self.commands.iter().any(|command| command.new.is_some())
    }

    /// How many refs the push makes.
    pub(crate) fn creations(&self) -> usize {
        self.commands.iter().filter(|command| command.creates()).count()
    }

    fn add_line(&mut self, line: &[u8], most: usize) -> Result<(), RequestError> {
        // A shallow client may push what is complete here: the connectivity check decides.
        if line.starts_with(b"shallow ") {
            self.shallow = true;
            return Ok(());
        }
        let command = match line.iter().position(|byte| *byte == 0) {
            Some(end) if self.commands.is_empty() => {
                let (command, capabilities) = line.split_at(end);
                self.capabilities = Capabilities::parse(capabilities)?;
                command
            }
            Some(_) => return Err(RequestError::Malformed("NUL in a command")),
            None => Packet::text(line),
        };
        if self.commands.len() == most {
            return Err(RequestError::TooMany { what: "refs", most });
        }
        self.commands.push(Command::parse(command).ok_or(RequestError::Malformed("expected old/new/ref"))?);
        Ok(())
    }

    async fn read_options(
        &mut self,
        input: &mut (impl AsyncRead + Unpin),
        packet_bytes: usize,
    ) -> Result<(), RequestError> {
        while let Some(Packet::Data(line)) = pktline::read(input, packet_bytes).await? {
            if self.options.len() == OPTIONS {
                return Err(RequestError::TooMany { what: "options", most: OPTIONS });
            }
            self.options.push(String::from_utf8_lossy(Packet::text(&line)).into_owned());
        }
        Ok(())
    }
}

impl Command {
    /// Whether the ref does not exist yet.
    pub(super) fn creates(&self) -> bool {
        self.old.is_none() && self.new.is_some()
    }

    /// `OLD NEW NAME`, the ids in hex.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let old = parse_id(parts.next()?)?;
        let new = parse_id(parts.next()?)?;
        let name = parts.next().filter(|name| !name.is_empty())?.to_vec();
        Some(Self { name, old: non_null(old), new: non_null(new) })
    }
}

impl Capabilities {
    fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let mut capabilities = Self::default();
        for word in bytes.split(|byte| matches!(byte, b' ' | b'\n' | 0)) {
            match word {
                b"report-status" | b"report-status-v2" => capabilities.report_status = true,
                b"side-band-64k" => capabilities.side_band = true,
                b"push-options" => capabilities.push_options = true,
                b"atomic" => capabilities.atomic = true,
                b"object-format=sha1" => {}
                _ if word.starts_with(b"object-format=") => return Err(RequestError::ObjectFormat),
                // `agent=…`, `quiet` (nothing is printed that it could silence) and what we did not offer.
                _ => {}
            }
        }
        Ok(capabilities)
    }
}

fn parse_id(hex: &[u8]) -> Option<ObjectId> {
    ObjectId::from_hex(hex).ok()
}

/// The null id stands for "does not exist".
fn non_null(id: ObjectId) -> Option<ObjectId> {
    (!id.is_null()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    async fn request(packets: &[Option<&str>]) -> Result<Option<PushRequest>, RequestError> {
        let mut bytes = Vec::new();
        for packet in packets {
            match packet {
                Some(line) => pktline::data(&mut bytes, line.as_bytes()),
                None => pktline::flush(&mut bytes),
            }
        }
        let limits = Limits { commands: 2, ..Limits::default() };
        PushRequest::read(&mut bytes.as_slice(), &limits).await.map_err(|(error, _)| error)
    }

    #[tokio::test]
    async fn commands_capabilities_and_options() {
        let first = format!("{ZERO} {A} refs/heads/main\0 report-status-v2 side-band-64k push-options agent=git/2");
        let second = format!("{A} {ZERO} refs/heads/a b");
        let parsed = request(&[Some(&first), Some(&second), None, Some("no-cache"), None]).await.unwrap().unwrap();
        assert_eq!(parsed.commands.len(), 2);
        assert_eq!(parsed.commands[0].old, None);
        assert_eq!(parsed.commands[0].new.unwrap().to_string(), A);
        assert_eq!(parsed.commands[1].name, b"refs/heads/a b");
        assert_eq!(parsed.commands[1].new, None);
        let expected = Capabilities { report_status: true, side_band: true, push_options: true, atomic: false };
        assert_eq!(parsed.capabilities, expected);
        assert_eq!(parsed.options, ["no-cache"]);
        assert!(parsed.has_pack());
    }

    #[tokio::test]
    async fn no_commands_are_no_request() {
        assert!(request(&[None]).await.unwrap().is_none());
        assert!(request(&[]).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn shallow_lines_are_skipped_and_deletes_have_no_pack() {
        let shallow = format!("shallow {B}");
        let delete = format!("{A} {ZERO} refs/heads/main\0report-status");
        let parsed = request(&[Some(&shallow), Some(&delete), None]).await.unwrap().unwrap();
        assert!(!parsed.has_pack() && parsed.shallow);
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        for line in ["", "x", &format!("{A} {B}"), &format!("{A} {B} "), &format!("{A}  refs/heads/x"), "push-cert\0x"]
        {
            assert!(request(&[Some(line), None]).await.is_err(), "{line}");
        }
        let sha256 = format!("{ZERO} {A} refs/heads/main\0object-format=sha256");
        assert!(matches!(request(&[Some(&sha256), None]).await, Err(RequestError::ObjectFormat)));
    }

    #[tokio::test]
    async fn too_many_commands_are_refused_with_the_bound() {
        let line = format!("{A} {B} refs/heads/x");
        let line = Some(line.as_str());
        assert!(request(&[line, line, None]).await.is_ok());
        let error = request(&[line, line, line, None]).await.unwrap_err();
        assert_eq!(error.to_string(), "too many refs in one push: at most 2");
    }

    proptest! {
        #[test]
        fn any_name_survives(name in "[^\0\n]{1,80}") {
            let line = format!("{A} {B} {name}");
            let command = Command::parse(line.as_bytes()).unwrap();
            prop_assert_eq!(command.name, name.into_bytes());
        }

        #[test]
        fn any_line_is_parsed_without_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PushRequest::default().add_line(&line, 1);
        }
    }
}
