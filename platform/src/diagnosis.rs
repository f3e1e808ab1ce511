//! Why an instance did not start, in words: what was seen, and the likely cause.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use engine::{EngineError, Exit};

use crate::failure::Failure;
use crate::instance::PORT;
use crate::limits::more_memory;
use crate::names::{AppName, Process};

/// An instance did not become healthy.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// The release has no process of this type.
    #[error("the release has no such process type")]
    NoSuchProcess,
    /// Its program ended.
    #[error("{0}")]
    Exited(Exit),
    /// It runs, but does not answer on its port.
    #[error("not healthy after {} s", limit.as_secs())]
    Unhealthy {
        /// How long it was waited for.
        limit: Duration,
        /// Where it listens instead.
        listening: Vec<SocketAddr>,
        /// What the last health check saw.
        last: Option<String>,
    },
    /// Whoever wanted it went away.
    #[error("cancelled")]
    Cancelled,
    /// The engine could not start it.
    #[error("{0}")]
    Engine(String),
}

impl From<EngineError> for StartFailure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<std::io::Error> for StartFailure {
    fn from(error: std::io::Error) -> Self {
        Self::Engine(error.to_string())
    }
}

/// A failed start, with what the instance printed last.
#[derive(Debug, thiserror::Error)]
#[error("{process}: {cause}")]
pub struct FailedStart {
    /// Of which app.
    pub app: AppName,
    /// Which.
    pub process: Process,
    /// Why.
    pub cause: StartFailure,
    /// Its last lines, oldest first.
    pub tail: Vec<String>,
}

/// How many of an instance's last lines are shown.
const LAST_LINES: usize = 20;

/// How much of the end of a log is searched for them.
const LAST_BYTES: u64 = 64 << 10;

/// The last lines in a log that have this tag.
pub fn last_words(log: &Path, tag: &str) -> Vec<String> {
    let text = read_end(log).unwrap_or_default();
    let words = text.lines().filter_map(|line| {
        let (_time, rest) = line.split_once(' ')?;
        let (found, text) = rest.split_once(' ').unwrap_or((rest, ""));
        (found == tag).then(|| text.to_owned())
    });
    let words: Vec<String> = words.collect();
    words[words.len().saturating_sub(LAST_LINES)..].to_vec()
}

