//! Much of everything. A part in every run; the whole with `AIRSTRIP_TEST_BULK=1`, which takes some minutes and 8 GB of memory.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use gitd::{Limits, Repository};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::crash::Other;
use crate::harness::{World, printed, url};

/// One of them.
pub(crate) fn size(part: usize, whole: usize) -> usize {
    if std::env::var_os("AIRSTRIP_TEST_BULK").is_some() { whole } else { part }
}

/// The whole has time.
pub(crate) const LONG: Duration = Duration::from_secs(1800);

/// Runs git to its end, however long it takes; whether it succeeded, and what it printed.
async fn git(world: &World, directory: &Path, arguments: &[&str]) -> (bool, String) {
    let finished = timeout(LONG, world.git(directory).args(arguments).output()).await.unwrap().unwrap();
    (finished.status.success(), printed(&finished))
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_in_parallel_to_several_apps() {
    let world = World::new().await;
    let work = world.work_tree("work").await;
    let (apps, pushes) = (size(4, 10), size(3, 5));
    let mut running = JoinSet::new();
    for (app, branch) in (0..apps).flat_map(|app| (0..pushes).map(move |branch| (app, branch))) {
        let head = world.commit(&work, "file", &format!("{app} {branch}\n")).await;
        let to = format!("{head}:refs/heads/b{branch}");
        let mut push = world.git(&work);
        push.args(["push", "-q", &world.url(&format!("app{app}")), &to]);
        running.spawn(async move { timeout(LONG, push.output()).await.unwrap().unwrap() });
    }
    while let Some(finished) = running.join_next().await {
        let finished = finished.unwrap();
        assert!(finished.status.success(), "{}", printed(&finished));
    }
    for app in (0..apps).map(|app| format!("app{app}")) {
        for branch in 0..pushes {
            assert!(world.server_ref(&app, &format!("refs/heads/b{branch}")).is_some());
        }
        world.assert_clean(&app).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_one_after_the_other_to_one_app() {
    let most = 10;
    let world = World::with_limits(Limits { packs: most, ..Limits::default() }).await;
    let work = world.work_tree("blog").await;
    for round in 0..size(25, 200) {
        let head = world.commit(&work, &format!("directory{}/file", round % 7), &format!("{round}\n")).await;
        world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
        assert_eq!(world.server_ref("blog", "refs/heads/main"), Some(head));
    }
    let world = world.stop_keeping(LONG).await;
    world.assert_clean("blog").await;
    let packs = world.packs("blog");
    assert!(packs <= most + 1, "{packs} packs");
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_refs() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    let (repository, head, count) = (world.repository("blog"), world.head(&work).await, size(5000, 100_000));
    let mut lines =
        (0..count).map(|number| format!("{head} refs/tags/t{}/{number}\n", number % 100)).collect::<Vec<_>>();
    lines.sort_by(|one, other| one[41..].cmp(&other[41..]));
    let header = "# pack-refs with: peeled fully-peeled sorted \n";
    std::fs::write(repository.join("packed-refs"), format!("{header}{}", lines.concat())).unwrap();
    let start = Instant::now();
    let (_, listed) = git(&world, &work, &["ls-remote", "origin"]).await;
    assert_eq!(listed.lines().count(), count + 2);
    world.commit(&work, "file", "two\n").await;
    let (pushed, said) =
        git(&world, &work, &["push", "origin", "main", "main:new", ":refs/tags/t5/5", "main:refs/tags/t6"]).await;
    // One of them is a directory of others.
    assert!(!pushed && said.contains("' exists; cannot create 'refs/tags/t6'"), "{said}");
    let (cloned, said) = git(&world, world.home.path(), &["clone", "-q", "--mirror", &world.url("blog"), "copy"]).await;
    assert!(cloned, "{said}");
    let (_, refs) = git(&world, &world.path("copy"), &["for-each-ref"]).await;
    assert_eq!(refs.lines().count(), count + 1);
    println!("{count} refs: {:?}", start.elapsed());
    world.assert_clean("blog").await;
    world.stop().await;
}

/// A file of so many MB of zeros, committed: its pack is a thousandth of that.
async fn zeros(world: &World, work: &Path, megabytes: usize) {
    File::create(work.join("zeros")).unwrap().set_len((megabytes as u64) << 20).unwrap();
    let (added, said) = git(world, work, &["add", "zeros"]).await;
    assert!(added, "{said}");
    world.git_ok(work, &["commit", "-q", "-m", "zeros"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_expands_a_thousand_times_is_refused_within_the_bound() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    zeros(&world, &work, size(400, 1500)).await;
    let other = Other::start(&world, "", 50).await;
    let before = other.peak_memory();
    let (pushed, said) = git(&world, &work, &["push", &url(other.port, "blog"), "main"]).await;
    assert!(!pushed && said.contains("an object exceeds the maximum allowed size (268435456 bytes)"), "{said}");
    let more = other.peak_memory() - before;
    assert!(more < 300, "{more} MB");
    Repository::open(&world.repository("blog")).unwrap();
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file() {
    let megabytes = size(64, 2048);
    let object_bytes = (megabytes + 1) << 20;
    let world = World::with_limits(Limits { object_bytes, pack_bytes: 4 << 30, ..Limits::default() }).await;
    let work = world.work_tree("blog").await;
    zeros(&world, &work, megabytes).await;
    // What the handler of these tests reads for its list it keeps as text.
    let (pushed, said) = git(&world, &work, &["push", "origin", "main:refs/tags/large"]).await;
    assert!(pushed, "{said}");
    let (cloned, said) = git(&world, world.home.path(), &["clone", "-q", "--bare", &world.url("blog"), "copy"]).await;
    assert!(cloned, "{said}");
    let (_, size) = git(&world, &world.path("copy"), &["cat-file", "-s", "refs/tags/large:zeros"]).await;
    assert_eq!(size.trim(), (megabytes << 20).to_string());
    world.stop().await;
}
