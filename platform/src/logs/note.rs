//! The platform's own lines in an app's log.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::line::Line;
use crate::home::AppHome;
use crate::names::{Process, Version};

/// Bound of one file.
const MAX_BYTES: u64 = 1 << 20;

/// Two writers that both find a file full would rotate it twice, and lose what was kept.
static WRITING: Mutex<()> = Mutex::new(());

/// Appends lines about an instance. A log that cannot be written to stops nothing; the daemon's own log says so.
pub fn note(app: &AppHome, version: Version, process: &Process, text: &str) {
    let time = crate::clock::timestamp(jiff::Timestamp::now());
    let lines: String = text.lines().map(|line| Line::ours(&time, version, process, line)).collect();
    match append(&app.logs().join("platform.log"), lines.as_bytes(), MAX_BYTES) {
        // The app is being destroyed.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, logs = %app.logs().display(), "writing an app's log"),
        Ok(()) => {}
    }
}

/// Appends to a file that is rotated once at its bound. None is made in a directory that is not there.
pub(super) fn append(path: &Path, bytes: &[u8], bound: u64) -> std::io::Result<()> {
    let _turn = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let size = path.metadata().map_or(0, |metadata| metadata.len());
    if size > 0 && size + bytes.len() as u64 > bound {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn the_file_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("platform.log");
        for line in ["12345678\n", "abcdefgh\n", "ABCDEFGH\n"] {
            append(&path, line.as_bytes(), 20).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ABCDEFGH\n");
        assert_eq!(std::fs::read_to_string(directory.path().join("platform.log.1")).unwrap(), "12345678\nabcdefgh\n");
    }
}