fn read_end(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How a process really ended: a line of a Procfile runs under `sh`, which tells of a signal N by the status 128 + N.
pub fn behind_shell(exit: Exit) -> Exit {
    match exit {
        Exit::Status(status @ 129..=192) => Exit::Signal(status - 128),
        other => other,
    }
}

/// Says it to a user.
pub fn explain(failed: &FailedStart) -> Failure {
    let (process, tail) = (&failed.process, &failed.tail);
    match &failed.cause {
        StartFailure::NoSuchProcess => {
            Failure::new(format!("there is no process type {}", process.kind), "declare it in the Procfile and push")
        }
        StartFailure::Exited(exit) => {
            let starved = remedy_for_memory(*exit, &failed.app, process.kind.as_str());
            let remedy = starved.unwrap_or_else(|| cause(*exit, tail));
            Failure::new(format!("{process} {exit} before it answered"), remedy)
        }
        StartFailure::Unhealthy { limit, listening, last } => {
            let message = format!("{process} did not answer on $PORT ({PORT}) within {} s", limit.as_secs());
            Failure::new(message, unhealthy_remedy(listening, last.as_deref()))
        }
        StartFailure::Cancelled => Failure::plain("cancelled"),
        StartFailure::Engine(reason) => Failure::plain(format!("{process} could not be started: {reason}")),
    }
}

/// What to do about a process that was ended for want of memory.
pub fn remedy_for_memory(exit: Exit, app: &AppName, process: &str) -> Option<String> {
    let Exit::OutOfMemory(limit) = exit else { return None };
    Some(more_memory(app, process, limit))
}

fn unhealthy_remedy(listening: &[SocketAddr], last: Option<&str>) -> String {
    if listening.iter().any(|address| address.port() == PORT) {
        let last = last.unwrap_or("no answer");
        return format!(
            "it listens, but the health check failed ({last}): see `healthchecks` in app.json, `protocol` in `help http:set`, and the app's log"
        );
    }
    match listening.first() {
        Some(address) => format!("it listens on {address}, not on $PORT: make it listen on the port in the environment variable PORT"),
        None => "it listens on no port: make it listen on the port in the environment variable PORT, or give it longer with `checks:set APP timeout=SECONDS`".into(),
    }
}

/// The likely cause of a program's end, from its status and its last words.
fn cause(exit: Exit, tail: &[String]) -> String {
    let find = |needle: &str| tail.iter().rev().find(|line| line.contains(needle)).map(|line| line.trim());
    if let Some(line) = find("ModuleNotFoundError") {
        return format!("{line}: add its package to requirements.txt");
    }
    if let Some(line) = find("SyntaxError").or_else(|| find("IndentationError")) {
        return format!("{line}: the lines above say where");
    }
    if let Some(line) = find("Address already in use") {
        return format!("{line}: listen on the port in the environment variable PORT, and only once");
    }
    if let Some(line) = find("ImportError") {
        return format!("{line}: the lines above say where");
    }
    match exit {
        Exit::Status(126) => {
            "its command cannot be executed: is it marked executable (git update-index --chmod=+x FILE)?".into()
        }
        Exit::Status(127) => "its command was not found: is the package that brings it in requirements.txt?".into(),
        Exit::Status(0) => "a web process must keep running: does its command put itself into the background?".into(),
        Exit::Signal(9) => "something killed it, most likely for lack of memory".into(),
        Exit::Signal(11) => "it crashed in native code: a package built for another system?".into(),
        _ => "what it printed stands above; `logs` has all of it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes() {
        let tail = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let cases = [
            (
                Exit::Status(1),
                "Traceback\nModuleNotFoundError: No module named 'flask'",
                "add its package to requirements.txt",
            ),
            (Exit::Status(1), "  File \"app.py\", line 3\nSyntaxError: invalid syntax", "SyntaxError: invalid syntax"),
            (Exit::Status(3), "worker failed\nImportError: cannot import name 'app'", "cannot import name"),
            (Exit::Status(127), "sh: 1: gunicornn: not found", "not found"),
            (Exit::Signal(9), "", "memory"),
            (Exit::Status(0), "", "background"),
        ];
        for (exit, printed, expected) in cases {
            let said = cause(exit, &tail(printed));
            assert!(said.contains(expected), "{exit}: {said}");
        }
    }

    #[test]
    fn only_the_instances_own_last_lines_are_shown() {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), "T v1:web.1:aa old\nT v2:web.1:bb new line\nT v2:web.1:bb\nnonsense\n").unwrap();
        assert_eq!(last_words(log.path(), "v2:web.1:bb"), ["new line", ""]);
        assert!(last_words(Path::new("/nonexistent"), "x").is_empty());
    }

    #[test]
    fn a_signal_is_seen_through_the_shell() {
        for (exit, seen) in [
            (137, Exit::Signal(9)),
            (143, Exit::Signal(15)),
            (3, Exit::Status(3)),
            (128, Exit::Status(128)),
            (255, Exit::Status(255)),
        ] {
            assert_eq!(behind_shell(Exit::Status(exit)), seen);
        }
    }

    #[test]
    fn want_of_memory_is_told_with_the_figure_and_the_remedy() {
        let (app, process) = ("blog".parse().unwrap(), "web.1".parse().unwrap());
        let cause = StartFailure::Exited(behind_shell(Exit::OutOfMemory(64 << 20)));
        let tail = vec!["ModuleNotFoundError: in an optional part".to_owned()];
        let said = explain(&FailedStart { app, process, cause, tail });
        assert_eq!(said.message, "web.1 ran out of memory (limit 64 MiB) before it answered");
        assert_eq!(said.remedy.unwrap(), "if it really needs more: `resource:limit blog web memory=128M`");
    }

    #[test]
    fn another_port_is_named() {
        let process: Process = "web.1".parse().unwrap();
        let listening = vec!["127.0.0.1:8000".parse().unwrap()];
        let failure = StartFailure::Unhealthy { limit: Duration::from_secs(60), listening, last: None };
        let app = "blog".parse().unwrap();
        let said = explain(&FailedStart { app, process, cause: failure, tail: Vec::new() });
        assert!(said.message.contains("5000") && said.message.contains("60 s"));
        assert!(said.remedy.unwrap().contains("127.0.0.1:8000"));
    }
}
