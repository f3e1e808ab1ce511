//! A layer's archive: what a directory holds, as it will lie in an image. Equal content makes an equal archive: entries are
//! in order, belong to the owner asked for, and carry no names of users.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// Directories above a layer's target belong to root, but this one, and those below.
const HOME: &str = "home/app";

/// Writes an archive of empty directories, with their modes, and of symbolic links.
pub(super) fn write_links(file: &Path, directories: &[(&str, u32)], links: &[(String, PathBuf)]) -> io::Result<()> {
    let mut archive = Builder::new(BufWriter::new(File::create(file)?));
    for (path, mode) in directories {
        archive.append_data(&mut header(EntryType::Directory, *mode, 0), path, io::empty())?;
    }
    for (path, target) in links {
        archive.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)?;
    }
    archive.into_inner()?.flush()
}

/// Writes an archive of the directory or file `source` as it is to lie at `target`, belonging to `owner`.
pub(super) fn write_tree(file: &Path, source: &Path, target: &Path, owner: u32) -> io::Result<()> {
    let target: PathBuf =
        target.components().filter(|part| matches!(part, Component::Normal(_))).map(Component::as_os_str).collect();
    let mut archive = Builder::new(BufWriter::new(File::create(file)?));
    let above: Vec<&Path> = target.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    for path in above.into_iter().rev() {
        let mut header = header(EntryType::Directory, 0o755, 0);
        own(&mut header, if path.starts_with(HOME) { owner } else { 0 });
        archive.append_data(&mut header, path, io::empty())?;
    }
    put(&mut archive, source, &target, owner)?;
    archive.into_inner()?.flush()
}

fn put<W: Write>(archive: &mut Builder<W>, source: &Path, target: &Path, owner: u32) -> io::Result<()> {
    let seen = fs::symlink_metadata(source)?;
    let mode = seen.permissions().mode() & 0o777;
    if seen.is_symlink() {
        let mut header = of(&seen, EntryType::Symlink, mode, 0, owner);
        return archive.append_link(&mut header, target, fs::read_link(source)?);
    }
    if seen.is_file() {
        let mut header = of(&seen, EntryType::Regular, mode, seen.size(), owner);
        return archive.append_data(&mut header, target, File::open(source)?);
    }
    // Sockets and the like have no place in an image.
    if !seen.is_dir() {
        return Ok(());
    }
    archive.append_data(&mut of(&seen, EntryType::Directory, mode, 0, owner), target, io::empty())?;
    let mut names = fs::read_dir(source)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    names.iter().try_for_each(|name| put(archive, &source.join(name), &target.join(name), owner))
}

/// The time of change stays: compiled modules are checked against it.
fn of(seen: &Metadata, kind: EntryType, mode: u32, size: u64, owner: u32) -> Header {
    let mut header = header(kind, mode, size);
    own(&mut header, owner);
    header.set_mtime(u64::try_from(seen.mtime()).unwrap_or(0));
    header
}

fn own(header: &mut Header, owner: u32) {
    header.set_uid(owner.into());
    header.set_gid(owner.into());
}

/// A file of nobody in particular, made at no time in particular.
pub(super) fn entry(size: u64) -> Header {
    header(EntryType::Regular, 0o644, size)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    own(&mut header, 0);
    header
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_lies_at_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::create_dir_all(source.join("b/deep")).unwrap();
        fs::write(source.join("b/file"), "text").unwrap();
        fs::set_permissions(source.join("b/file"), fs::Permissions::from_mode(0o4755)).unwrap();
        std::os::unix::fs::symlink("b/file", source.join("a")).unwrap();
        let file = dir.path().join("layer");
        write_tree(&file, &source, Path::new("/home/app/code"), 1000).unwrap();
        let mut archive = tar::Archive::new(File::open(file).unwrap());
        let seen: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                format!("{path} {:o} {}", header.mode().unwrap(), header.uid().unwrap())
            })
            .collect();
        let expected = [
            "home 755 0",
            "home/app 755 1000",
            "home/app/code 755 1000",
            "home/app/code/a 777 1000",
            "home/app/code/b 755 1000",
            "home/app/code/b/deep 755 1000",
            "home/app/code/b/file 755 1000",
        ];
        assert_eq!(seen, expected);
    }
}
