//! Pushes by the real git: what moves, what is shown, what is left.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gitd::{Limits, ObjectId, Repository, RepositoryError};
use tokio::process::Command;

use crate::harness::{Conversation, Decision, PATIENCE, World};

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
async fn a_thin_pack_is_completed() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let text = (0..20_000).map(|number| format!("line {number}")).collect::<Vec<_>>().join("\n");
    world.commit(&work, "big", &text).await;
    world.git_ok(&work, &["push", "origin", "main"]).await;
    let head = world.commit(&work, "big", &text.replace("line 777\n", "line seven\n")).await;
    world.git_ok(&work, &["push", "--thin", "origin", "main"]).await;
    assert_eq!(world.server_ref("blog", "refs/heads/main"), Some(head));
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_with_the_reason_and_accepted_later() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.decide(Decision::Refuse("the build failed"));
    let output = world.git_fails(&work, &["push", "origin", "main"]).await;
    assert!(output.contains("! [remote rejected] main -> main (the build failed)"), "{output}");
    assert_eq!(world.server_ref("blog", "refs/heads/main"), None);
    world.assert_clean("blog").await;

    world.decide(Decision::Keep);
    let output = world.git_ok(&work, &["push", "origin", "main"]).await;
    assert!(output.contains("remote:        kept 1"), "{output}");
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_handler_fails_the_push_alone() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.decide(Decision::Panic);
    world.git_fails(&work, &["push", "origin", "main"]).await;
    assert_eq!(world.server_ref("blog", "refs/heads/main"), None);
    world.decide(Decision::Accept);
    world.git_ok(&work, &["push", "origin", "main"]).await;
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_seen_before_the_end_and_shutdown_waits() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.decide(Decision::Hold);
    let mut push = Conversation::start(world.git(&work).args(["push", "origin", "main"]));
    push.stderr_until("remote: -----> Building").await;
    assert!(push.runs());
    assert_eq!(world.server_ref("blog", "refs/heads/main"), None);

    let (mut world, head) = (world, Some(()));
    let server = world.server.take().unwrap();
    let address = server.address();
    let stopping = tokio::spawn(server.shutdown(PATIENCE));
    // The listener is gone before the push is let go.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(push.runs() && !stopping.is_finished() && head.is_some());
    world.release();
    assert!(push.succeeds().await);
    tokio::time::timeout(PATIENCE, stopping).await.unwrap().unwrap();
    assert!(world.server_ref("blog", "refs/heads/main").is_some());
    world.assert_clean("blog").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_ever() {
    let mut world = World::new().await;
    let work = world.work_tree("blog").await;
    world.decide(Decision::Hold);
    let mut push = Conversation::start(world.git(&work).args(["push", "origin", "main"]));
    push.stderr_until("remote: -----> Building").await;
    let server = world.server.take().unwrap();
    tokio::time::timeout(PATIENCE, server.shutdown(Duration::from_millis(10))).await.unwrap();
    assert!(!push.succeeds().await);
    assert_eq!(world.server_ref("blog", "refs/heads/main"), None);
    world.assert_clean("blog").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_and_nothing_changes() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.decide(Decision::Hold);
    let mut command = world.git(&work);
    command.args(["push", "origin", "main"]);
    command.as_std_mut().process_group(0);
    let mut push = Conversation::start(&mut command);
    push.stderr_until("remote: -----> Building").await;
    push.interrupt();
    tokio::time::timeout(PATIENCE, world.state.cancelled.notified()).await.unwrap();
    assert!(!push.succeeds().await);
    // The next push shows that the lock is free again, and waits until the first has cleaned up.
    assert_eq!(world.server_ref("blog", "refs/heads/main"), None);
    world.decide(Decision::Accept);
    world.git_ok(&work, &["push", "origin", "main"]).await;
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_push_waits_for_the_first() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.decide(Decision::Hold);
    let mut first = Conversation::start(world.git(&work).args(["push", "origin", "main"]));
    first.stderr_until("remote: -----> Building").await;
    let mut second = Conversation::start(world.git(&work).args(["push", "origin", "main:other"]));
    second.stderr_until("remote: Waiting for another push to finish...").await;
    assert_eq!(world.state.updates.lock().unwrap().len(), 1);
    world.release();
    assert!(first.succeeds().await);
    second.stderr_until("remote: -----> Building").await;
    world.release();
    assert!(second.succeeds().await);
    assert_eq!(world.server_ref("blog", "refs/heads/other"), world.server_ref("blog", "refs/heads/main"));
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_waited_goes_on_from_where_the_branch_is_by_then() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let first_commit = world.head(&work).await;
    world.decide(Decision::Hold);
    let mut first = Conversation::start(world.git(&work).args(["push", "origin", "main"]));
    first.stderr_until("remote: -----> Building").await;
    let head = world.commit(&work, "file", "two\n").await;
    let mut second = Conversation::start(world.git(&work).args(["push", "origin", "main"]));
    second.stderr_until("remote: Waiting for another push to finish...").await;
    world.release();
    assert!(first.succeeds().await);
    second.stderr_until("remote: -----> Building").await;
    assert_eq!(world.server_ref("blog", "refs/heads/main"), Some(first_commit));
    world.release();
    assert!(second.succeeds().await);
    assert_eq!(world.server_ref("blog", "refs/heads/main"), Some(head));
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pushes_of_the_same_branch_do_not_both_win() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.decide(Decision::Hold);
    let mut first = Conversation::start(world.git(&work).args(["push", "origin", "main"]));
    first.stderr_until("remote: -----> Building").await;
    let mut second = Conversation::start(world.git(&work).args(["push", "origin", "main"]));
    second.stderr_until("remote: Waiting for another push to finish...").await;
    world.release();
    assert!(first.succeeds().await);
    second.stderr_until("(incorrect old value provided)").await;
    assert!(!second.succeeds().await);
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_are_handed_on_and_unknown_ones_refused() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let output = world.git_fails(&work, &["push", "-o", "no-cash", "origin", "main"]).await;
    assert!(output.contains(r#"(unknown push option "no-cash", known are: no-cache, dry-run)"#), "{output}");
    assert!(world.state.updates.lock().unwrap().is_empty());
    world.git_ok(&work, &["push", "-o", "no-cache", "-o", "dry-run", "origin", "main"]).await;
    assert_eq!(world.state.updates.lock().unwrap()[0].options, ["no-cache", "dry-run"]);
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_over_the_bound_is_refused_with_the_reason() {
    let world = World::with_limits(Limits { pack_bytes: 100_000, ..Limits::default() }).await;
    let work = world.work_tree("blog").await;
    // More than fits into all buffers between the client and the server.
    let noise: Vec<u8> = noise(24 << 20);
    std::fs::write(work.join("noise"), noise).unwrap();
    world.git_ok(&work, &["add", "--all"]).await;
    world.git_ok(&work, &["commit", "-q", "-m", "noise"]).await;
    let output = world.git_fails(&work, &["push", "origin", "main"]).await;
    assert!(output.contains("pack exceeds maximum allowed size (100000 bytes)"), "{output}");
    assert!(output.contains("! [remote rejected] main -> main (unpacker error)"), "{output}");
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_over_the_bound_is_refused_with_the_reason() {
    let world = World::with_limits(Limits { object_bytes: 1 << 20, ..Limits::default() }).await;
    // One is small until it is unpacked, the other is noticed while it comes in.
    for (name, content) in [("zeros", vec![0; 2 << 20]), ("noise", noise(8 << 20))] {
        let work = world.work_tree(name).await;
        std::fs::write(work.join(name), content).unwrap();
        world.git_ok(&work, &["add", "--all"]).await;
        world.git_ok(&work, &["commit", "-q", "-m", name]).await;
        let output = world.git_fails(&work, &["push", "origin", "main"]).await;
        assert!(output.contains("an object exceeds the maximum allowed size (1048576 bytes)"), "{output}");
        world.assert_clean(name).await;
    }
    world.stop().await;
}

/// Each object is within the bound, and packed they are next to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn many_objects_over_the_bounds_are_refused_with_the_reason() {
    for (limits, reason) in [
        (
            Limits { unpacked_bytes: 8 << 20, ..Limits::default() },
            "pack exceeds maximum allowed size when unpacked (8388608 bytes)",
        ),
        (
            Limits { pack_objects: 10, ..Limits::default() },
            "a pack of 12 objects exceeds the maximum allowed number (10)",
        ),
    ] {
        let world = World::with_limits(limits).await;
        let work = world.work_tree("blog").await;
        for number in 0..9 {
            std::fs::write(work.join(format!("zeros{number}")), vec![0; (1 << 20) + number]).unwrap();
        }
        world.git_ok(&work, &["add", "--all"]).await;
        world.git_ok(&work, &["commit", "-q", "--amend", "-m", "zeros"]).await;
        let output = world.git_fails(&work, &["push", "origin", "main"]).await;
        assert!(output.contains(reason), "{output}");
        world.assert_clean("blog").await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_leaves_nothing() {
    let world = World::new().await;
    let Some(disk) = SmallDisk::mount(&world.repository("")).await else {
        println!("skipped: a small disk cannot be mounted here");
        return world.stop().await;
    };
    let work = world.work_tree("blog").await;
    world.git_ok(&work, &["push", "origin", "main"]).await;
    let before = world.server_ref("blog", "refs/heads/main");
    std::fs::write(work.join("noise"), noise(8 << 20)).unwrap();
    world.git_ok(&work, &["add", "--all"]).await;
    world.git_ok(&work, &["commit", "-q", "-m", "noise"]).await;
    let output = world.git_fails(&work, &["push", "origin", "main"]).await;
    assert!(output.contains("no space left on the server"), "{output}");
    assert_eq!(world.server_ref("blog", "refs/heads/main"), before);
    world.assert_clean("blog").await;
    // There is room again for what fits.
    world.git_ok(&work, &["reset", "-q", "--hard", "HEAD^"]).await;
    world.commit(&work, "file", "small\n").await;
    world.git_ok(&work, &["push", "origin", "main"]).await;
    drop(disk);
    world.stop().await;
}

/// Four megabytes, until dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    async fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(at).stderr(Stdio::null());
        mount.status().await.unwrap().success().then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_the_handler_refuses_is_told_in_one_line() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let url = world.url("etc/passwd");
    let output = world.git_fails(&work, &["push", &url, "main"]).await;
    assert!(output.contains("fatal: remote error: 'etc/passwd' is no name of an app"), "{output}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_to_different_branches_at_the_same_time() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let mut pushes = Vec::new();
    for number in 0..8 {
        let branch = format!("main:refs/heads/branch-{number}");
        pushes.push(Conversation::start(world.git(&work).args(["push", "origin", &branch])));
    }
    for push in &mut pushes {
        assert!(push.succeeds().await);
    }
    let head = world.head(&work).await;
    for number in 0..8 {
        assert_eq!(world.server_ref("blog", &format!("refs/heads/branch-{number}")).as_deref(), Some(head.as_str()));
    }
    world.assert_clean("blog").await;
    world.stop().await;
}

/// Bytes that do not compress, the same every time.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count / 8).flat_map(|_| next()).collect()
}

/// git sends them as deltas, to whose bases they are applied in memory.
#[tokio::test(flavor = "multi_thread")]
async fn large_files_may_change_a_little() {
    let limits = Limits { object_bytes: 1 << 20, packs: 1, ..Limits::default() };
    let world = World::with_limits(limits).await;
    let work = world.work_tree("blog").await;
    let words = (0..120_000_u32).map(|number| format!("{:08x}", number.wrapping_mul(0x9e37_79b9)));
    let large = words.collect::<Vec<_>>().concat();
    for change in ["", "one", "two", "three"] {
        world.commit(&work, "large", &format!("{change}{large}{change}")).await;
        world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    }
    let one = async {
        // A push makes them one in the background, if that is not under way already.
        for number in 0.. {
            world.commit(&work, "file", &number.to_string()).await;
            world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
            let mut looks = 0..100;
            while world.packs("blog") > 1 && looks.next().is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if world.packs("blog") == 1 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, one).await.unwrap();
    world.git_ok(world.home.path(), &["clone", "-q", &world.url("blog"), "copy"]).await;
    assert_eq!(world.head(&world.path("copy")).await, world.head(&work).await);
    world.stop_keeping(PATIENCE).await.assert_clean("blog").await;
}

/// Bytes of a file, read from a repository of which no object is larger than `limit` bytes.
fn size(repository: &Path, commit: ObjectId, limit: usize, name: &[u8]) -> Result<usize, RepositoryError> {
    let mut size = None;
    Repository::open(repository)?.visit(commit, limit, &mut |entry| {
        size = size.or_else(|| (entry.path == name).then_some(entry.content.len()));
        Ok::<_, RepositoryError>(())
    })?;
    Ok(size.unwrap())
}

/// git sends them as a long chain of large deltas.
#[tokio::test(flavor = "multi_thread")]
async fn large_files_may_change_much_and_often() {
    let world = World::with_limits(Limits { object_bytes: 1 << 20, ..Limits::default() }).await;
    let work = world.work_tree("blog").await;
    let noise = noise(10 << 20);
    let mut parts: Vec<&[u8]> = noise.chunks(90 << 10).take(10).collect();
    for (change, new) in noise.chunks(90 << 10).skip(10).take(40).enumerate() {
        parts[change % 10] = new;
        if change % 4 == 3 {
            std::fs::write(work.join("large"), parts.concat()).unwrap();
            world.git_ok(&work, &["add", "large"]).await;
            world.git_ok(&work, &["commit", "-q", "-m", "change", "--no-gpg-sign"]).await;
        }
    }
    world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    for back in [0, 4, 9] {
        let branch = format!("back-{back}");
        world.git_ok(&work, &["push", "-q", "origin", &format!("main~{back}:refs/heads/{branch}")]).await;
        let (copy, url) = (format!("copy-{back}"), world.url("blog"));
        world.git_ok(world.home.path(), &["clone", "-q", "--depth", "1", "--branch", &branch, &url, &copy]).await;
    }
    // As a deploy of the branch reads it.
    let tip = world.server_ref("blog", "refs/heads/back-9").unwrap().parse().unwrap();
    assert_eq!(size(&world.repository("blog"), tip, 1 << 20, b"large").unwrap(), 10 * (90 << 10));
    size(&world.repository("blog"), tip, 100 << 10, b"large").unwrap_err();
    // Beside another one, which it is tried against.
    world.git_ok(&work, &["checkout", "-q", "-b", "two", "main~9"]).await;
    std::fs::write(work.join("other-large"), &noise[6 << 20..][..900 << 10]).unwrap();
    world.git_ok(&work, &["add", "other-large"]).await;
    world.git_ok(&work, &["commit", "-q", "-m", "two", "--no-gpg-sign"]).await;
    world.git_ok(&work, &["push", "-q", "origin", "two"]).await;
    let url = world.url("blog");
    world.git_ok(world.home.path(), &["clone", "-q", "--depth", "1", "--branch", "two", &url, "copy-two"]).await;
    // As a delta to what stands at the end of the chain.
    world.git_ok(&work, &["checkout", "-q", "-b", "side", "main~9"]).await;
    let large = std::fs::read(work.join("large")).unwrap();
    std::fs::write(work.join("large"), [b"new", large.as_slice()].concat()).unwrap();
    world.git_ok(&work, &["commit", "-q", "-am", "side", "--no-gpg-sign"]).await;
    world.git_ok(&work, &["push", "-q", "origin", "side"]).await;
    world.git_ok(&work, &["checkout", "-q", "main"]).await;
    world.git_ok(world.home.path(), &["clone", "-q", &world.url("blog"), "copy"]).await;
    assert_eq!(world.head(&world.path("copy")).await, world.head(&work).await);
    world.stop_keeping(PATIENCE).await.assert_clean("blog").await;
}
