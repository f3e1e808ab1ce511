//! What users read when a build fails: a title, the cause, what to do, and below that a tool's own last words.

/// Words for a failure.
pub(crate) struct Message {
    pub(crate) title: String,
    pub(crate) cause: String,
    pub(crate) remedies: Vec<String>,
    pub(crate) log: Vec<String>,
}

/// A message without a tool's words.
pub(crate) fn message(title: impl Into<String>, cause: impl Into<String>, remedies: &[&str]) -> Message {
    let remedies = remedies.iter().map(|&remedy| remedy.to_owned()).collect();
    Message { title: title.into(), cause: cause.into(), remedies, log: Vec::new() }
}

/// Any tool may meet it.
pub(crate) fn disk_full() -> Message {
    message(
        "No space left",
        "The disk, or the space that a build may use, is full.",
        &["Ask for fewer or smaller packages.", "Free space on the server, or allow builds more of it."],
    )
}

/// Whether a tool's words contain one of these.
pub(crate) fn has(text: &str, any: &[&str]) -> bool {
    any.iter().any(|part| text.contains(part))
}

/// What stands between two texts.
pub(crate) fn between<'a>(text: &'a str, before: &str, after: &[char]) -> Option<&'a str> {
    let rest = text.split_once(before)?.1;
    Some(rest.split(after).next().unwrap_or(rest).trim_matches(['`', '"', '\'', ',', '.', ':']))
}

impl Message {
    /// At most this much of what the tool said is shown: the end explains, the rest scrolls the explanation away.
    const LOG: usize = 20;

    /// The lines to print.
    pub(crate) fn lines(self) -> Vec<String> {
        let mut lines = vec![format!("Error: {}", self.title), String::new()];
        lines.extend(self.cause.lines().map(str::to_owned));
        if let [remedy] = &self.remedies[..] {
            lines.extend([String::new(), remedy.clone()]);
        } else if !self.remedies.is_empty() {
            lines.extend([String::new(), "What to do, one of:".to_owned()]);
            lines.extend(self.remedies.iter().enumerate().map(|(at, remedy)| format!("{}. {remedy}", at + 1)));
        }
        if !self.log.is_empty() {
            let skipped = self.log.len().saturating_sub(Self::LOG);
            lines.extend([String::new(), "The tool's own words:".to_owned()]);
            lines.extend(self.log.into_iter().skip(skipped).map(|line| format!("  {line}")));
        }
        lines
    }
}
