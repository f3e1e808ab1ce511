//! Writes the content of a tar into an empty directory. Runs inside a sandbox; what it reads comes from anybody.
//!
//! Everything must be right to the last byte: what is odd or cut short is refused, and the caller throws all of it away.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

const BLOCK: u64 = 512;
/// A tar ends with two blocks of zeros.
const END: u64 = 2 * BLOCK;

/// Unpacks a tar or tar.gz into `root`.
pub(super) fn run(from: impl Read, root: &Path) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 20, from);
    let beginning = input.fill_buf()?;
    match beginning {
        [] => Err(odd("the archive is empty")),
        [0x1f, 0x8b, ..] => unpack(MultiGzDecoder::new(input), root),
        _ => unpack(input, root),
    }
}

fn unpack(from: impl Read, root: &Path) -> io::Result<()> {
    let mut archive = Archive::new(Tail { from, length: 0, zeros: 0 });
    let (mut modes, mut end) = (BTreeMap::new(), 0);
    for entry in archive.entries()? {
        let mut entry = entry.map_err(|error| odd(&format!("the archive cannot be read: {error}")))?;
        end = end_of(&entry)?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let path = inside(&entry.path()?)?;
        check(&entry, &path)?;
        one(&mut entry, root, &path, &mut modes)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {}", path.display(), cause(&error))))?;
    }
    let mut tail = archive.into_inner();
    io::copy(&mut tail, &mut io::sink())?;
    let after = tail.length.saturating_sub(end);
    if after < END {
        return Err(odd("the archive is cut short"));
    }
    if tail.zeros < after {
        return Err(odd("the archive goes on behind its end"));
    }
    // From the innermost outwards, now that nothing more is to be made in them.
    for (path, mode) in modes.into_iter().rev() {
        fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    }
    Ok(())
}

fn one<R: Read>(
    entry: &mut Entry<'_, R>,
    root: &Path,
    path: &Path,
    modes: &mut BTreeMap<PathBuf, u32>,
) -> io::Result<()> {
    let to = root.join(path);
    if entry.header().entry_type().is_dir() {
        let mode = entry.header().mode()? & 0o777;
        // Until the end its own user can write to it.
        fs::create_dir_all(&to)?;
        fs::set_permissions(&to, PermissionsExt::from_mode(mode | 0o700))?;
        modes.insert(to, mode);
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    // Without set-user-id and its like; and not through a link that leads elsewhere.
    entry.set_preserve_permissions(false);
    entry.set_unpack_xattrs(false);
    if entry.unpack_in(root)? { Ok(()) } else { Err(odd("is not a path in the archive")) }
}

/// What was wrong in the end: a full disk, not "failed to unpack".
fn cause(error: &dyn std::error::Error) -> &dyn std::error::Error {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}

/// Where the blocks of an entry end in the archive.
fn end_of<R: Read>(entry: &Entry<'_, R>) -> io::Result<u64> {
    let sparse = entry.header().entry_type() == EntryType::GNUSparse;
    let stored = if sparse { entry.header().entry_size()? } else { entry.size() };
    let end = entry.raw_file_position().checked_add(stored).and_then(|end| end.checked_next_multiple_of(BLOCK));
    end.ok_or_else(|| odd("the archive cannot be read: a size is out of range"))
}

fn check<R: Read>(entry: &Entry<'_, R>, path: &Path) -> io::Result<()> {
    let refuse = |why: &str| Err(odd(&format!("{}: {why}", path.display())));
    match entry.header().entry_type() {
        EntryType::Link => match entry.link_name()?.map(|target| inside(&target)) {
            Some(Ok(_)) => Ok(()),
            _ => refuse("is a hard link that leads out of the archive"),
        },
        kind if kind.is_file() || kind.is_dir() || kind.is_symlink() || kind == EntryType::GNUSparse => Ok(()),
        _ => refuse("only files, directories and links can be imported"),
    }
}

/// The path without `.`; an error if it leads, or might lead, out.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let plain = |part: Component<'_>| match part {
        Component::Normal(name) => Ok(PathBuf::from(name)),
        Component::CurDir => Ok(PathBuf::new()),
        _ => Err(odd(&format!("{}: leads out of data/", path.display()))),
    };
    path.components().map(plain).collect()
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Counts what was read so far, and the zeros at its end.
struct Tail<R> {
    from: R,
    length: u64,
    zeros: u64,
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        let read = &buffer[..count];
        self.length += count as u64;
        match read.iter().rposition(|byte| *byte != 0) {
            Some(last) => self.zeros = (count - last - 1) as u64,
            None => self.zeros += count as u64,
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
