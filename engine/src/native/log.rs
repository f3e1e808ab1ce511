//! Writes a program's output to a bounded log file, which several shims may share.
//!
//! Every line becomes `TIME TAG TEXT`. Writers take a lock on the file for the moment of a write, so that lines never mix
//! and only one of them renames the file when it is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};

use crate::LogFile;

/// A longer line is split: a program that never ends its line cannot fill the shim's memory.
const LONGEST_LINE: usize = 16 * 1024;
/// Lines are written together up to this size.
const BATCH: usize = 32 * 1024;

/// The end of a program's output.
pub(super) struct Log {
    path: PathBuf,
    tag: String,
    max_bytes: u64,
    file: File,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Lines not yet written.
    batch: Vec<u8>,
}

impl Log {
    /// Opens the file, making it if it is missing; its directory must exist.
    pub(super) fn open(log: &LogFile) -> io::Result<Self> {
        let file = append_to(&log.path)?;
        let (path, tag) = (log.path.clone(), log.tag.clone());
        Ok(Self { path, tag, max_bytes: log.max_bytes, file, line: Vec::new(), batch: Vec::new() })
    }

    /// Takes what the program has written. A full disk loses lines; it never stops the program.
    pub(super) fn take(&mut self, bytes: &[u8], now: SystemTime) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(text) => {
                    self.extend_line(text, now);
                    self.end_line(now);
                }
                None => self.extend_line(piece, now),
            }
        }
        self.write_batch();
    }

    fn extend_line(&mut self, mut text: &[u8], now: SystemTime) {
        while self.line.len() + text.len() > LONGEST_LINE {
            let (head, tail) = text.split_at(LONGEST_LINE - self.line.len());
            self.line.extend_from_slice(head);
            self.end_line(now);
            text = tail;
        }
        self.line.extend_from_slice(text);
    }

    /// Writes an unfinished last line.
    pub(super) fn finish(&mut self, now: SystemTime) {
        if !self.line.is_empty() {
            self.end_line(now);
        }
        self.write_batch();
    }

    fn end_line(&mut self, now: SystemTime) {
        let prefix = format!("{} {} ", timestamp(now), self.tag);
        let length = prefix.len() + self.line.len() + 1;
        let bound = usize::try_from(self.max_bytes).unwrap_or(usize::MAX).min(BATCH);
        if self.batch.len() + length > bound {
            self.write_batch();
        }
        self.batch.extend_from_slice(prefix.as_bytes());
        self.batch.append(&mut self.line);
        self.batch.push(b'\n');
    }

    fn write_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            let _ = self.write(&batch);
        }
        self.batch = batch;
        self.batch.clear();
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        loop {
            let locked = Flock::lock(self.file.try_clone()?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
            let size = locked.metadata()?.size();
            if !self.is_current()? {
                self.file = append_to(&self.path)?;
            } else if size > 0 && size + batch.len() as u64 > self.max_bytes {
                fs::rename(&self.path, self.rotated())?;
                self.file = append_to(&self.path)?;
            } else {
                let written = self.file.write_all(batch);
                if written.is_err() {
                    // The next line must not continue one that found no space.
                    self.file.set_len(size)?;
                }
                return written;
            }
        }
    }

    /// False once another writer has renamed the file.
    fn is_current(&self) -> io::Result<bool> {
        let own = self.file.metadata()?;
        Ok(fs::metadata(&self.path).is_ok_and(|there| there.ino() == own.ino() && there.dev() == own.dev()))
    }

    fn rotated(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        name.into()
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// RFC 3339 in UTC with milliseconds.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a number of days since 1970. In years that begin in March the leap day is the last.
/// See "chrono-Compatible Low-Level Date Algorithms" by Howard Hinnant.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_795_208_400_005)
    }

    fn log(dir: &tempfile::TempDir, max_bytes: u64) -> Log {
        Log::open(&LogFile { path: dir.path().join("log"), tag: "app[web.1]:".to_owned(), max_bytes }).unwrap()
    }

    fn read(dir: &tempfile::TempDir, name: &str) -> Vec<u8> {
        fs::read(dir.path().join(name)).unwrap_or_default()
    }

    #[test]
    fn times() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn lines_are_dated_and_tagged() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(&dir, 1 << 20);
        log.take(b"one\ntw", at());
        log.take(b"o\n\xff\xfe\n\nlast", at());
        log.finish(at());
        let prefix = "2026-11-20T21:00:00.005Z app[web.1]: ";
        let mut expected = format!("{prefix}one\n{prefix}two\n{prefix}").into_bytes();
        expected.extend_from_slice(b"\xff\xfe\n");
        expected.extend_from_slice(format!("{prefix}\n{prefix}last\n").as_bytes());
        assert_eq!(read(&dir, "log"), expected);
    }

    #[test]
    fn a_full_file_is_rotated_and_both_stay_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (log(&dir, 2000), log(&dir, 2000));
        for number in 0..1000 {
            let writer = if number % 2 == 0 { &mut first } else { &mut second };
            writer.take(format!("line {number:04}\n").as_bytes(), at());
        }
        let both = [read(&dir, "log.1"), read(&dir, "log")];
        assert!(both.iter().all(|file| file.len() <= 2000), "{:?}", both.each_ref().map(Vec::len));
        let text = String::from_utf8(both.concat()).unwrap();
        let numbers: Vec<usize> = text.lines().map(|line| line[line.len() - 4..].parse().unwrap()).collect();
        let expected: Vec<usize> = (1000 - numbers.len()..1000).collect();
        assert_eq!(numbers, expected);
    }

    proptest! {
        /// Whatever the pieces, the text of the lines comes out unchanged, in lines of bounded length.
        #[test]
        fn nothing_is_lost(pieces in prop::collection::vec((0..40_000_usize, any::<bool>()), 0..6)) {
            let dir = tempfile::tempdir().unwrap();
            let mut log = log(&dir, u64::MAX);
            let mut expected = Vec::new();
            for (length, ends) in pieces {
                let mut piece = vec![b'x'; length];
                if ends { piece.push(b'\n'); }
                expected.extend(std::iter::repeat_n(b'x', length));
                log.take(&piece, at());
            }
            log.finish(at());
            let prefix = "2026-11-20T21:00:00.005Z app[web.1]: ".len();
            let written = read(&dir, "log");
            let lines: Vec<&[u8]> = written.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
            prop_assert!(lines.iter().all(|line| line.len() <= prefix + LONGEST_LINE));
            let text: Vec<u8> = lines.iter().flat_map(|line| line[prefix..].iter().copied()).collect();
            prop_assert_eq!(text, expected);
        }
    }
}
