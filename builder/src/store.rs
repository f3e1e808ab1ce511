//! The content-addressed store of layers: one directory, in which each layer has its digest for a name.
//!
//! | name | is |
//! |---|---|
//! | `sha256-…` | a layer's tree, which nobody may change |
//! | `sha256-….files` | its [`Inventory`] (layers of earlier versions have none) |
//! | `.…` | work in progress; whoever starts removes it |
//!
//! A name that exists is of a layer that is whole and on disk, after any crash. What is in the store already is not written again.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::blocking::Cancel;
use crate::directory::Directory;
use crate::inventory::{Inventory, LONGEST_TEXT};
use crate::{Digest, tree};

const FILES: &str = ".files";
/// Prefix of what is about to be removed.
const GONE: &str = ".gone-";

/// Where a layer is.
pub fn layer(store: &Path, digest: &Digest) -> PathBuf {
    store.join(digest.as_str())
}

fn list(store: &Path, digest: &Digest) -> PathBuf {
    store.join(format!("{digest}{FILES}"))
}

/// What a layer should hold; None if its files were not listed when it was made. A list that is not the digest's is an error.
pub fn inventory(store: &Path, digest: &Digest) -> io::Result<Option<Inventory>> {
    read_inventory(&list(store, digest), digest)
}

/// Reads the list in `file` of the tree with this digest.
pub fn read_inventory(file: &Path, digest: &Digest) -> io::Result<Option<Inventory>> {
    let file = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = Vec::new();
    file.take(LONGEST_TEXT).read_to_end(&mut text)?;
    let odd = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    if Inventory::digest_of(&text) != *digest {
        return Err(odd("the list of files is not what it was".to_owned()));
    }
    Inventory::parse(&text).map(Some).map_err(|error| odd(error.to_string()))
}

/// Puts finished trees from below `scratch` (on the same file system) into the store, as far as they are not there. Nobody is to change
/// them any more: they become root's if `privileged`.
pub fn add(store: &Path, scratch: &Path, trees: Vec<(PathBuf, Inventory)>, privileged: bool) -> io::Result<()> {
    let is_new = |(_, inventory): &(PathBuf, Inventory)| !layer(store, &inventory.digest()).is_dir();
    let new: Vec<_> = trees.into_iter().filter(is_new).collect();
    for (tree, _) in &new {
        tree::seal(tree, privileged, &Cancel::default())?;
    }
    if new.is_empty() { Ok(()) } else { place(store, scratch, new) }
}

/// Moves sealed trees from below `scratch` (on the same file system) into the store: first to disk, then under their names, then
/// the names to disk.
pub(crate) fn place(store: &Path, scratch: &Path, new: Vec<(PathBuf, Inventory)>) -> io::Result<()> {
    let mut ready = Vec::new();
    for (number, (tree, inventory)) in new.into_iter().enumerate() {
        let listed = scratch.join(format!(".listed-{number}"));
        let text = inventory.to_text();
        fs::write(&listed, &text)?;
        ready.push((tree, listed, Inventory::digest_of(text.as_bytes())));
    }
    Directory::open(scratch)?.sync_file_system()?;
    for (tree, listed, digest) in ready {
        fs::rename(listed, list(store, &digest))?;
        let target = layer(store, &digest);
        match fs::rename(&tree, &target) {
            // Another build, or another layer of this one, has just put the same there.
            Err(_) if target.is_dir() => {}
            other => other?,
        }
    }
    Directory::open(store)?.sync()
}

/// Takes the names from all layers but these. What they were is still to be removed, which takes longer: [`Collected::remove`].
///
/// Nobody may be about to use a layer that is not among `used`: no build may be under way.
pub fn collect(store: &Path, used: &BTreeSet<Digest>) -> io::Result<Collected> {
    let mut collected = Collected::default();
    for entry in fs::read_dir(store)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let Ok(digest) = Digest::try_from(name.trim_end_matches(FILES).to_owned()) else { continue };
        if used.contains(&digest) {
            continue;
        }
        let aside = store.join(format!("{GONE}{name}"));
        fs::rename(store.join(name), &aside)?;
        collected.asides.push(aside);
    }
    Ok(collected)
}

/// Layers without a name.
#[derive(Debug, Default)]
#[must_use]
pub struct Collected {
    asides: Vec<PathBuf>,
}

impl Collected {
    /// How many there are.
    pub fn layers(&self) -> usize {
        self.asides.iter().filter(|path| path.extension().is_none()).count()
    }

    /// Removes them for good. What a crash leaves of them the next start removes.
    pub fn remove(self) -> io::Result<()> {
        self.asides.iter().try_for_each(|path| remove(path))
    }
}

/// Removes a file, or a directory and everything in it.
pub fn remove(path: &Path) -> io::Result<()> {
    let is_directory = fs::symlink_metadata(path)?.is_dir();
    if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn placed(root: &Path, name: &str) -> Digest {
        let (store, scratch) = (root.join("store"), root.join("scratch"));
        fs::create_dir_all(&store).unwrap();
        fs::create_dir_all(scratch.join(name)).unwrap();
        fs::write(scratch.join(name).join("file"), name).unwrap();
        let inventory = tree::inventory(&scratch.join(name), &Cancel::default()).unwrap();
        let digest = inventory.digest();
        place(&store, &scratch, vec![(scratch.join(name), inventory)]).unwrap();
        digest
    }

    fn names(store: &Path) -> usize {
        fs::read_dir(store).unwrap().count()
    }

    #[test]
    fn only_what_is_used_keeps_its_name() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("store");
        let (one, other) = (placed(root.path(), "one"), placed(root.path(), "other"));
        assert_eq!(inventory(&store, &one).unwrap().unwrap().digest(), one);
        fs::write(store.join("not-ours"), "").unwrap();
        let collected = collect(&store, &[one.clone()].into()).unwrap();
        assert_eq!((collected.layers(), names(&store)), (1, 5), "the other is not removed yet");
        assert!(layer(&store, &one).is_dir() && !layer(&store, &other).exists());
        collected.remove().unwrap();
        assert_eq!(names(&store), 3);
        assert_eq!(inventory(&store, &other).unwrap(), None);
        assert_eq!(placed(root.path(), "other"), other, "and can come back");
    }

    #[test]
    fn a_list_that_was_changed_is_no_list() {
        let root = tempfile::tempdir().unwrap();
        let one = placed(root.path(), "one");
        let file = list(&root.path().join("store"), &one);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "airstrip tree 2\n").unwrap();
        let error = inventory(&root.path().join("store"), &one).unwrap_err();
        assert_eq!(error.to_string(), "the list of files is not what it was");
    }
}
