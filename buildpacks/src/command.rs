//! Runs an installer and hands on what it prints, line by line.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How it ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It was stopped when its time was over.
    TimedOut,
}

/// Its time is over if the line that ends it has not come by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// How long.
    pub(crate) time: Duration,
    /// The start of the line after which it may take as long as it likes. None: the limit is for all of it.
    pub(crate) until: Option<&'static str>,
}

/// Runs `command` with both its outputs going to `on_line`.
pub(crate) fn run(command: &mut Command, limit: Option<Limit>, on_line: &mut dyn FnMut(&str)) -> io::Result<End> {
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.spawn()?;
    // The command holds the writing end too; the reader must see the end when the child's is closed.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, lines) = sync_channel(64);
    let reading = thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    let in_time = follow(&lines, limit, on_line);
    if !in_time {
        stop(&mut child)?;
    }
    drop(lines);
    let status = child.wait()?;
    // It ends with the pipe, whose last writers are gone or were killed.
    let _ = reading.join();
    Ok(if in_time { End::Exited(status) } else { End::TimedOut })
}

/// Hands on lines up to the end of the output; false if the limit was passed before.
fn follow(lines: &Receiver<String>, limit: Option<Limit>, on_line: &mut dyn FnMut(&str)) -> bool {
    let mut limit = limit.map(|limit| (Instant::now() + limit.time, limit.until));
    loop {
        let next = match limit {
            Some((end, _)) => lines.recv_timeout(end.saturating_duration_since(Instant::now())),
            None => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(line) => {
                if limit.is_some_and(|(_, until)| until.is_some_and(|start| line.starts_with(start))) {
                    limit = None;
                }
                on_line(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// Kills it and what it started.
fn stop(child: &mut Child) -> io::Result<()> {
    match i32::try_from(child.id()) {
        Ok(id) => match killpg(Pid::from_raw(id), Signal::SIGKILL) {
            // It ended in the meantime.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        },
        Err(_) => child.kill(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Option<Limit>) -> (End, Vec<String>) {
        let mut lines = Vec::new();
        let end = run(Command::new("sh").args(["-c", script]), limit, &mut |line| lines.push(line.to_owned())).unwrap();
        (end, lines)
    }

    #[test]
    fn both_outputs_come_in_order() {
        let (end, lines) = shell("echo a; echo b >&2; printf c; exit 3", None);
        assert!(matches!(end, End::Exited(status) if status.code() == Some(3)));
        assert_eq!(lines, ["a", "b", "c"]);
    }

    #[test]
    fn a_limit_stops_it_and_its_children() {
        let limit = Limit { time: Duration::from_millis(50), until: None };
        let start = Instant::now();
        let (end, _) = shell("sleep 60 & sleep 60", Some(limit));
        assert!(matches!(end, End::TimedOut));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_limit_can_end_with_a_line() {
        let limit = Limit { time: Duration::from_millis(500), until: Some("Resolved") };
        let (end, lines) = shell("echo Resolved 3; sleep 1; echo done", Some(limit));
        assert!(matches!(end, End::Exited(status) if status.success()));
        assert_eq!(lines, ["Resolved 3", "done"]);
    }
}
