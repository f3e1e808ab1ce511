//! A release in one file, to be carried to another server and run there without building: a signed tar.
//!
//! | entry, in this order | is |
//! |---|---|
//! | `airstrip-release.json` | [`Contents`]: what the release is, with the digests of its code and layers |
//! | `airstrip-release.sig` | signature of that file, as of `ssh-keygen -Y sign -n airstrip-release` |
//! | `DIGEST.files` | the list of a tree's files (the code first, then the software bills of material, then each layer once), which the digest is of |
//! | `DIGEST/PATH` | every file of that list, in its order |
//!
//! So the signature covers every byte of every file, and a reader that goes from the front to the back believes nothing that it has
//! not checked. Configuration is not part of it.

mod contents;
mod read;
mod write;

pub use contents::Contents;
pub use contents::Format;
pub use read::{MOST_BYTES, Places, ReleaseArchive};
pub use write::{EPOCH, Exactly, Tree};

/// What the server's key signs here, and nothing else.
pub const NAMESPACE: &str = "airstrip-release";
const CONTENTS: &str = "airstrip-release.json";
const SIGNATURE: &str = "airstrip-release.sig";

/// The entry with the list of a tree's files.
fn list_name(digest: &builder::Digest) -> String {
    format!("{digest}.files")
}

/// The entry of a file.
fn file_name(digest: &builder::Digest, path: &[u8]) -> Vec<u8> {
    [digest.as_str().as_bytes(), b"/", path].concat()
}
