//! The same pushes and fetches against this server and against a bare repository that git itself serves: exit status,
//! what is said of each ref, refs and objects agree.
//!
//! Where the contract differs by intent, [`Step::differs`] says what is said here; nothing else may differ.
//! `AIRSTRIP_DIFFERENTIAL_CASES` sets the number of generated sequences.

mod fetches;
mod generated;
mod objects;

use std::path::{Path, PathBuf};

use crate::harness::{World, printed, run};

/// This server and git's, with one working copy for both.
struct Pair {
    world: World,
    work: PathBuf,
    bare: PathBuf,
}

/// One push, and how the outcome may differ.
struct Step {
    arguments: &'static [&'static str],
    /// What is said here instead, by ref; git accepts it.
    differs: &'static [(&'static str, &'static str)],
}

const fn same(arguments: &'static [&'static str]) -> Step {
    Step { arguments, differs: &[] }
}

const ONLY: &str = "only branches and tags are kept here";

impl Pair {
    async fn new() -> Self {
        let world = World::new().await;
        let work = world.work_tree("blog").await;
        let bare = world.path("bare.git");
        world.git_ok(world.home.path(), &["init", "-q", "--bare", "-b", "main", "bare.git"]).await;
        for (key, value) in [
            ("receive.fsckObjects", "true"),
            ("receive.advertisePushOptions", "true"),
            ("receive.unpackLimit", "1"),
            // Who may delete the deploy branch is the embedder's to say.
            ("receive.denyDeleteCurrent", "ignore"),
            ("transfer.hideRefs", "refs/airstrip"),
            ("uploadpack.allowFilter", "true"),
            ("uploadpack.allowAnySHA1InWant", "true"),
        ] {
            world.git_ok(&bare, &["config", key, value]).await;
        }
        Self { world, work, bare }
    }

    fn urls(&self) -> [String; 2] {
        [self.world.url("blog"), format!("file://{}", self.bare.display())]
    }

    /// Whether it went well, and the lines on refs, of each server.
    async fn push_both(&self, from: &Path, arguments: &[&str]) -> [(bool, Vec<String>); 2] {
        let mut outcomes = Vec::new();
        for url in self.urls() {
            let (options, refspecs): (Vec<&str>, Vec<&str>) =
                arguments.iter().partition(|argument| argument.starts_with('-'));
            let mut command = self.world.git(from);
            command.args(["push", "--porcelain"]).args(&options).arg(url).args(refspecs);
            let finished = run(&mut command).await;
            let text = printed(&finished);
            let mut lines: Vec<String> = text.lines().filter(|line| line.contains('\t')).map(outcome).collect();
            if options.contains(&"--atomic") && !finished.status.success() {
                lines =
                    lines.iter().map(|line| line.replace("(failed to update ref)", "(atomic push failure)")).collect();
            }
            lines.sort();
            outcomes.push((finished.status.success(), lines));
        }
        outcomes.try_into().unwrap()
    }

    async fn push(&self, step: &Step) {
        let [here, mut there] = self.push_both(&self.work, step.arguments).await;
        for (name, reason) in step.differs {
            let line = there.1.iter_mut().find(|line| line.split('\t').nth(1).unwrap().ends_with(&format!(":{name}")));
            let line = line.unwrap_or_else(|| panic!("{name} in {:?}", step.arguments));
            let refspec = line.split('\t').nth(1).unwrap().to_owned();
            *line = format!("!\t{refspec}\t[remote rejected] ({reason})");
            there.0 = false;
            self.undo_there(name).await;
        }
        there.1.sort();
        assert_eq!(here, there, "{:?}", step.arguments);
        self.assert_same().await;
    }

    /// What git has accepted and this server has not.
    async fn undo_there(&self, name: &str) {
        self.world.git_ok(&self.bare, &["update-ref", "-d", name]).await;
    }

    async fn assert_same(&self) {
        let here = self.world.repository("blog");
        for arguments in [
            ["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags"].as_slice(),
            &["rev-list", "--objects", "--no-object-names", "--all"],
        ] {
            let mut seen = Vec::new();
            for repository in [&here, &self.bare] {
                let text = self.world.git_ok(repository, arguments).await;
                let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
                lines.sort();
                seen.push(lines);
            }
            assert_eq!(seen[0], seen[1], "{arguments:?}");
        }
    }

    async fn git(&self, arguments: &[&str]) -> String {
        self.world.git_ok(&self.work, arguments).await
    }

    async fn end(self) {
        self.world.assert_clean("blog").await;
        self.world.stop().await;
    }
}

/// A line of `--porcelain` without the ids, which are compared elsewhere.
fn outcome(line: &str) -> String {
    let parts: Vec<&str> = line.splitn(3, '\t').collect();
    match parts.as_slice() {
        [flag, refspec, summary] => format!("{flag}\t{refspec}\t{}", reason_of_git(summary)),
        _ => line.to_owned(),
    }
}

