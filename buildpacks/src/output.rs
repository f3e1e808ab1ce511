//! What a build prints, in the form that Heroku's users know.

use std::io::{self, Write};

/// `-----> Doing this`
pub(crate) fn step(text: &str) {
    line("-----> ", text);
}

/// Seven spaces and a detail of the step above.
pub(crate) fn detail(text: &str) {
    line("       ", text);
}

/// ` !     ` and what went wrong, a line each.
pub(crate) fn error(lines: &[impl AsRef<str>]) {
    for text in lines {
        line(" !     ", text.as_ref());
    }
}

/// Nobody to tell is no reason to fail a build. One write per line, so that lines of several writers stay whole.
fn line(prefix: &str, text: &str) {
    let text = format!("{prefix}{text}");
    let _ = io::stdout().write_all(format!("{}\n", text.trim_end()).as_bytes()).and_then(|()| io::stdout().flush());
}
