//! Waiting for an event, with a limit.

use std::time::{Duration, Instant};

/// How long an event may take that should take no time: generous, because machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition that sends no event is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// Asks until there is an answer; a story that waits in vain fails with `what`.
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < limit, "waited {} s in vain: {what}", limit.as_secs());
        std::thread::sleep(GLANCE);
    }
}

/// Asks until it is so.
pub fn wait_until(what: &str, limit: Duration, mut ask: impl FnMut() -> bool) {
    eventually(what, limit, || ask().then_some(()));
}
