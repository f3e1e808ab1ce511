//! Names that some file system takes for `.git` or another of git's own: case, invisible characters, short names, streams.

use gix::bstr::BStr;
use gix::validate::path::component::{self, Error, Mode, Options};

const NTFS: Options = Options { protect_windows: false, protect_hfs: false, protect_ntfs: true };
const BOTH: Options = Options { protect_windows: false, protect_hfs: true, protect_ntfs: true };

/// Whether some file system takes the name for `.git`; behind a backslash, NTFS.
pub(super) fn is_git(name: &[u8]) -> bool {
    let found = |name: &[u8], options| matches!(examine(name, options), Some(Error::DotGitDir));
    found(name, BOTH) || after_backslashes(name).any(|rest| found(rest, NTFS))
}

/// Whether some file system takes the name for `.gitmodules`.
pub(super) fn is_submodules(name: &[u8]) -> bool {
    let found = |name: &[u8], options| matches!(examine(name, options), Some(Error::SymlinkedGitModules));
    found(name, BOTH) || after_backslashes(name).any(|rest| found(rest, NTFS))
}

/// Whether the name is `.gitattributes`, in any case.
pub(super) fn is_attributes(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b".gitattributes")
}

/// What comes after each of them.
fn after_backslashes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let positions = name.iter().enumerate().filter(|(_, byte)| **byte == b'\\');
    positions.map(|(position, _)| name.get(position + 1..).unwrap_or_default())
}

/// gix tells what a name looks like only by refusing it, some for symbolic links alone.
fn examine(name: &[u8], options: component::Options) -> Option<Error> {
    gix::validate::path::component(BStr::new(name), Some(Mode::Symlink), options).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes() {
        for name in
            [".git", ".GIT", ".g\u{200c}it", "git~1", ".git ", ".git...", ".git::$INDEX_ALLOCATION", "a\\.git", "GIT~1"]
        {
            assert!(is_git(name.as_bytes()), "{name}");
        }
        for name in [
            ".gitmodules",
            ".GitModules",
            ".gitmod\u{200c}ules",
            "gitmod~1",
            "GI7EBA~1",
            ".gitmodules ",
            "x\\.gitmodules",
        ] {
            assert!(is_submodules(name.as_bytes()), "{name}");
        }
        for name in ["git", ".gitx", ".github", ".gitignore", "git~2", "gitmodules", "a", "\\", "a\\b"] {
            assert!(!is_git(name.as_bytes()) && !is_submodules(name.as_bytes()), "{name}");
        }
    }
}
