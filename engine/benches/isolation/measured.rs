//! A figure beside its peer and its target.

use std::fmt;

/// One line of the table.
pub(crate) struct Measured {
    pub(crate) what: &'static str,
    pub(crate) figure: f64,
    pub(crate) unit: &'static str,
    /// The same without a sandbox, or by another's, measured in the same run.
    pub(crate) peer: Option<(&'static str, f64)>,
    pub(crate) target: Target,
}

/// What a figure ought to be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// At most so many times the peer, and so much more.
    Beyond { times: f64, more: f64 },
    /// At most so many times the peer.
    AtMostTimes(f64),
    /// At least so many times the peer.
    AtLeastTimes(f64),
    /// At most this.
    AtMost(f64),
    /// For comparison alone.
    None,
}

/// All of them, as Markdown.
pub(crate) fn table(measured: &[Measured]) -> String {
    let head = "| measured | airstrip | peer | ratio | target | met |\n|---|---|---|---|---|---|\n";
    measured.iter().fold(head.to_owned(), |table, one| format!("{table}{one}\n"))
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, figure, unit, .. } = self;
        let (peer, ratio) = match self.peer {
            Some((name, peer)) => (format!("{name}: {} {unit}", digits(peer)), format!("{:.2}", figure / peer)),
            None => ("—".to_owned(), "—".to_owned()),
        };
        let met = match self.is_met() {
            None => "—",
            Some(true) => "yes",
            Some(false) => "**no**",
        };
        write!(f, "| {what} | {} {unit} | {peer} | {ratio} | {} | {met} |", digits(*figure), self.wanted())
    }
}

impl Measured {
    fn is_met(&self) -> Option<bool> {
        let peer = self.peer.map_or(0.0, |(_, peer)| peer);
        match self.target {
            Target::Beyond { times, more } => Some(self.figure <= peer * times + more),
            Target::AtMostTimes(times) => Some(self.figure <= peer * times),
            Target::AtLeastTimes(times) => Some(self.figure >= peer * times),
            Target::AtMost(limit) => Some(self.figure <= limit),
            Target::None => None,
        }
    }

    fn wanted(&self) -> String {
        match self.target {
            Target::Beyond { times, more } => format!("{times} times the peer + {more} {}", self.unit),
            Target::AtMostTimes(times) => format!("at most {times} times the peer"),
            Target::AtLeastTimes(times) => format!("at least {times} times the peer"),
            Target::AtMost(limit) => format!("{limit} {}", self.unit),
            Target::None => "—".to_owned(),
        }
    }
}

/// As many as mean something.
pub(crate) fn digits(figure: f64) -> String {
    let decimals = match figure {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{figure:.decimals$}")
}
