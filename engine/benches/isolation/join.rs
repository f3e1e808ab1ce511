//! `true` in a running instance, to its end: the engine's part of `ssh APP true`.

use std::process::{Command, Stdio};
use std::time::Instant;

use engine::Engine;

use crate::measured::{Measured, Target};
use crate::sandboxes::{Sandboxes, command};
use crate::times::Times;

const ROUNDS: usize = 50;

/// Programs inside and outside take turns.
pub(crate) async fn measure(sandboxes: &Sandboxes) -> Measured {
    let id = sandboxes.launch("join", &["sleep", "1000"]).await;
    let joining = command(&["true"]);
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let process = sandboxes.engine.exec(&id, &joining, None).await.unwrap();
        process.control.wait().await.unwrap();
        inside.push(begin.elapsed());
        let begin = Instant::now();
        Command::new("true").stdin(Stdio::null()).status().unwrap();
        outside.push(begin.elapsed());
    }
    sandboxes.end(&id).await;
    let (inside, outside) = (Times::milliseconds(&inside), Times::milliseconds(&outside));
    println!("true in a running instance: {inside}\ntrue without a sandbox: {outside}");
    Measured {
        what: "`true` in a running instance, to its end",
        figure: inside.median(),
        unit: "ms",
        peer: Some(("without a sandbox", outside.median())),
        target: Target::None,
    }
}