/// Where we say more than git: which ref is in the way, and which ref of an atomic push it is that failed.
fn reason_of_git(summary: &str) -> &str {
    let said = |words: &str| summary.contains(words);
    if said("exists; cannot create") || said("failed to update ref") {
        "[remote rejected] (failed to update ref)"
    } else if said("atomic transaction failed") {
        "[remote rejected] (atomic push failure)"
    } else {
        summary
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes() {
    let pair = Pair::new().await;
    pair.git(&["branch", "other"]).await;
    pair.git(&["branch", "side/way"]).await;
    pair.git(&["tag", "light"]).await;
    pair.git(&["tag", "-a", "-m", "x", "heavy"]).await;
    pair.git(&["tag", "on-tree", "HEAD^{tree}"]).await;
    pair.git(&["tag", "-a", "-m", "x", "on-blob", "HEAD:file"]).await;
    pair.git(&["update-ref", "refs/notes/x", "HEAD"]).await;
    for step in [
        same(&["main"]),
        same(&["main"]),
        same(&["--all"]),
        same(&["--tags"]),
        same(&["main:refs/heads/a", "main:refs/heads/b/c"]),
        // Names that exclude each other, one by one and together.
        same(&["main:refs/heads/d", "main:refs/heads/d/e"]),
        same(&["--atomic", "main:refs/heads/f", "main:refs/tags/g"]),
        same(&["--atomic", ":refs/heads/f", "main:refs/heads/h"]),
        same(&[":refs/heads/a", ":refs/tags/light"]),
        same(&["main:refs/heads/a"]),
        same(&["--force-with-lease=a:1111111111111111111111111111111111111111", "main:refs/heads/a"]),
        same(&["main:refs/heads/é", "main:refs/heads/-dash", "main:refs/heads/a%b#c'd\"e"]),
        same(&["main:refs/airstrip/x"]),
        same(&["main:refs/airstrip/x", "main:refs/heads/good"]),
        Step {
            // Git leaves a hidden ref out and moves the others, as if it had not been asked for all or nothing.
            arguments: &["--atomic", "main:refs/airstrip/x", "main:refs/heads/bad"],
            differs: &[("refs/heads/bad", "atomic push failure")],
        },
        same(&["--atomic", "main:refs/heads/d/e", "main:refs/heads/i"]),
        same(&["--atomic", ":refs/heads/d", "main:refs/heads/d/e"]),
        same(&["--atomic", ":refs/tags/v1", "main:refs/tags/v1/x"]),
        same(&["main:refs/tags/v1"]),
        same(&["--atomic", ":refs/tags/v1", "main:refs/tags/v1/x"]),
        same(&["--atomic", "main:refs/heads/j", "main:refs/heads/j/k"]),
        Step { arguments: &["refs/notes/x"], differs: &[("refs/notes/x", ONLY)] },
        same(&["-ono-cache", "main:refs/heads/option"]),
        same(&["--quiet", "--thin", "--force", "main:refs/heads/quiet"]),
        same(&["--no-thin", "--prune", "refs/heads/*:refs/heads/*"]),
    ] {
        pair.push(&step).await;
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_is_rewritten_or_incomplete() {
    let pair = Pair::new().await;
    for number in 0..5 {
        pair.world.commit(&pair.work, "file", &format!("{number}\n")).await;
    }
    pair.push(&same(&["main"])).await;
    pair.git(&["reset", "-q", "--hard", "HEAD~2"]).await;
    pair.world.commit(&pair.work, "file", "other\n").await;
    pair.push(&same(&["main"])).await;
    pair.push(&same(&["--force", "main"])).await;

    for (name, arguments) in
        [("shallow", ["--depth=2", "--no-single-branch"]), ("partial", ["--filter=blob:none", "--no-checkout"])]
    {
        let from = pair.world.path(name);
        let url = format!("file://{}", pair.bare.display());
        let clone = ["clone", "-q", arguments[0], arguments[1], &url, &from.display().to_string()];
        pair.world.git_ok(pair.world.home.path(), &clone).await;
        pair.world.git_ok(&from, &["checkout", "-q", "main"]).await;
        pair.world.commit(&from, name, "more\n").await;
        let [here, there] = pair.push_both(&from, &["main"]).await;
        assert!(here.0, "{name}");
        assert_eq!(here, there, "{name}");
        pair.assert_same().await;
    }

    // What a shallow clone lacks, an empty repository lacks, too.
    let from = pair.world.path("shallow");
    let mut outcomes = Vec::new();
    pair.world.git_ok(pair.world.home.path(), &["init", "-q", "--bare", "empty.git"]).await;
    for url in [pair.world.url("empty"), format!("file://{}", pair.world.path("empty.git").display())] {
        let text = pair.world.git_fails(&from, &["push", "--porcelain", &url, "main"]).await;
        outcomes.push(text.lines().find(|line| line.starts_with('!')).unwrap().to_owned());
    }
    assert_eq!(outcomes[0], outcomes[1]);
    assert!(outcomes[0].contains("shallow update not allowed"), "{outcomes:?}");
    pair.end().await;
}
