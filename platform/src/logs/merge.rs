//! The files of an app's log as one stream of lines, by time.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use gitd::Output;

use super::Query;
use super::line::{Line, ROUTER};
use super::tail::{Backwards, FileId, Tail};
use crate::names::Process;

const BLOCK: u64 = 64 * 1024;
/// Text is passed on in pieces of about this size.
const PIECE: usize = 16 * 1024;

/// The files that a query asks for, each read up to somewhere.
#[derive(Debug)]
pub(super) struct Merge {
    directory: PathBuf,
    query: Query,
    tails: Vec<Tail>,
}

impl Merge {
    /// Opens the files so that the newest lines asked for come next. Reads as far back as it must: not for asynchronous code.
    pub(super) fn newest(directory: PathBuf, query: Query) -> io::Result<Self> {
        let mut merge = Self { directory, query, tails: Vec::new() };
        merge.add_new_files()?;
        let starts = starts(&merge.tails, &merge.query)?;
        for (tail, start) in merge.tails.iter_mut().zip(starts) {
            tail.go_to(start)?;
        }
        Ok(merge)
    }

    /// Takes up files that have appeared, from their beginning.
    pub(super) fn add_new_files(&mut self) -> io::Result<()> {
        for path in files(&self.directory, &self.query)? {
            match Tail::open(&path) {
                Ok(tail) if self.tails.iter().all(|known| known.id != tail.id) => self.tails.push(tail),
                Ok(_) => {}
                // Rotated away between being listed and being opened: it is known, or listed under its new name next time.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Closes files that are gone from the directory (as long as one is open, the kernel does not tell that the directory
    /// is gone). False if it is not there any more: the app was removed, or has another name.
    pub(super) fn forget_old_files(&mut self) -> io::Result<bool> {
        let present: Vec<FileId> =
            files(&self.directory, &self.query)?.iter().filter_map(|path| FileId::of(path).ok()).collect();
        self.tails.retain(|tail| present.contains(&tail.id));
        Ok(self.directory.is_dir())
    }

    /// Passes on every line there is, oldest first, until the output is cancelled.
    pub(super) async fn pass_on(&mut self, output: &Output) -> io::Result<()> {
        let mut more = true;
        while more && !output.cancelled().is_cancelled() {
            let (piece, rest) = self.piece()?;
            more = rest;
            if !piece.is_empty() {
                output.write(piece.as_bytes()).await;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Some of the next lines, and whether there may be more.
    fn piece(&mut self) -> io::Result<(String, bool)> {
        let mut text = String::new();
        for _ in 0..1000 {
            let Some(line) = self.next_line()? else { return Ok((text, false)) };
            if self.query.wants(&line) {
                line.show(self.query.colours, &mut text);
            }
            if text.len() >= PIECE {
                break;
            }
        }
        Ok((text, true))
    }

    fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut oldest: Option<(&str, usize)> = None;
        for (index, tail) in self.tails.iter_mut().enumerate() {
            if let Some(line) = tail.peek()? {
                oldest = Some(oldest.filter(|(time, _)| *time <= line.time.as_str()).unwrap_or((&line.time, index)));
            }
        }
        let index = oldest.map(|(_, index)| index);
        Ok(index.and_then(|index| self.tails.get_mut(index)?.take()))
    }
}

impl Query {
    fn wants(&self, line: &Line) -> bool {
        self.which.as_ref().is_none_or(|which| which.matches(&line.process))
            && self.release.is_none_or(|release| release == line.version)
    }
}

/// Where in each file the newest lines begin, as many as are asked for in all.
fn starts(tails: &[Tail], query: &Query) -> io::Result<Vec<u64>> {
    let mut cursors = tails.iter().map(|tail| Cursor::new(tail, query)).collect::<io::Result<Vec<_>>>()?;
    for _ in 0..query.lines {
        let waiting = cursors.iter_mut().filter(|cursor| cursor.next.is_some());
        let newest = waiting.max_by(|a, b| a.time().cmp(&b.time()));
        let Some(newest) = newest else { break };
        newest.advance(query)?;
    }
    Ok(cursors.into_iter().map(|cursor| cursor.start).collect())
}

/// A file read backwards: the lines from `start` on have been counted, `next` has not.
struct Cursor<'a> {
    lines: Backwards<'a>,
    start: u64,
    next: Option<Line>,
}

impl<'a> Cursor<'a> {
    fn new(tail: &'a Tail, query: &Query) -> io::Result<Self> {
        let lines = tail.backwards(BLOCK)?;
        let mut cursor = Self { start: lines.position(), lines, next: None };
        cursor.find_next(query)?;
        Ok(cursor)
    }

    fn time(&self) -> Option<&str> {
        self.next.as_ref().map(|line| line.time.as_str())
    }

    fn advance(&mut self, query: &Query) -> io::Result<()> {
        self.start = self.lines.position();
        self.find_next(query)
    }

    fn find_next(&mut self, query: &Query) -> io::Result<()> {
        self.next = self.lines.previous()?;
        while self.next.as_ref().is_some_and(|line| !query.wants(line)) {
            self.next = self.lines.previous()?;
        }
        Ok(())
    }
}

/// The files that may hold lines a query asks for.
fn files(directory: &Path, query: &Query) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| may_hold(name, query)) {
            paths.push(entry.path());
        }
    }
    // The rotated file before its successor: of lines at the same millisecond the older comes first.
    paths.sort_by(|a, b| b.cmp(a));
    Ok(paths)
}

fn may_hold(file: &str, query: &Query) -> bool {
    let Some(name) = file.strip_suffix(".1").unwrap_or(file).strip_suffix(".log") else { return false };
    // The access log is not of a place, but its lines name one, by which it can be asked for.
    let process = if name == ROUTER { format!("{ROUTER}.1").parse() } else { name.parse::<Process>() };
    let wanted = |process| query.which.as_ref().is_none_or(|which| which.matches(&process));
    name == "platform" || process.is_ok_and(wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is in the files: the newest lines that fit, in order of time.
        #[test]
        fn as_if_everything_were_sorted(
            lines in prop::collection::vec((0..4_u32, 1..3_u32, "[a-z]{0,40}"), 0..60),
            count in 0..70_usize,
            release in prop::option::of(1..3_u32),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let kept = |at: usize, version: u32, text: &str| {
                format!("2026-11-20T21:{:02}:{:02}.000Z v{version}:web.1:x {text}\n", at / 60, at % 60)
            };
            for (number, name) in (0..).zip(["web.1.log.1", "web.1.log", "worker.2.log", "platform.log"]) {
                let own = lines.iter().enumerate().filter(|(_, (file, ..))| *file == number);
                let content: String = own.map(|(at, (_, version, text))| kept(at, *version, text)).collect();
                std::fs::write(directory.path().join(name), content).unwrap();
            }
            let release = release.map(crate::names::Version);
            let fitting = lines.iter().filter(|(_, version, _)| release.is_none_or(|release| release.0 == *version));
            let texts: Vec<&str> = fitting.map(|(_, _, text)| text.as_str()).collect();
            let query = Query { lines: count, which: None, release, follow: false, colours: false };
            let mut merge = Merge::newest(directory.path().to_owned(), query).unwrap();
            let shown = merge.piece().unwrap().0;
            let shown: Vec<&str> = shown.lines().map(|line| line.split_once(": ").unwrap().1).collect();
            prop_assert_eq!(&shown[..], &texts[texts.len().saturating_sub(count)..]);
        }
    }
}
