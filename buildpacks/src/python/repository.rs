//! Requirements from git repositories: which commit a branch or tag stands for now.
//!
//! A branch moves without the requirements being changed; an environment must not stay behind because of that.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::interpreter::on_path;
use crate::command::{End, Limit, run};
use crate::output;

/// Where a requirement comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository {
    url: String,
    /// A branch, tag or commit; none for the default branch.
    reference: Option<String>,
}

/// How long a server of repositories may take to answer.
const LIMIT: Limit = Limit { time: Duration::from_secs(30), until: None };

impl Repository {
    /// Finds `git+URL@REFERENCE#…` in a requirement.
    pub(super) fn find(requirement: &str) -> Option<Self> {
        let start = requirement.find("git+")?;
        let text = requirement[start + 4..].split([' ', '#', ';']).next()?;
        // An `@` before the path is the user's.
        let path = text.find("://").map_or(0, |at| at + 3);
        let path = text[path..].find('/').map_or(text.len(), |at| path + at);
        let (url, reference) = match text[path..].rfind('@') {
            Some(at) => (&text[..path + at], Some(text[path + at + 1..].to_owned())),
            None => (text, None),
        };
        Some(Self { url: url.to_owned(), reference })
    }

    /// The commit that it stands for, or the reference itself if that is one, or nobody can tell: then the installer will say why.
    pub(super) fn commit(&self, app: &Path) -> String {
        let reference = self.reference.as_deref().unwrap_or("HEAD");
        if is_commit(reference) {
            return reference.to_owned();
        }
        let commit = on_path("git").and_then(|git| self.ask(&git, app, reference));
        if let Some(commit) = &commit {
            let name = self.url.rsplit('/').next().unwrap_or_default();
            output::detail(&format!("{name}: {reference} is {}", commit.get(..12).unwrap_or(commit)));
        }
        commit.unwrap_or_else(|| reference.to_owned())
    }

    fn ask(&self, git: &Path, app: &Path, reference: &str) -> Option<String> {
        let mut command = Command::new(git);
        command.current_dir(app).env("GIT_TERMINAL_PROMPT", "0").args([
            "ls-remote",
            "--quiet",
            "--",
            &self.url,
            reference,
        ]);
        let mut commit = None;
        let end = run(&mut command, Some(LIMIT), &mut |line| {
            let first = line.split_whitespace().next().filter(|word| is_commit(word));
            commit = commit.take().or(first.map(str::to_owned));
        });
        commit.filter(|_| matches!(end, Ok(End::Exited(status)) if status.success()))
    }
}

fn is_commit(reference: &str) -> bool {
    reference.len() == 40 && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requirements_name_repositories() {
        let cases = [
            ("a @ git+https://h/o/a.git@v1#subdirectory=x", Some(("https://h/o/a.git", Some("v1")))),
            ("git+ssh://git@h/o/a", Some(("ssh://git@h/o/a", None))),
            ("git+ssh://git@h/o/a@feature/b ; python_version > '3'", Some(("ssh://git@h/o/a", Some("feature/b")))),
            ("git+file:///r", Some(("file:///r", None))),
            ("flask==3", None),
        ];
        for (requirement, expected) in cases {
            let found = Repository::find(requirement);
            let found = found.as_ref().map(|found| (found.url.as_str(), found.reference.as_deref()));
            assert_eq!(found, expected, "{requirement}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", pieces in "(git\\+|://|@|/|#|a){0,10}") {
            Repository::find(&text);
            Repository::find(&pieces);
        }
    }
}
