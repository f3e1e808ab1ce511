//! Clones and fetches of the same history from both servers, in each version of the protocol.

use std::path::{Path, PathBuf};

use super::{Pair, same};
use crate::harness::run;

/// A history with a merge, branches, tags, and blobs of several sizes.
async fn pair() -> Pair {
    let pair = Pair::new().await;
    for number in 0..8 {
        // The dates are a day apart: `--shallow-since` has something to choose.
        std::fs::write(pair.work.join("file"), format!("{number}\n")).unwrap();
        std::fs::write(pair.work.join(format!("big{number}")), "x".repeat(1000 * number)).unwrap();
        pair.git(&["add", "--all"]).await;
        commit(&pair, number, &["commit", "-q", "-m", "a change"]).await;
        if number == 3 {
            pair.git(&["branch", "side"]).await;
        }
    }
    pair.git(&["checkout", "-q", "side"]).await;
    std::fs::write(pair.work.join("side"), "side\n").unwrap();
    pair.git(&["add", "--all"]).await;
    commit(&pair, 8, &["commit", "-q", "-m", "aside"]).await;
    pair.git(&["checkout", "-q", "main"]).await;
    commit(&pair, 9, &["merge", "-q", "--no-ff", "-m", "together", "side"]).await;
    pair.git(&["tag", "light", "main~4"]).await;
    pair.git(&["tag", "-a", "-m", "x", "heavy", "main~2"]).await;
    pair.git(&["tag", "-a", "-m", "x", "on-tree", "main^{tree}"]).await;
    pair.push(&same(&["main", "side", "light", "heavy", "on-tree"])).await;
    pair
}

async fn commit(pair: &Pair, day: usize, arguments: &[&str]) {
    let date = format!("2020-01-{:02}T00:00:00Z", day + 1);
    let mut command = pair.world.git(&pair.work);
    let finished = run(command.args(arguments).env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date)).await;
    assert!(finished.status.success(), "{finished:?}");
}

/// What a clone has: refs, where it is cut off, and objects (those that are there, if some are not).
async fn contents(pair: &Pair, clone: &Path) -> Vec<String> {
    let refs = pair.world.git_ok(clone, &["for-each-ref", "--format=%(objectname) %(refname)"]).await;
    let listed = ["rev-list", "--objects", "--no-object-names", "--all", "--missing=allow-any"];
    let objects = pair.world.git_ok(clone, &listed).await;
    let all = ["cat-file", "--batch-all-objects", "--batch-check"];
    let held = pair.world.git_ok(clone, &all).await;
    let shallow = std::fs::read_to_string(clone.join(".git/shallow")).unwrap_or_default();
    let mut lines: Vec<String> =
        [refs, objects, held, shallow].iter().flat_map(|text| text.lines()).map(Into::into).collect();
    lines.sort();
    lines
}

/// Does the same with both servers and compares after each step.
async fn compare(pair: &Pair, version: &str, number: usize, steps: &[&[&str]]) {
    let setting = format!("protocol.version={version}");
    let clones: [PathBuf; 2] = ["here", "there"].map(|side| pair.world.path(&format!("{side}-{version}-{number}")));
    for (index, step) in steps.iter().enumerate() {
        let mut seen = Vec::new();
        for (clone, url) in clones.iter().zip(pair.urls()) {
            let (directory, mut arguments) =
                (if index == 0 { pair.world.home.path() } else { clone }, vec!["-c", &setting]);
            arguments.extend(*step);
            let to = clone.display().to_string();
            if index == 0 {
                arguments.extend([url.as_str(), &to]);
            }
            let finished = run(pair.world.git(directory).args(&arguments)).await;
            assert!(finished.status.success(), "{version} {step:?}: {finished:?}");
            seen.push(contents(pair, clone).await);
        }
        assert_eq!(seen[0], seen[1], "version {version}: {step:?} of {steps:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_and_fetches() {
    let pair = pair().await;
    let sequences: [&[&[&str]]; 11] = [
        &[&["clone", "-q"]],
        &[&["clone", "-q", "--mirror"]],
        &[&["clone", "-q", "--depth=1"], &["fetch", "-q", "--deepen=2"], &["fetch", "-q", "--unshallow"]],
        &[
            &["clone", "-q", "--depth=3", "--no-single-branch"],
            &["fetch", "-q", "--depth=1"],
            &["fetch", "-q", "--depth=5"],
        ],
        &[&["clone", "-q", "--shallow-since=2020-01-05"], &["fetch", "-q", "--shallow-since=2020-01-03"]],
        &[&["clone", "-q", "--shallow-exclude=light"], &["fetch", "-q", "--unshallow"]],
        &[
            &["clone", "-q", "--single-branch", "-b", "side"],
            &["fetch", "-q", "origin", "main:other"],
            &["fetch", "-q", "--tags"],
        ],
        &[&["clone", "-q", "--no-tags"], &["fetch", "-q", "origin", "refs/tags/*:refs/tags/*"]],
        &[&["clone", "-q", "--filter=blob:none"], &["checkout", "-q", "main~3"], &["log", "-p", "--all"]],
        &[&["clone", "-q", "--filter=blob:limit=3k", "--no-checkout"], &["checkout", "-q", "main"]],
        &[&["clone", "-q", "--filter=blob:none", "--depth=2"], &["fetch", "-q", "--unshallow"]],
    ];
    for (number, steps) in sequences.iter().enumerate() {
        for version in ["2", "0", "1"] {
            // Version 1 is version 0 with a word in front: a few are enough.
            if version != "1" || number < 3 {
                compare(&pair, version, number, steps).await;
            }
        }
    }
    for version in ["0", "1", "2"] {
        let mut seen = Vec::new();
        for url in pair.urls() {
            let setting = format!("protocol.version={version}");
            seen.push(pair.git(&["-c", &setting, "ls-remote", "--symref", &url]).await);
        }
        assert_eq!(seen[0], seen[1], "version {version}");
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_and_what_is_divergent() {
    let pair = pair().await;
    for version in ["0", "2"] {
        let setting = format!("protocol.version={version}");
        let clone = pair.world.path(&format!("clone-{version}"));
        let url = pair.world.url("blog");
        let arguments = ["-c", &setting, "clone", "-q", &url, &clone.display().to_string()];
        pair.world.git_ok(pair.world.home.path(), &arguments).await;
        for number in 0..40 {
            pair.world.commit(&clone, "mine", &format!("{number}\n")).await;
        }
        let head = pair.world.commit(&pair.work, "more", version).await;
        pair.push(&same(&["main"])).await;
        pair.world.git_ok(&clone, &["config", "fetch.unpackLimit", "1"]).await;
        pair.world.git_ok(&clone, &["-c", &setting, "fetch", "-q"]).await;
        assert_eq!(pair.world.git_ok(&clone, &["rev-parse", "origin/main"]).await.trim(), head);
        pair.world.git_ok(&clone, &["fsck", "--full", "--strict"]).await;
    }
    pair.end().await;
}
