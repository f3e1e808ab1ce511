//! What a pusher is told at the end. (gitprotocol-pack(5), "Report Status")

use crate::pktline::{self, Band};
use crate::receive::request::{Capabilities, Command};

/// The outcome of a push.
#[derive(Debug)]
pub(crate) struct Report {
    unpack: Result<(), String>,
    refs: Vec<(Vec<u8>, Result<(), String>)>,
}

impl Report {
    /// The pack was taken; each ref has its own outcome.
    pub(crate) fn new(commands: &[Command], outcomes: Vec<Result<(), String>>) -> Self {
        let refs = commands.iter().map(|command| command.name.clone()).zip(outcomes).collect();
        Self { unpack: Ok(()), refs }
    }

    /// The pack was not taken, so no ref moved.
    pub(crate) fn unpack_failed(commands: &[Command], reason: &str) -> Self {
        let refused = |command: &Command| (command.name.clone(), Err("unpacker error".to_owned()));
        Self { unpack: Err(reason.to_owned()), refs: commands.iter().map(refused).collect() }
    }

    /// Whether everything that was asked for has happened.
    pub(crate) fn succeeded(&self) -> bool {
        self.unpack.is_ok() && self.refs.iter().all(|(_, outcome)| outcome.is_ok())
    }

    /// As packets for this client; empty if it did not ask for a report.
    pub(crate) fn encode(&self, capabilities: Capabilities) -> Vec<u8> {
        let mut out = Vec::new();
        if capabilities.report_status && capabilities.side_band {
            pktline::band(&mut out, Band::Data, &self.lines());
        } else if capabilities.report_status {
            return self.lines();
        }
        if capabilities.side_band {
            pktline::flush(&mut out);
        }
        out
    }

    fn lines(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let unpack = self.unpack.as_ref().map_or_else(|reason| one_line(reason), |()| "ok".to_owned());
        pktline::data(&mut out, format!("unpack {unpack}\n").as_bytes());
        for (name, outcome) in &self.refs {
            let line = match outcome {
                Ok(()) => [b"ok ", name.as_slice(), b"\n"].concat(),
                Err(reason) => [b"ng ", name.as_slice(), b" ", one_line(reason).as_bytes(), b"\n"].concat(),
            };
            pktline::data(&mut out, &line);
        }
        pktline::flush(&mut out);
        out
    }
}

/// A reason ends at the line end, and must not be longer than a packet.
fn one_line(reason: &str) -> String {
    let clean = |character: char| if character.is_control() { ' ' } else { character };
    reason.chars().take(1000).map(clean).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(name: &str) -> Command {
        Command { name: name.into(), old: None, new: None }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn plain_report() {
        let commands = [command("refs/heads/a"), command("refs/heads/b")];
        let report = Report::new(&commands, vec![Ok(()), Err("not\nnow".into())]);
        let capabilities = Capabilities { report_status: true, ..Capabilities::default() };
        insta::assert_snapshot!(text(&report.encode(capabilities)), @r"
        000eunpack ok
        0014ok refs/heads/a
        001cng refs/heads/b not now
        0000
        ");
        assert!(!report.succeeded());
    }

    #[test]
    fn a_failed_pack_refuses_every_ref() {
        let report = Report::unpack_failed(&[command("refs/heads/a")], "index-pack abnormal exit");
        let capabilities = Capabilities { report_status: true, side_band: true, ..Capabilities::default() };
        let bytes = report.encode(capabilities);
        assert!(text(&bytes).contains("unpack index-pack abnormal exit\n"));
        assert!(text(&bytes).contains("ng refs/heads/a unpacker error\n"));
        assert!(bytes.ends_with(b"00000000"));
    }

    #[test]
    fn nothing_for_a_client_that_does_not_ask() {
        let report = Report::new(&[command("refs/heads/a")], vec![Ok(())]);
        assert!(report.encode(Capabilities::default()).is_empty());
        assert!(report.succeeded());
    }
}
