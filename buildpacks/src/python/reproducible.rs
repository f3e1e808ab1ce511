//! Takes out of an environment what tells when and how it was installed rather than what: equal requirements then make an
//! equal layer, at any time and on any machine.

use std::fs;
use std::io;
use std::path::Path;

/// uv's note for its next run here (which there will not be): times of local sources, and of when it looked.
const NOTE: &str = "uv_cache.json";

/// Removes the installer's notes from the metadata of all packages below `packages`, and from their lists of files.
pub(super) fn remove_notes(packages: &Path) -> io::Result<()> {
    for entry in fs::read_dir(packages)? {
        let metadata = entry?.path();
        if metadata.extension().is_none_or(|ending| ending != "dist-info") {
            continue;
        }
        match fs::remove_file(metadata.join(NOTE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.and_then(|()| unlist(&metadata.join("RECORD")))?,
        }
    }
    Ok(())
}

fn unlist(record: &Path) -> io::Result<()> {
    let text = fs::read_to_string(record)?;
    let is_note = |line: &&str| line.split_once(',').is_some_and(|(path, _)| path.ends_with(&format!("/{NOTE}")));
    let kept: String = text.split_inclusive('\n').filter(|line| !is_note(line)).collect();
    fs::write(record, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_removed_and_unlisted() {
        let packages = tempfile::tempdir().unwrap();
        let metadata = packages.path().join("a-1.dist-info");
        fs::create_dir(&metadata).unwrap();
        fs::create_dir(packages.path().join("b-1.dist-info")).unwrap();
        fs::write(metadata.join(NOTE), "{}").unwrap();
        let record = "a.py,sha256=x,1\na-1.dist-info/uv_cache.json,sha256=y,2\na-1.dist-info/RECORD,,\n";
        fs::write(metadata.join("RECORD"), record).unwrap();
        remove_notes(packages.path()).unwrap();
        assert!(!metadata.join(NOTE).exists());
        assert_eq!(fs::read_to_string(metadata.join("RECORD")).unwrap(), "a.py,sha256=x,1\na-1.dist-info/RECORD,,\n");
    }
}
