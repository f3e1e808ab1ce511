//! A one-line change of a Flask app, pushed: from `git push` to the new version's answer.

use std::time::{Duration, Instant};

use crate::by_hand::ByHand;
use crate::harness::{App, PATIENCE, Server, wait_until};
use crate::measured::{Measured, Target};
use crate::request::get;
use crate::times::{Times, timed};
use crate::tools::{Python, Uv};

const ROUNDS: usize = 10;

/// `examples/hello`, deployed.
pub struct Hello<'s> {
    server: &'s Server,
    app: App<'s>,
    source: String,
    /// Processes of the server when nothing is under way.
    settled: usize,
}

impl<'s> Hello<'s> {
    pub fn deploy(server: &'s Server) -> Self {
        let app = App::copy_of(server.client(), "hello", "examples/hello");
        push(server, &app, "hello", "Hello from");
        let source = std::fs::read_to_string(app.directory.join("app.py")).unwrap();
        Self { server, app, source, settled: server.processes().len() }
    }

    /// Pushes and starts by hand take turns.
    pub fn measure(&self, python: &Python, uv: &Uv) -> Measured {
        let by_hand = ByHand::install(python, uv, self.concurrency());
        let (mut pushes, mut receipts, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let (took, receipt) = self.change(round);
            pushes.push(took);
            receipts.push(receipt);
            starts.push(by_hand.start());
        }
        let (pushes, starts) = (Times::new(pushes), Times::new(starts));
        println!("push of a one-line change: {pushes}\n  {}\nthe app's own start: {starts}", phases(&receipts));
        Measured {
            what: "push of a one-line change, until the new version answers",
            figure: pushes.median(),
            unit: "ms",
            peer: Some(("the app's own start", starts.median())),
            target: Target::Beyond(200.0),
        }
    }

    /// What the platform tells the app.
    fn concurrency(&self) -> String {
        self.server.client().airstrip("run hello printenv WEB_CONCURRENCY").ok().line()
    }

    /// Another line, committed and pushed; what ends afterwards is waited for, so that it slows nothing else down.
    fn change(&self, round: usize) -> (Duration, Receipt) {
        let greeting = format!("Hello {round} from");
        self.app.write("app.py", self.source.replace("Hello from", &greeting));
        self.app.commit("Change the greeting");
        let pushed = push(self.server, &self.app, "hello", &greeting);
        wait_until("the old version ends", PATIENCE, || self.server.processes().len() == self.settled);
        pushed
    }
}

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
