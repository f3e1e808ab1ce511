//! `Procfile`: one `NAME: COMMAND` a line, as Heroku reads it.

use crate::ProcessType;

/// Reads a Procfile. Windows line ends, a byte-order mark, empty lines and lines that begin with `#` are fine.
pub fn parse(_text: &[u8]) -> Result<Vec<ProcessType>, ProcfileError> {
    todo!()
}

/// A line that is not `NAME: COMMAND`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ProcfileError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what is expected.
    pub reason: String,
}
