//! Pushes by the real git.

use crate::harness::{Decision, World};

#[tokio::test(flavor = "multi_thread")]
async fn first_then_incremental_then_forced() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let first = world.head(&work).await;
    let output = world.git_ok(&work, &["push", "origin", "main"]).await;
    assert!(output.contains("remote: -----> Building"), "{output}");
    assert_eq!(world.server_ref("blog", "refs/heads/main"), Some(first.clone()));
    assert_eq!(world.state.visited.lock().unwrap().as_slice(), [r#"File file "one\n""#]);

    let second = world.commit(&work, "directory/more", "two\n").await;
    world.git_ok(&work, &["push", "origin", "main"]).await;
    assert_eq!(world.server_ref("blog", "refs/heads/main"), Some(second));
    let visited = world.state.visited.lock().unwrap().clone();
    assert_eq!(visited, ["Directory directory \"\"", r#"File directory/more "two\n""#, r#"File file "one\n""#]);

    world.git_ok(&work, &["reset", "-q", "--hard", &first]).await;
    let third = world.commit(&work, "file", "three\n").await;
    world.git_fails(&work, &["push", "origin", "main"]).await;
    world.git_ok(&work, &["push", "--force", "origin", "main"]).await;
    assert_eq!(world.server_ref("blog", "refs/heads/main"), Some(third));
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_with_the_reason() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.decide(Decision::Refuse("the build failed"));
    let output = world.git_fails(&work, &["push", "origin", "main"]).await;
    assert!(output.contains("! [remote rejected] main -> main (the build failed)"), "{output}");
    assert_eq!(world.server_ref("blog", "refs/heads/main"), None);
    world.assert_clean("blog").await;
    world.stop().await;
}
