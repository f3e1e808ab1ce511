//! Names that some file system takes for `.git`: what git's own `verify_path` and `fsck` refuse.
//!
//! The tree may be cloned to such a file system later, and a `.git` of the pusher's making in a checkout runs programs.

/// Whether a name, or a part of it that Windows takes for a name, stands for the directory `.git`.
pub(crate) fn is_dot_git(name: &[u8]) -> bool {
    as_seen_elsewhere(name).any(|name| name == ".git" || name == "git~1")
}

/// Whether a name stands for the file `.gitmodules`.
pub(crate) fn is_git_modules(name: &[u8]) -> bool {
    as_seen_elsewhere(name).any(|name| name == ".gitmodules" || name == "gitmod~1")
}

/// The name without what other file systems ignore: HFS+ ignores some code points, NTFS ignores dots and spaces at the
/// end and what follows a colon (a stream of the file); both ignore case; for Windows a backslash parts names.
fn as_seen_elsewhere(name: &[u8]) -> impl Iterator<Item = String> {
    let visible: String = String::from_utf8_lossy(name).chars().filter(|c| !is_ignorable(*c)).collect();
    let parts: Vec<String> = visible.split('\\').map(without_ending).collect();
    parts.into_iter()
}

fn without_ending(part: &str) -> String {
    let file = part.split(':').next().unwrap_or_default();
    file.trim_end_matches(['.', ' ']).to_ascii_lowercase()
}

/// Code points that HFS+ leaves out of names when it compares them.
pub(crate) fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_of_dot_git() {
        for name in [
            ".git",
            ".GIT",
            ".gIt",
            "git~1",
            "GIT~1",
            ".git ",
            ".git.",
            ".git. . ",
            ".git::$INDEX_ALLOCATION",
            ".git:x",
            "GIT~1 ",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".git\u{206f}",
            "a\\.git",
            ".git\\config",
            "git~1\\hooks",
        ] {
            assert!(is_dot_git(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn other_names() {
        for name in [
            ".gitignore",
            ".gitattributes",
            ".gitmodules",
            ".github",
            "git",
            ".gi",
            "git~2",
            "..git",
            ".git-x",
            "x.git",
            " .git",
        ] {
            assert!(!is_dot_git(name.as_bytes()), "{name:?}");
        }
        assert!(!is_dot_git(b".g\xffit"));
    }

    #[test]
    fn git_modules() {
        assert!(is_git_modules(b".gitmodules"));
        assert!(is_git_modules(b".GitModules. "));
        assert!(!is_git_modules(b".gitignore"));
    }
}
