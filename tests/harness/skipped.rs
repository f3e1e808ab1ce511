//! Stories that this machine cannot tell.

use std::io::Write;

/// Says so, past the capture of a passing story's output.
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    let _unsaid = writeln!(std::io::stderr(), "skipped: {}: {reason}", thread.name().unwrap_or("a story"));
}
