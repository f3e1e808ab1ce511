//! A one-line change of a Flask app, pushed: from `git push` to the new version's answer.

use std::time::Duration;

use crate::by_hand::ByHand;
use crate::harness::{App, PATIENCE, Server, wait_until};
use crate::measured::{Measured, Target};
use crate::receipt::{Receipt, phases, push};
use crate::times::Times;
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
