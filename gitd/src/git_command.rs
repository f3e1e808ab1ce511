//! The command lines by which git's client asks for a repository.

use crate::Access;

/// A request for a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitCommand {
    /// What for.
    pub(crate) access: Access,
    /// The path as the client wrote it, unchecked.
    pub(crate) path: String,
}

impl GitCommand {
    /// `git-receive-pack 'PATH'`, `git receive-pack 'PATH'` and the same with `upload-pack`; None for anything else.
    /// The quotes are a shell's, but no shell is asked.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let words = shlex::split(line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (service, path) = match words.as_slice() {
            ["git", service, path] => (*service, path),
            [command, path] => (command.strip_prefix("git-")?, path),
            _ => return None,
        };
        let access = match service {
            "receive-pack" => Access::Write,
            "upload-pack" => Access::Read,
            _ => return None,
        };
        Some(Self { access, path: (*path).to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn recognises_what_git_sends_and_nothing_else() {
        for (line, expected) in [
            ("git-receive-pack '/blog.git'", Some((Access::Write, "/blog.git"))),
            ("git receive-pack 'blog'", Some((Access::Write, "blog"))),
            ("git-upload-pack 'it'\\''s'", Some((Access::Read, "it's"))),
            ("git-upload-pack 'wow'\\!''", Some((Access::Read, "wow!"))),
            ("git-upload-pack \"a b\"", Some((Access::Read, "a b"))),
            ("git-receive-pack ''", Some((Access::Write, ""))),
            ("git-receive-pack 'unfinished", None),
            ("git-receive-pack", None),
            ("git-receive-pack a b", None),
            ("git-upload-archive 'a'", None),
            ("git-receive-pack 'a'; reboot", None),
            ("apps", None),
            ("", None),
        ] {
            let parsed = GitCommand::parse(line);
            let parsed = parsed.as_ref().map(|command| (command.access, command.path.as_str()));
            assert_eq!(parsed, expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_path_survives_the_quotes_of_git(path in "[^\0]*") {
            let quoted = format!("git-receive-pack '{}'", path.replace('\'', "'\\''").replace('!', "'\\!'"));
            let parsed = GitCommand::parse(&quoted);
            prop_assert_eq!(parsed, Some(GitCommand { access: Access::Write, path }));
        }

        #[test]
        fn any_line_is_parsed_without_panic(line in "\\PC*") {
            let _ = GitCommand::parse(&line);
        }
    }
}
