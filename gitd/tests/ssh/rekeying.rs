//! New keys in the middle of everything, and several pushes on one connection.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, copy, sink};
use tokio::time::timeout;

use crate::exec::talk;
use crate::harness::{Conversation, Decision, PATIENCE, World, printed, run};

/// A new key after so many bytes; each takes 10 ms or more in a debug build.
const OFTEN: &str = "RekeyLimit=2M";
/// OpenSSH looks ahead: with less than four of its packets it asks after each of them.
const EACH_PACKET: &str = "RekeyLimit=128K";

#[tokio::test(flavor = "multi_thread")]
async fn bytes_survive_new_keys_both_ways() {
    come_back(OFTEN, 20_000_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_survive_a_new_key_for_each_packet() {
    come_back(EACH_PACKET, 2_000_000).await;
}

/// So many bytes, to the server and back.
async fn come_back(keys: &str, count: usize) {
    let world = World::new().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(count).collect();
    assert!(talk(world.ssh().args(["-o", keys, "echo"]), bytes.clone()).await == bytes);
    world.stop().await;
}

/// The client asks for new keys while nobody reads what comes, so that the windows are exhausted.
#[tokio::test(flavor = "multi_thread")]
async fn new_keys_do_not_wait_for_readers() {
    let world = World::new().await;
    let mut client = world.ssh();
    client.args(["-v", "-o", "LogLevel=DEBUG1", "-o", "RekeyLimit=1G 1s", "zeros 20000000"]);
    let mut client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(client.stderr.take().unwrap()).lines();
    let mut keys = 0;
    while keys < 4 {
        let line = timeout(PATIENCE, log.next_line()).await.unwrap().unwrap().unwrap();
        keys += usize::from(line.contains("SSH2_MSG_NEWKEYS received"));
    }
    let mut stdout = client.stdout.take().unwrap();
    let rest = async { while log.next_line().await.unwrap().is_some() {} };
    let mut zeros = sink();
    let (count, ()) = timeout(PATIENCE, async { tokio::join!(copy(&mut stdout, &mut zeros), rest) }).await.unwrap();
    assert_eq!(count.unwrap(), 20_000_000);
    assert!(timeout(PATIENCE, client.wait()).await.unwrap().unwrap().success());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_and_clones_survive_new_keys() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    // No compression makes this smaller.
    let words = (0_u64..600_000).map(|word| word.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_string());
    let noise: String = words.collect();
    world.commit(&work, "noise", &noise).await;
    let ssh = format!("ssh {} -o {OFTEN}", world.ssh_options("key").join(" "));
    for arguments in [["push", "-q", "origin", "main"].as_slice(), &["clone", "-q", &world.url("blog"), "copy"]] {
        let finished = run(world.git(&work).env("GIT_SSH_COMMAND", &ssh).args(arguments)).await;
        assert!(finished.status.success(), "{}", printed(&finished));
    }
    world.git_ok(&work.join("copy"), &["fsck", "--full", "--strict"]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_fetches_and_commands_share_a_connection() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    let socket = world.path("control").display().to_string();
    let options = ["-o", OFTEN, "-M", "-S", &socket, "say"];
    let mut master = Conversation::start(world.ssh().args(options).stdin(Stdio::piped()));
    master.stdout_until("ready").await;
    let ssh = format!("ssh {} -S {socket}", world.ssh_options("key").join(" "));
    // One push waits for its handler, and holds nobody up.
    world.decide(Decision::Hold);
    let mut held =
        Conversation::start(world.git(&work).env("GIT_SSH_COMMAND", &ssh).args(["push", "origin", "main:held"]));
    held.stderr_until("Building").await;
    let shared = async |arguments: &[&str]| {
        let finished = run(world.git(&work).env("GIT_SSH_COMMAND", &ssh).args(arguments)).await;
        assert!(finished.status.success(), "{}", printed(&finished));
    };
    let url = world.url("blog");
    let bytes = vec![7; 3_000_000];
    let (one, other) = (["clone", "-q", &url, "one"], ["ls-remote", "-q", &url]);
    let mut echo = world.ssh();
    let (back, (), ()) =
        tokio::join!(talk(echo.args(["-S", &socket, "echo"]), bytes.clone()), shared(&one), shared(&other));
    assert!(back == bytes);
    assert!(held.runs());
    world.release();
    assert!(held.succeeds().await);
    drop(master.process.stdin.take());
    assert!(master.succeeds().await);
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_takes_nobody_new_and_lets_pushes_end() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.decide(Decision::Hold);
    let mut held = Conversation::start(world.git(&work).args(["push", "origin", "main"]));
    held.stderr_until("Building").await;
    world.server.as_ref().unwrap().stop_accepting();
    // What listened is closed as soon as the server has seen that.
    let refused = async { while run(world.ssh().arg("true")).await.status.success() {} };
    tokio::time::timeout(crate::harness::PATIENCE, refused).await.unwrap();
    world.release();
    assert!(held.succeeds().await);
    world.assert_clean("blog").await;
    world.stop().await;
}
