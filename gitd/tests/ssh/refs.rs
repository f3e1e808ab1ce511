//! Which refs can be made, moved and deleted.

use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn several_refs_tags_and_deletes() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let head = world.head(&work).await;
    world.git_ok(&work, &["tag", "light"]).await;
    world.git_ok(&work, &["tag", "-a", "-m", "annotated", "heavy"]).await;
    world.git_ok(&work, &["push", "origin", "main", "main:deep/er/branch", "light", "heavy"]).await;
    assert_eq!(world.server_ref("blog", "refs/heads/deep/er/branch"), Some(head.clone()));
    assert_eq!(world.server_ref("blog", "refs/tags/light"), Some(head));
    let heavy = world.git_ok(&work, &["rev-parse", "heavy"]).await;
    assert_eq!(world.server_ref("blog", "refs/tags/heavy").as_deref(), Some(heavy.trim()));

    world.git_ok(&work, &["push", "origin", "--delete", "deep/er/branch", "light"]).await;
    assert_eq!(world.server_ref("blog", "refs/heads/deep/er/branch"), None);
    assert_eq!(world.server_ref("blog", "refs/tags/light"), None);
    let update = world.state.updates.lock().unwrap().last().unwrap().clone();
    assert!(update.old.is_some() && update.new.is_none());
    // Where a directory of deleted refs is left over, a ref can be made.
    world.git_ok(&work, &["push", "origin", "main:deep"]).await;
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_push_and_no_new_objects() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.git_ok(&work, &["push", "origin", "main"]).await;
    let output = world.git_ok(&work, &["push", "origin", "main"]).await;
    assert!(output.contains("Everything up-to-date"), "{output}");
    // An empty pack.
    world.git_ok(&work, &["push", "origin", "main:second"]).await;
    assert_eq!(world.server_ref("blog", "refs/heads/second"), world.server_ref("blog", "refs/heads/main"));
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_and_kinds_are_refused() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    for (refspec, reason) in [
        ("main:refs/notes/commits", "(only branches and tags are kept here)"),
        ("main:refs/for/main", "(only branches and tags are kept here)"),
        ("main:refs/heads/HEAD", "(funny refname)"),
        ("main^{tree}:refs/heads/tree", "(a branch cannot point to a tree)"),
        ("main:file:refs/heads/blob", ""),
    ] {
        let output = world.git_fails(&work, &["push", "origin", refspec]).await;
        assert!(output.contains(reason), "{refspec}: {output}");
    }
    assert!(world.state.updates.lock().unwrap().is_empty());
    // Of several refs only the odd one is refused.
    world.git_fails(&work, &["push", "origin", "main", "main:refs/notes/commits"]).await;
    assert!(world.server_ref("blog", "refs/heads/main").is_some());
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_cannot_be_a_directory_of_refs() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.git_ok(&work, &["push", "origin", "main:refs/heads/a"]).await;
    let output = world.git_fails(&work, &["push", "origin", "main:refs/heads/a/b"]).await;
    assert!(output.contains("('refs/heads/a' exists; cannot create 'refs/heads/a/b')"), "{output}");
    world.git_ok(&world.repository("blog"), &["pack-refs", "--all"]).await;
    world.git_fails(&work, &["push", "origin", "main:refs/heads/a/b"]).await;
    // In one push, one after the other.
    let both = ["push", "origin", "main:refs/heads/c/d", "main:refs/heads/c"];
    world.git_fails(&work, &both).await;
    assert_eq!(world.server_ref("blog", "refs/heads/a/b"), None);
    // A packed ref moves and goes like any other.
    let head = world.commit(&work, "file", "two\n").await;
    world.git_ok(&work, &["push", "origin", "main:refs/heads/a"]).await;
    assert_eq!(world.server_ref("blog", "refs/heads/a"), Some(head));
    world.git_ok(&work, &["push", "origin", ":refs/heads/a"]).await;
    assert_eq!(world.server_ref("blog", "refs/heads/a"), None);
    world.assert_clean("blog").await;
    world.stop().await;
}
