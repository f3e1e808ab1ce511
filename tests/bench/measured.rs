//! A figure beside its peer and its target.

use std::fmt;

/// One line of the table.
pub struct Measured {
    pub what: &'static str,
    pub figure: f64,
    pub unit: &'static str,
    /// The same without the platform, measured in the same run.
    pub peer: Option<(&'static str, f64)>,
    pub target: Target,
}

/// What a figure ought to be.
#[derive(Clone, Copy)]
pub enum Target {
    /// At most so much more than the peer.
    Beyond(f64),
    /// At most so many times the peer.
    Times(f64),
    /// At most this.
    AtMost(f64),
}

/// All of them, as Markdown.
pub fn table(measured: &[Measured]) -> String {
    let head = "| measured | airstrip | peer | ratio | target | met |\n|---|---|---|---|---|---|\n";
    measured.iter().fold(head.to_owned(), |table, one| format!("{table}{one}\n"))
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, figure, unit, .. } = self;
        let (peer, ratio) = match self.peer {
            Some((name, peer)) => (
                format!("{name}: {} {unit}", digits(peer)),
                format!("{:.2} ({:+.0} {unit})", figure / peer, figure - peer),
            ),
            None => ("—".to_owned(), "—".to_owned()),
        };
        let met = if self.is_met() { "yes" } else { "**no**" };
        write!(f, "| {what} | {} {unit} | {peer} | {ratio} | {} | {met} |", digits(*figure), self.wanted())
    }
}

impl Measured {
    fn is_met(&self) -> bool {
        let peer = self.peer.map_or(0.0, |(_, peer)| peer);
        match self.target {
            Target::Beyond(more) => self.figure <= peer + more,
            Target::Times(times) => self.figure <= peer * times,
            Target::AtMost(limit) => self.figure <= limit,
        }
    }

    fn wanted(&self) -> String {
        match self.target {
            Target::Beyond(more) => format!("peer + {more} {}", self.unit),
            Target::Times(times) => format!("{times} times the peer"),
            Target::AtMost(limit) => format!("{limit} {}", self.unit),
        }
    }
}

/// As many as mean something.
fn digits(figure: f64) -> String {
    let decimals = match figure {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{figure:.decimals$}")
}
