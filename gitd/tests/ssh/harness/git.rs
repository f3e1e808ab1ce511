//! The real git as the client, and what it says of a repository of the server.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::{World, printed, run};

impl World {
    /// `git` in a directory, with nobody's configuration.
    pub(crate) fn git(&self, directory: &Path) -> Command {
        let ssh = format!("ssh {}", self.ssh_options("key").join(" "));
        // Whoever runs the tests in the background has SIGINT ignored, and all that is started inherits that.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "git"]).arg("-C").arg(directory);
        command.env("GIT_SSH_COMMAND", ssh).env("HOME", self.home.path()).env_remove("SSH_AUTH_SOCK");
        command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_TERMINAL_PROMPT", "0")]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
        }
        command
    }

    /// Runs git to its successful end and returns what it printed, both streams.
    pub(crate) async fn git_ok(&self, directory: &Path, arguments: &[&str]) -> String {
        let finished = run(self.git(directory).args(arguments)).await;
        assert!(finished.status.success(), "git {arguments:?}: {}", printed(&finished));
        printed(&finished)
    }

    /// Runs git to its failure and returns what it printed, both streams.
    pub(crate) async fn git_fails(&self, directory: &Path, arguments: &[&str]) -> String {
        let finished = run(self.git(directory).args(arguments)).await;
        assert!(!finished.status.success(), "git {arguments:?}: {}", printed(&finished));
        printed(&finished)
    }

    /// A working copy with one commit on `main` and the server as `origin`.
    pub(crate) async fn work_tree(&self, app: &str) -> PathBuf {
        let work = self.path(&format!("work-{app}"));
        std::fs::create_dir(&work).unwrap();
        self.git_ok(&work, &["init", "-q", "-b", "main"]).await;
        self.git_ok(&work, &["remote", "add", "origin", &self.url(app)]).await;
        self.commit(&work, "file", "one\n").await;
        work
    }

    /// Commits one file; the commit's id.
    pub(crate) async fn commit(&self, work: &Path, file: &str, content: &str) -> String {
        let path = work.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self.git_ok(work, &["add", "--all"]).await;
        self.git_ok(work, &["commit", "-q", "-m", "a change"]).await;
        self.head(work).await
    }

    pub(crate) async fn head(&self, work: &Path) -> String {
        self.git_ok(work, &["rev-parse", "HEAD"]).await.trim().to_owned()
    }

    /// How many packs a repository has.
    pub(crate) fn packs(&self, app: &str) -> usize {
        let entries = std::fs::read_dir(self.repository(app).join("objects/pack")).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "idx")).count()
    }

    /// The repository is sound and nothing of a push is left over.
    pub(crate) async fn assert_clean(&self, app: &str) {
        let repository = self.repository(app);
        let entries = std::fs::read_dir(repository.join("objects")).unwrap();
        let names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(names.iter().all(|name| !name.starts_with("incoming")), "{names:?}");
        let mut files = Vec::new();
        names_below(&repository, &mut files);
        let left_over = |name: &&String| [".journal", ".lock"].iter().any(|ending| name.ends_with(ending));
        let left_over: Vec<_> = files.iter().filter(left_over).filter(|name| *name != "incoming.lock").collect();
        assert!(left_over.is_empty(), "{left_over:?}");
        let beside = std::fs::read_dir(&self.state.repositories).unwrap();
        let beside = beside.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(beside.count(), 0);
        let packs = std::fs::read_dir(repository.join("objects/pack")).unwrap();
        for pack in packs {
            let path = pack.unwrap().path();
            let known = path.extension().is_some_and(|extension| extension == "pack" || extension == "idx");
            assert!(known, "{}", path.display());
        }
        self.git_ok(&repository, &["fsck", "--full", "--strict", "--no-dangling"]).await;
    }
}

fn names_below(directory: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            names_below(&entry.path(), names);
        }
        names.push(entry.file_name().into_string().unwrap());
    }
}
