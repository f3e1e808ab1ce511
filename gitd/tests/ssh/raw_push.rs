//! Pushes that no git would send, by a client made by hand.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::{PATIENCE, World};

pub(crate) const NONE: &str = "0000000000000000000000000000000000000000";
const CAPABILITIES: &str = "report-status";

/// Sends these bytes after the commands; what the server says, its advertisement included.
pub(crate) async fn push(world: &World, commands: &[(&str, &str, &str)], pack: &[u8]) -> String {
    push_to(world, (world.port(), PATIENCE), commands, pack).await
}

/// The same to the server at that port, which has so much time.
pub(crate) async fn push_to(
    world: &World,
    to: (u16, Duration),
    commands: &[(&str, &str, &str)],
    pack: &[u8],
) -> String {
    let mut bytes = Vec::new();
    for (index, (old, new, name)) in commands.iter().enumerate() {
        let capabilities = if index == 0 { format!("\0{CAPABILITIES}") } else { String::new() };
        packet(&mut bytes, &format!("{old} {new} {name}{capabilities}"));
    }
    bytes.extend_from_slice(b"0000");
    bytes.extend_from_slice(pack);
    send_to(world, to, &bytes).await
}

pub(crate) async fn send(world: &World, bytes: &[u8]) -> String {
    send_to(world, (world.port(), PATIENCE), bytes).await
}

