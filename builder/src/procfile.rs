//! `Procfile`: one `NAME: COMMAND` a line, as Heroku reads it.

use crate::ProcessType;

/// Longest name of a process type.
const LONGEST_NAME: usize = 30;
const EXPECTED: &str = "expected NAME: COMMAND, for example web: gunicorn wsgi";

/// Reads a Procfile. Windows line ends, a byte-order mark, empty lines and lines that begin with `#` are fine.
pub fn parse(text: &[u8]) -> Result<Vec<ProcessType>, ProcfileError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut processes: Vec<ProcessType> = Vec::new();
    for (index, line) in text.split(|b| *b == b'\n').enumerate() {
        let fault = |reason: String| ProcfileError { line: index + 1, reason };
        let Some(process) = parse_line(line).map_err(fault)? else { continue };
        if processes.iter().any(|earlier| earlier.name == process.name) {
            return Err(fault(format!("{} is defined a second time; every process type has one line", process.name)));
        }
        processes.push(process);
    }
    Ok(processes)
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

/// Whether a process type may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn parse_line(line: &[u8]) -> Result<Option<ProcessType>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8 text".to_owned())?;
    if line.trim().is_empty() || line.trim_start().starts_with('#') {
        return Ok(None);
    }
    let (name, command) = line.split_once(':').ok_or_else(|| format!("there is no colon; {EXPECTED}"))?;
    if !is_name(name) {
        return Err(format!(
            "{name:?} cannot name a process type (1 to {LONGEST_NAME} letters, digits, - and _); {EXPECTED}"
        ));
    }
    let command = command.trim();
    if command.is_empty() {
        return Err(format!("{name} has no command; {EXPECTED}"));
    }
    if command.contains('\0') {
        return Err(format!("the command of {name} has a NUL byte; {EXPECTED}"));
    }
    Ok(Some(ProcessType { name: name.to_owned(), argv: by_shell(command), command: command.to_owned(), direct: false }))
}

/// How a line is run inside an instance.
fn by_shell(line: &str) -> Vec<String> {
    vec!["sh".into(), "-c".into(), line.into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        match parse(text.as_bytes()) {
            Ok(processes) => {
                let lines: Vec<_> = processes.iter().map(|p| format!("{} -> {:?}", p.name, p.argv)).collect();
                lines.join("\n")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn lines_as_heroku_reads_them() {
        insta::assert_snapshot!(
            shown("\u{feff}web: gunicorn -b :$PORT wsgi\r\n\r\n# a comment\n  # another\nmy_worker-2:python  work.py  # kept\t\n"),
            @r#"
        web -> ["sh", "-c", "gunicorn -b :$PORT wsgi"]
        my_worker-2 -> ["sh", "-c", "python  work.py  # kept"]
        "#
        );
        assert_eq!(shown(""), "");
    }

    #[test]
    fn nonsense() {
        insta::assert_snapshot!(shown("web: a\ngunicorn wsgi"), @"line 2: there is no colon; expected NAME: COMMAND, for example web: gunicorn wsgi");
        insta::assert_snapshot!(shown("my web: a"), @r#"line 1: "my web" cannot name a process type (1 to 30 letters, digits, - and _); expected NAME: COMMAND, for example web: gunicorn wsgi"#);
        insta::assert_snapshot!(shown("web:  \r"), @"line 1: web has no command; expected NAME: COMMAND, for example web: gunicorn wsgi");
        insta::assert_snapshot!(shown("web: a\n\nweb: b"), @"line 3: web is defined a second time; every process type has one line");
        insta::assert_snapshot!(shown(": a"), @r#"line 1: "" cannot name a process type (1 to 30 letters, digits, - and _); expected NAME: COMMAND, for example web: gunicorn wsgi"#);
        insta::assert_snapshot!(shown("web: a\0b"), @"line 1: the command of web has a NUL byte; expected NAME: COMMAND, for example web: gunicorn wsgi");
        assert_eq!(parse(b"web: \xff").unwrap_err().line, 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(processes) = parse(&text) {
                for process in processes {
                    prop_assert!(is_name(&process.name));
                    prop_assert!(!process.command.is_empty());
                }
            }
        }

        #[test]
        fn what_is_written_is_read(name in "[A-Za-z0-9_-]{1,30}", command in "[!-~]([ -~]{0,40}[!-~])?") {
            let read = parse(format!("{name}: {command}\r\n").as_bytes()).unwrap();
            prop_assert_eq!(&read[0].name, &name);
            prop_assert_eq!(&read[0].command, &command);
        }
    }
}
