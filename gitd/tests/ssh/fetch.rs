//! Clone and fetch by the real git.

use std::path::{Path, PathBuf};

use gitd::Limits;

use crate::harness::{PATIENCE, World};

/// A clone of an app beside the working copy.
async fn clone(world: &World, app: &str) -> PathBuf {
    let to = world.path(&format!("clone-{app}"));
    let url = world.url(app);
    world.git_ok(world.home.path(), &["clone", "-q", &url, &to.display().to_string()]).await;
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn clone_then_fetch_what_is_new() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    for number in 0..30 {
        world.commit(&work, &format!("directory-{}/file", number % 3), &format!("{number}\n")).await;
    }
    world.git_ok(&work, &["tag", "-a", "-m", "first", "v1"]).await;
    world.git_ok(&work, &["push", "-q", "origin", "main", "v1", "main~3:refs/heads/old"]).await;
    let copy = clone(&world, "blog").await;
    assert_eq!(world.head(&copy).await, world.head(&work).await);
    world.git_ok(&copy, &["fsck", "--full", "--strict"]).await;
    let refs = world.git_ok(&copy, &["for-each-ref", "--format=%(refname)"]).await;
    for name in ["refs/heads/main", "refs/remotes/origin/HEAD", "refs/remotes/origin/old", "refs/tags/v1"] {
        assert!(refs.contains(name), "{refs}");
    }

    world.commit(&work, "more", "new\n").await;
    world.git_ok(&work, &["tag", "-a", "-m", "second", "v2"]).await;
    world.git_ok(&work, &["push", "-q", "origin", "main", "v2"]).await;
    world.git_ok(&copy, &["pull", "-q"]).await;
    assert_eq!(world.head(&copy).await, world.head(&work).await);
    world.git_ok(&copy, &["fsck", "--full", "--strict"]).await;
    assert!(world.git_ok(&copy, &["tag"]).await.contains("v2"));
    // Commit, tree, blob and tag: nothing that was there before.
    let counted = world.git_ok(&copy, &["count-objects", "-v"]).await;
    assert!(counted.contains("count: 4\n"), "{counted}");
    world.stop().await;
}

/// Bytes of the packs in a clone.
fn packed(copy: &Path) -> u64 {
    let packs = std::fs::read_dir(copy.join(".git/objects/pack")).unwrap();
    let packs = packs.map(|entry| entry.unwrap()).filter(|entry| entry.path().extension().unwrap() == "pack");
    packs.map(|pack| pack.metadata().unwrap().len()).sum()
}

/// Large files of which little changes, pushed one commit after the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_about_as_small_as_from_git() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    let text = |round: usize, file: usize| {
        let line = |number: usize| format!("{}\n", (number * number * 7919 + file).wrapping_mul(1_000_003));
        let changed = |number: usize| if number == round * 7 % 500 { line(number + round) } else { line(number) };
        (0..500).map(changed).collect::<String>()
    };
    for round in 0..12 {
        for file in 0..4 {
            world.commit(&work, &format!("a/b{file}/large.txt"), &text(round, file)).await;
        }
        world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    }
    let from_git = format!("file://{}", world.repository("blog").display());
    let mut sizes = Vec::new();
    for (index, url) in [from_git, world.url("blog")].into_iter().enumerate() {
        let copy = world.path(&format!("copy{index}"));
        world.git_ok(&work, &["clone", "-q", &url, copy.to_str().unwrap()]).await;
        let whole = packed(&copy);
        world.git_ok(&copy, &["fsck", "--full", "--strict"]).await;
        let old = world.path(&format!("old{index}"));
        let begin = world.git_ok(&work, &["rev-parse", "main~20"]).await;
        world.git_ok(&work, &["init", "-q", old.to_str().unwrap()]).await;
        world.git_ok(&old, &["config", "transfer.unpackLimit", "1"]).await;
        world.git_ok(&old, &["fetch", "-q", &work.display().to_string(), begin.trim()]).await;
        world.git_ok(&old, &["update-ref", "refs/heads/old", begin.trim()]).await;
        let before = packed(&old);
        world.git_ok(&old, &["fetch", "-q", &url, "main"]).await;
        world.git_ok(&old, &["fsck", "--full", "--strict"]).await;
        sizes.push((whole, packed(&old) - before));
    }
    let [(their_clone, their_fetch), (our_clone, our_fetch)] = sizes[..] else { panic!("two") };
    println!("clone {our_clone} against {their_clone}, fetch {our_fetch} against {their_fetch}");
    assert!(our_clone * 2 <= their_clone * 3 && our_fetch * 2 <= their_fetch * 3, "{sizes:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_went_its_own_way() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    let copy = clone(&world, "blog").await;
    for number in 0..40 {
        world.commit(&copy, "mine", &format!("{number}\n")).await;
    }
    let head = world.commit(&work, "theirs", "new\n").await;
    world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    world.git_ok(&copy, &["fetch", "-q"]).await;
    assert_eq!(world.git_ok(&copy, &["rev-parse", "origin/main"]).await.trim(), head);
    world.git_ok(&copy, &["fsck", "--full", "--strict"]).await;
    world.git_ok(&copy, &["pull", "-q", "--rebase"]).await;
    world.git_ok(&copy, &["push", "-q"]).await;
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_repository_and_none_at_all() {
    let world = World::new().await;
    gitd::Repository::init(&world.repository("blog")).unwrap();
    let output = world.git_ok(world.home.path(), &["clone", &world.url("blog"), "empty"]).await;
    assert!(output.contains("You appear to have cloned an empty repository"), "{output}");
    let output = world.git_fails(world.home.path(), &["clone", &world.url("nothing"), "none"]).await;
    assert!(output.contains("fatal: remote error: no such app"), "{output}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_is_told() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    let url = world.url("blog");
    let output = world.git_fails(&work, &["clone", "--filter=tree:0", &url, "partial"]).await;
    assert!(output.contains("invalid filter-spec 'tree:0'"), "{output}");
    let output = world.git_fails(&work, &["clone", "--shallow-exclude=main", &url, "nothing"]).await;
    assert!(output.contains("no commits selected for shallow requests"), "{output}");
    let stranger = "1111111111111111111111111111111111111111";
    let output = world.git_fails(&work, &["fetch", &url, stranger]).await;
    assert!(output.contains(stranger), "{output}");
    assert!(world.git_ok(&work, &["ls-remote", "--symref", &url]).await.contains("ref: refs/heads/main\tHEAD"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_become_one_while_others_fetch() {
    let world = World::with_limits(Limits { packs: 3, ..Limits::default() }).await;
    let work = world.work_tree("blog").await;
    for number in 0..8 {
        world.commit(&work, "file", &format!("{number}\n")).await;
        let copy = format!("copy{number}");
        let url = world.url("blog");
        world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
        let (one, other) = (["clone", "-q", &url, &copy], ["push", "-q", "origin", &format!("main:b{number}")]);
        tokio::join!(world.git_ok(world.home.path(), &one), world.git_ok(&work, &other));
    }
    let few = async {
        while world.packs("blog") > 4 {
            world.commit(&work, "file", &format!("{:?}\n", std::time::Instant::now())).await;
            world.git_ok(&work, &["push", "-q", "--force", "origin", "main"]).await;
        }
    };
    tokio::time::timeout(PATIENCE, few).await.unwrap();
    world.git_ok(world.home.path(), &["clone", "-q", &world.url("blog"), "last"]).await;
    let mut world = world;
    let server = world.server.take().unwrap();
    tokio::time::timeout(PATIENCE, server.shutdown(PATIENCE)).await.unwrap();
    world.assert_clean("blog").await;
}
