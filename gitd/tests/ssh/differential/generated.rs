//! Sequences of commits, pushes and deletions as they come.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::Pair;
use crate::harness::PATIENCE;

/// Some exclude each other.
const NAMES: [&str; 6] =
    ["refs/heads/main", "refs/heads/a", "refs/heads/a/b", "refs/tags/v1", "refs/tags/v1/x", "refs/airstrip/x"];

#[derive(Debug, Clone)]
enum Operation {
    Commit(u8),
    /// Commits in the middle of history, so that the next push is no fast-forward.
    Rewind,
    Push {
        force: bool,
        atomic: bool,
        refs: Vec<(bool, prop::sample::Index)>,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let refs = prop::collection::vec((prop::bool::weighted(0.3), any::<prop::sample::Index>()), 1..4);
    prop_oneof![
        2 => any::<u8>().prop_map(Operation::Commit),
        1 => Just(Operation::Rewind),
        5 => (any::<bool>(), any::<bool>(), refs)
            .prop_map(|(force, atomic, refs)| Operation::Push { force, atomic, refs }),
    ]
}

#[test]
fn sequences() {
    let cases = std::env::var("AIRSTRIP_DIFFERENTIAL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let sequence = prop::collection::vec(operation(), 4..12);
    TestRunner::new(config)
        .run(&sequence, |operations| {
            let done = runtime.block_on(async { tokio::time::timeout(10 * PATIENCE, perform(operations)).await });
            done.map_err(|_| TestCaseError::fail("it takes too long"))
        })
        .unwrap();
}

async fn perform(operations: Vec<Operation>) {
    let pair = Pair::new().await;
    for operation in operations {
        match operation {
            Operation::Commit(content) => {
                pair.git(&["commit", "-q", "--allow-empty", "-m", &content.to_string()]).await;
            }
            Operation::Rewind => {
                let tree = pair.git(&["rev-parse", "HEAD^{tree}"]).await;
                let commit = pair.git(&["commit-tree", "-m", "a new beginning", tree.trim()]).await;
                pair.git(&["reset", "-q", "--hard", commit.trim()]).await;
            }
            Operation::Push { force, atomic, refs } => push(&pair, force, atomic, &refs).await,
        }
    }
    if pair.world.repository("blog").exists() {
        pair.world.assert_clean("blog").await;
    }
    pair.world.stop().await;
}

async fn push(pair: &Pair, force: bool, atomic: bool, refs: &[(bool, prop::sample::Index)]) {
    let mut names: Vec<(&str, bool)> = refs.iter().map(|(delete, index)| (*index.get(&NAMES), *delete)).collect();
    names.sort_unstable();
    names.dedup_by_key(|(name, _)| *name);
    // Where they differ by intent: see the table.
    if atomic {
        names.retain(|(name, _)| !name.starts_with("refs/airstrip/"));
    }
    let refspec = |(name, delete): &(&str, bool)| if *delete { format!(":{name}") } else { format!("HEAD:{name}") };
    if names.is_empty() {
        return;
    }
    let refspecs: Vec<String> = names.iter().map(refspec).collect();
    let mut arguments: Vec<&str> = refspecs.iter().map(String::as_str).collect();
    arguments.extend(force.then_some("--force"));
    arguments.extend(atomic.then_some("--atomic"));
    let [here, there] = pair.push_both(&pair.work, &arguments).await;
    assert_eq!(here, there, "{arguments:?}");
    pair.assert_same().await;
}
