//! An app as its developer has it: a git working copy with the server as its remote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::client::Client;
use super::live::Live;
use super::reply::{Reply, run};

/// How long a push may take that installs packages from an index.
const PUSH: Duration = Duration::from_secs(300);

/// A working copy on branch `main`.
pub struct App<'c> {
    pub directory: PathBuf,
    client: &'c Client,
}

impl<'c> App<'c> {
    /// A working copy with these files, committed.
    pub fn new(client: &'c Client, name: &str, files: &[(&str, &str)]) -> Self {
        let app = Self::empty(client, name);
        for (path, content) in files {
            app.write(path, content);
        }
        app.commit("First");
        app
    }

    /// A working copy of `tests/apps/probe`, which answers questions about itself and needs no package.
    pub fn probe(client: &'c Client, name: &str) -> Self {
        Self::copy_of(client, name, "tests/apps/probe")
    }

    /// A working copy of a directory of this repository.
    pub fn copy_of(client: &'c Client, name: &str, directory: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
        let app = Self::empty(client, name);
        let mut cp = Command::new("cp");
        run(cp.arg("-R").arg("-p").arg(source.join(".")).arg(&app.directory), b"", PUSH).ok();
        app.commit("First");
        app
    }

    /// The working copy that was made before under this name.
    pub fn opened(client: &'c Client, name: &str) -> Self {
        Self { directory: directory_of(client, name), client }
    }

    fn empty(client: &'c Client, name: &str) -> Self {
        fs::create_dir_all(directory_of(client, name)).unwrap();
        let app = Self::opened(client, name);
        app.git(&["init", "-q", "-b", "main"]).ok();
        app.git(&["remote", "add", "airstrip", &Client::remote(name)]).ok();
        app
    }

    /// Writes a file of the working copy.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Commits everything, and gives the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]).ok();
        self.git(&["commit", "-q", "--allow-empty", "-m", message]).ok();
        self.head()
    }

    /// The id of the commit that is checked out.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).ok().line()
    }

    /// `git ARGUMENTS…` in the working copy.
    pub fn git(&self, arguments: &[&str]) -> Reply {
        self.client.git(&self.directory, arguments)
    }

    /// `git push airstrip main`.
    pub fn push(&self) -> Push {
        self.push_with(&["airstrip", "main"])
    }

    /// Writes a file, commits and pushes.
    pub fn push_file(&self, path: &str, content: impl AsRef<[u8]>) -> Push {
        self.write(path, content);
        self.commit(&format!("Change {path}"));
        self.push()
    }

    /// `git push ARGUMENTS…`.
    pub fn push_with(&self, arguments: &[&str]) -> Push {
        Push::new(run(&mut self.push_command(arguments), b"", PUSH))
    }

    /// `git push airstrip main`, not waited for.
    pub fn start_push(&self) -> Live {
        Live::start(&mut self.push_command(&["airstrip", "main"]))
    }

    fn push_command(&self, arguments: &[&str]) -> Command {
        let arguments: Vec<_> = ["push"].iter().chain(arguments).copied().collect();
        self.client.git_command(&self.directory, &arguments)
    }

    /// Where a branch of the server's repository is, as receive-pack advertises it.
    pub fn branch_on_server(&self, branch: &str) -> Option<String> {
        let name = format!("refs/heads/{branch}");
        let listed = self.git(&["ls-remote", "--upload-pack=git-receive-pack", "airstrip", &name]).ok().out();
        listed.split_whitespace().next().map(str::to_owned)
    }
}

fn directory_of(client: &Client, name: &str) -> PathBuf {
    client.key().with_file_name("apps").join(name)
}

/// What a push left.
pub struct Push {
    pub reply: Reply,
    /// What the server said, line by line, without `remote: `.
    pub remote: Vec<String>,
}

impl Push {
    /// From what `git push` left.
    pub fn new(reply: Reply) -> Self {
        let said = reply.err();
        let lines = said.lines().filter_map(|line| line.strip_prefix("remote:"));
        let remote = lines.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned()).collect();
        Self { reply, remote }
    }

    /// It succeeded, or the story fails.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.reply.status, 0, "{}", self.reply);
        self
    }

    /// The server rejected it and said every one of `words`.
    #[track_caller]
    pub fn rejected(self, words: &[&str]) -> Self {
        self.check_rejected(words);
        self
    }

    /// The same, by reference.
    #[track_caller]
    pub fn check_rejected(&self, words: &[&str]) {
        let said = self.reply.err();
        assert_ne!(self.reply.status, 0, "it should be rejected: {}", self.reply);
        assert!(said.contains("rejected]"), "git should report a rejection: {}", self.reply);
        for word in words {
            assert!(said.contains(word), "it should say {word:?}: {}", self.reply);
        }
    }

    /// Where the first line that starts so stands among the server's.
    #[track_caller]
    pub fn position(&self, start: &str) -> usize {
        let found = self.remote.iter().position(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no line starts with {start:?}: {}", self.reply))
    }
}
