//! A push, and what it says of its phases.

use std::time::{Duration, Instant};

use crate::harness::{App, Server};
use crate::request::get;
use crate::times::{Times, timed};

/// From the start of `git push` until its end and the first answer of the new version, which contains `text`.
pub fn push(server: &Server, app: &App<'_>, name: &str, text: &str) -> (Duration, Receipt) {
    let mut git = server.client().git_command(&app.directory, &["push", "airstrip", "main"]);
    let begin = Instant::now();
    let (_, output) = timed(&mut git);
    let page = get(server.http.0, &format!("{name}.localhost")).unwrap();
    let took = begin.elapsed();
    assert!(page.contains(text), "no {text:?} in {page}");
    (took, receipt(&String::from_utf8_lossy(&output.stderr)))
}

/// The phases of a push and their seconds, in order.
pub type Receipt = Vec<(String, f64)>;

/// Of `=====> hello v2 is live in 0.31s (receive 0.01  build 0.02 …)`.
fn receipt(said: &str) -> Receipt {
    let line = said.lines().find(|line| line.contains(" is live in ")).unwrap_or_else(|| panic!("no receipt: {said}"));
    let phases = line.split_once('(').unwrap().1.trim_end().trim_end_matches(')');
    let words: Vec<&str> = phases.split_whitespace().collect();
    words.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].parse().unwrap())).collect()
}

/// The median of each phase.
pub fn phases(receipts: &[Receipt]) -> String {
    let of = |phase: usize| {
        let times = receipts.iter().map(|receipt| Duration::from_secs_f64(receipt[phase].1));
        format!("{} {:.0}", receipts[0][phase].0, Times::new(times.collect()).median())
    };
    let phases: Vec<String> = (0..receipts[0].len()).map(of).collect();
    format!("by the receipt, in ms: {}", phases.join("  "))
}

/// One phase of a push.
pub fn phase(receipt: &Receipt, name: &str) -> Duration {
    let (_, seconds) = receipt.iter().find(|(phase, _)| phase == name).unwrap();
    Duration::from_secs_f64(*seconds)
}
