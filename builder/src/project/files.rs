//! Which files of the tree take part in the build: `include` and `exclude`, in the syntax of `.gitignore`.

use std::io;
use std::path::Path;

use gix_glob::pattern::Case;
use gix_glob::{Pattern, wildmatch};

use crate::directory::{Directory, Found};

/// Deeper trees are refused: every level holds a file descriptor and a stack frame.
const DEEPEST: usize = 200;

/// Says of each file whether it takes part.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    patterns: Vec<Pattern>,
    /// Whether what matches is all that takes part, or all that does not.
    only: bool,
}

impl Files {
    pub(super) fn new(patterns: &[String], only: bool) -> Self {
        Self { patterns: patterns.iter().filter_map(|pattern| gix_glob::parse(pattern.as_bytes())).collect(), only }
    }

    /// Removes from the tree what does not take part.
    pub(super) fn prune(&self, root: &Path) -> io::Result<()> {
        if self.patterns.is_empty() {
            return Ok(());
        }
        self.prune_below(&Directory::open(root)?, &mut Vec::new(), false, 0)
    }

    fn prune_below(&self, directory: &Directory, path: &mut Vec<u8>, matched: bool, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {DEEPEST} directories deep")));
        }
        for name in directory.names()? {
            let length = path.len();
            path.extend_from_slice(&name);
            let is_directory = directory.find(&name)? == Some(Found::Directory);
            let matched = self.matches(path, is_directory).unwrap_or(matched);
            if is_directory {
                path.push(b'/');
                let below = directory.directory(&name)?;
                self.prune_below(&below, path, matched, depth + 1)?;
                if matched != self.only && below.names()?.is_empty() {
                    directory.remove_directory(&name)?;
                }
            } else if matched != self.only {
                directory.remove_file(&name)?;
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// The last pattern that says anything of a path decides.
    fn matches(&self, path: &[u8], is_directory: bool) -> Option<bool> {
        let name = path.iter().rposition(|byte| *byte == b'/').map(|slash| slash + 1);
        let applies = |pattern: &&Pattern| {
            let mode = wildmatch::Mode::NO_MATCH_SLASH_LITERAL;
            pattern.matches_repo_relative_path(path.into(), name, Some(is_directory), Case::Sensitive, mode)
        };
        self.patterns.iter().rfind(applies).map(|pattern| !pattern.is_negative())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const TREE: &[&str] =
        &["Procfile", "src/a.py", "src/a.md", "src/deep/b.py", "docs/x.md", "docs/keep/y.md", "secret.key"];

    fn left(patterns: &[&str], only: bool) -> String {
        let root = tempfile::tempdir().unwrap();
        for file in TREE {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink("src", root.path().join("link")).unwrap();
        let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Files::new(&patterns, only).prune(root.path()).unwrap();
        let found = std::process::Command::new("find").current_dir(root.path()).args([".", "-printf", "%P\n"]).output();
        let mut found: Vec<_> =
            String::from_utf8(found.unwrap().stdout).unwrap().lines().skip(1).map(str::to_owned).collect();
        found.sort();
        found.join(" ")
    }

    #[test]
    fn what_takes_part() {
        let all = "Procfile docs docs/keep docs/keep/y.md docs/x.md link secret.key src src/a.md src/a.py src/deep src/deep/b.py";
        assert_eq!(left(&[], false), all);
        assert_eq!(left(&["nothing", ""], false), all);
        assert_eq!(
            left(&["*.md", "secret.key"], false),
            "Procfile docs docs/keep link src src/a.py src/deep src/deep/b.py"
        );
        assert_eq!(left(&["docs/", "/src/deep", "link"], false), "Procfile secret.key src src/a.md src/a.py");
        assert_eq!(
            left(&["docs", "!docs/keep"], false),
            "Procfile docs docs/keep docs/keep/y.md link secret.key src src/a.md src/a.py src/deep src/deep/b.py"
        );
        assert_eq!(left(&["*.py"], true), "src src/a.py src/deep src/deep/b.py");
        assert_eq!(left(&["Procfile", "src/**", "!*.md"], true), "Procfile src src/a.py src/deep src/deep/b.py");
        assert_eq!(left(&["/src"], true), "src src/a.md src/a.py src/deep src/deep/b.py");
    }
}