async fn send_to(world: &World, (port, patience): (u16, Duration), bytes: &[u8]) -> String {
    let mut command = world.ssh_to(port, "key");
    command.arg("git-receive-pack 'blog'").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = command.spawn().unwrap();
    let mut stdin = client.stdin.take().unwrap();
    let mut said = Vec::new();
    let mut stdout = client.stdout.take().unwrap();
    let talk = async {
        stdin.write_all(bytes).await.unwrap();
        drop(stdin);
        stdout.read_to_end(&mut said).await.unwrap();
        client.wait().await.unwrap();
    };
    timeout(patience, talk).await.unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

fn packet(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(format!("{:04x}{line}", line.len() + 4).as_bytes());
}

/// A pack of exactly these objects.
pub(crate) async fn pack(world: &World, work: &Path, objects: &[&str]) -> Vec<u8> {
    let mut command = world.git(work);
    command.args(["pack-objects", "--stdout", "-q"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(objects.iter().flat_map(|id| [*id, "\n"]).collect::<String>().as_bytes()).await.unwrap();
    drop(stdin);
    timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap().stdout
}

pub(crate) async fn commit_tree_blob(world: &World, work: &Path) -> [String; 3] {
    let mut ids = [const { String::new() }; 3];
    for (id, name) in ids.iter_mut().zip(["HEAD", "HEAD^{tree}", "HEAD:file"]) {
        world.git_ok(work, &["rev-parse", name]).await.trim().clone_into(id);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_pack_is_taken() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let [commit, tree, blob] = commit_tree_blob(&world, &work).await;
    let pack = pack(&world, &work, &[&commit, &tree, &blob]).await;
    let said = push(&world, &[(NONE, &commit, "refs/heads/main")], &pack).await;
    assert!(said.ends_with("000eunpack ok\n0017ok refs/heads/main\n0000"), "{said}");
    assert_eq!(world.server_ref("blog", "refs/heads/main"), Some(commit));
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_noticed_whatever_it_is() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let [commit, tree, blob] = commit_tree_blob(&world, &work).await;
    for objects in [vec![&commit], vec![&commit, &tree], vec![&commit, &blob], vec![&tree, &blob]] {
        let objects: Vec<&str> = objects.into_iter().map(String::as_str).collect();
        let pack = pack(&world, &work, &objects).await;
        let said = push(&world, &[(NONE, &commit, "refs/heads/main")], &pack).await;
        assert!(said.contains("unpack ok\n"), "{objects:?}: {said}");
        assert!(said.contains("ng refs/heads/main missing necessary objects\n"), "{objects:?}: {said}");
        world.assert_clean("blog").await;
    }
    // What was refused is not there later either.
    let empty = pack(&world, &work, &[&tree, &blob]).await;
    let said = push(&world, &[(NONE, &commit, "refs/heads/main")], &empty).await;
    assert!(said.contains("ng refs/heads/main missing necessary objects\n"), "{said}");
    assert_eq!(world.server_ref("blog", "refs/heads/main"), None);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pack_is_refused_wherever_it_breaks() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let [commit, tree, blob] = commit_tree_blob(&world, &work).await;
    let good = pack(&world, &work, &[&commit, &tree, &blob]).await;
    let mut broken = vec![b"nonsense".to_vec(), Vec::new(), b"PACK".to_vec()];
    for position in (0..good.len()).step_by(17) {
        let mut bytes = good.clone();
        bytes[position] ^= 0xff;
        broken.push(bytes);
    }
    broken.push(good[..good.len() - 1].to_vec());
    broken.push(good[..good.len() / 2].to_vec());
    for pack in broken {
        let said = push(&world, &[(NONE, &commit, "refs/heads/main")], &pack).await;
        assert!(said.contains("unpack index-pack abnormal exit: "), "{said}");
        assert!(said.contains("ng refs/heads/main unpacker error\n"), "{said}");
        assert_eq!(world.server_ref("blog", "refs/heads/main"), None);
    }
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_and_wrong_commands_are_refused() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.git_ok(&work, &["push", "origin", "main"]).await;
    let [commit, tree, _] = commit_tree_blob(&world, &work).await;
    let empty = pack(&world, &work, &[]).await;
    let other = "1111111111111111111111111111111111111111";
    for (command, reason) in [
        ((other, commit.as_str(), "refs/heads/main"), "incorrect old value provided"),
        ((NONE, &commit, "refs/heads/main"), "incorrect old value provided"),
        ((NONE, other, "refs/heads/new"), "missing necessary objects"),
        ((NONE, &tree, "refs/heads/new"), "a branch cannot point to a tree"),
        ((NONE, &commit, "refs/heads/../../config"), "funny refname"),
        ((NONE, &commit, "refs/heads/a.lock"), "funny refname"),
        ((NONE, &commit, "../../../../tmp/x"), "funny refname"),
        ((NONE, &commit, "HEAD"), "funny refname"),
        ((NONE, &commit, "refs/airstrip/x"), "deny updating a hidden ref"),
        ((NONE, &commit, "refs/notes/x"), "only branches and tags are kept here"),
        ((other, NONE, "refs/heads/main"), "incorrect old value provided"),
    ] {
        let pack = if command.1 == NONE { &[] } else { empty.as_slice() };
        let said = push(&world, &[command], pack).await;
        assert!(said.contains(&format!("ng {} {reason}\n", command.2)), "{command:?}: {said}");
    }
    // The second of two commands for one ref is stale.
    let twice = [(NONE, commit.as_str(), "refs/heads/new"), (NONE, &commit, "refs/heads/new")];
    let said = push(&world, &twice, &empty).await;
    assert!(said.contains("ok refs/heads/new\n"), "{said}");
    assert!(said.contains("ng refs/heads/new incorrect old value provided\n"), "{said}");
    assert_eq!(world.server_ref("blog", "refs/heads/main"), Some(commit));
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_instead_of_commands_is_an_error() {
    let world = World::new().await;
    for bytes in ["nonsense", "zzzz", "0003", "0008abcd0000", "000dpush-cert0000", "00a0abc"] {
        let said = send(&world, bytes.as_bytes()).await;
        assert!(said.contains("ERR "), "{bytes}: {said}");
    }
    for bytes in ["", "0000"] {
        let said = send(&world, bytes.as_bytes()).await;
        assert!(said.ends_with("\n0000"), "{bytes}: {said}");
    }
    world.assert_clean("blog").await;
    world.stop().await;
}
