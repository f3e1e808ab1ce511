//! One file of a log, read from anywhere to its end, again and again as it grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::line::Line;

/// What is shown of a longer line; the rest is skipped.
const LONGEST: usize = 64 * 1024;
/// Time and tag are shorter than this.
const HEAD: u64 = 256;

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        path.metadata().map(|metadata| Self::new(&metadata))
    }

    fn new(metadata: &std::fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// An open file and how far it has been read.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) id: FileId,
    reader: BufReader<File>,
    begun: Vec<u8>,
    next: Option<Line>,
}

impl Tail {
    /// Opens a file at its beginning.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let id = FileId::new(&file.metadata()?);
        Ok(Self { id, reader: BufReader::new(file), begun: Vec::new(), next: None })
    }

    /// Goes on reading from here.
    pub(super) fn go_to(&mut self, offset: u64) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(offset)).map(drop)
    }

    /// Its lines from the end to the beginning.
    pub(super) fn backwards(&self, block: u64) -> io::Result<Backwards<'_>> {
        let file = self.reader.get_ref();
        let length = file.metadata()?.len();
        let mut backwards = Backwards { file, end: length, block: Vec::new(), start: length, size: block };
        // The last line may not be whole yet: it is left to be read forwards.
        backwards.end = backwards.line_start(length)?;
        Ok(backwards)
    }

    /// The next line, which stays the next one.
    pub(super) fn peek(&mut self) -> io::Result<Option<&Line>> {
        while self.next.is_none() && self.fill()? {
            let whole = self.begun.strip_suffix(b"\n").unwrap_or(&self.begun);
            self.next = Line::parse(whole.get(..LONGEST).unwrap_or(whole));
            self.begun.clear();
        }
        Ok(self.next.as_ref())
    }

    /// The line that was peeked at.
    pub(super) fn take(&mut self) -> Option<Line> {
        self.next.take()
    }

    /// Reads on to the end of a line; false if there is none yet. Of a long line only the beginning is kept.
    fn fill(&mut self) -> io::Result<bool> {
        loop {
            let before = self.begun.len();
            let room = (LONGEST + 1).saturating_sub(before).max(1) as u64;
            if self.reader.by_ref().take(room).read_until(b'\n', &mut self.begun)? == 0 {
                return Ok(false);
            }
            if self.begun.ends_with(b"\n") {
                return Ok(true);
            }
            self.begun.truncate(LONGEST + 1);
        }
    }
}

/// Reads a file's lines from the end, a block at a time.
pub(super) struct Backwards<'a> {
    file: &'a File,
    /// Where the lines already read begin.
    end: u64,
    block: Vec<u8>,
    /// Where the block begins in the file.
    start: u64,
    size: u64,
}

impl Backwards<'_> {
    /// Where the lines already read begin.
    pub(super) fn position(&self) -> u64 {
        self.end
    }

    /// The line before those already read; of its text only the beginning.
    pub(super) fn previous(&mut self) -> io::Result<Option<Line>> {
        while self.end > 0 {
            let line_end = self.end - 1;
            self.end = self.line_start(line_end)?;
            let line = Line::parse(&self.head(self.end, line_end)?);
            if line.is_some() {
                return Ok(line);
            }
        }
        Ok(None)
    }

    /// Where the line begins to which the byte before `before` belongs.
    fn line_start(&mut self, mut before: u64) -> io::Result<u64> {
        while before > 0 {
            if before <= self.start {
                self.load(before)?;
            }
            let within = usize::try_from(before - self.start).unwrap_or(usize::MAX);
            let found = self.block.get(..within).and_then(|bytes| bytes.iter().rposition(|byte| *byte == b'\n'));
            if let Some(at) = found {
                return Ok(self.start + at as u64 + 1);
            }
            before = self.start;
        }
        Ok(0)
    }

    fn load(&mut self, end: u64) -> io::Result<()> {
        self.start = end.saturating_sub(self.size);
        self.block = self.read(self.start, end)?;
        Ok(())
    }

    fn head(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let end = end.min(start + HEAD);
        let at = |offset: u64| usize::try_from(offset.checked_sub(self.start)?).ok();
        let loaded = at(start).zip(at(end)).and_then(|(start, end)| self.block.get(start..end));
        loaded.map_or_else(|| self.read(start, end), |bytes| Ok(bytes.to_vec()))
    }

    fn read(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn forwards(tail: &mut Tail) -> Vec<String> {
        let mut texts = Vec::new();
        while tail.peek().unwrap().is_some() {
            texts.push(tail.take().unwrap().text);
        }
        texts
    }

    #[test]
    fn a_line_is_read_when_it_is_whole() {
        let mut file = file(b"2026-11-20T21:00:00.000Z v1:web.1:x on");
        let mut tail = Tail::open(file.path()).unwrap();
        assert_eq!(forwards(&mut tail), [""; 0]);
        file.write_all(b"e\n2026-11-20T21:00:00.000Z v1:web.1:x two\n").unwrap();
        assert_eq!(forwards(&mut tail), ["one", "two"]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let long = "y".repeat(3 * LONGEST);
        let file = file(
            format!("2026-11-20T21:00:00.000Z v1:web.1:x {long}\n2026-11-20T21:00:00.000Z v1:web.1:x z\n").as_bytes(),
        );
        let lines = forwards(&mut Tail::open(file.path()).unwrap());
        assert!(lines[0].len() < LONGEST && long.starts_with(&lines[0]));
        assert_eq!(lines[1..], ["z"]);
    }

    proptest! {
        #[test]
        fn backwards_is_forwards_reversed(texts in prop::collection::vec("[a-z\n]{0,12}", 0..20), block in 1_u64..100) {
            let head = "2026-11-20T21:00:00.000Z v1:web.1:x ";
            let content = texts.iter().map(|text| format!("{head}{text}\n")).collect::<Vec<_>>().concat();
            let file = file(format!("{content}{head}torn").as_bytes());
            let mut tail = Tail::open(file.path()).unwrap();
            let mut reversed = Vec::new();
            {
                let mut backwards = tail.backwards(block).unwrap();
                prop_assert_eq!(backwards.position(), content.len() as u64);
                while let Some(line) = backwards.previous().unwrap() {
                    reversed.insert(0, line.text);
                }
                prop_assert_eq!(backwards.position(), 0);
            }
            prop_assert_eq!(reversed, forwards(&mut tail));
        }

        #[test]
        fn any_content_is_read(content in any::<Vec<u8>>(), block in 1_u64..100) {
            let file = file(&content);
            let mut tail = Tail::open(file.path()).unwrap();
            let mut backwards = tail.backwards(block).unwrap();
            while backwards.previous().unwrap().is_some() {}
            forwards(&mut tail);
        }
    }
}
