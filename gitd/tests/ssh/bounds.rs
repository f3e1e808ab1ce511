//! Every bound, and what whoever passes it is told.

use std::process::Stdio;
use std::time::{Duration, Instant};

use gitd::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::harness::{Conversation, PATIENCE, World, printed, run};
use crate::log;
use crate::raw_push::{NONE, commit_tree_blob, pack, push, send};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_log_in_is_sent_away() {
    let world = World::with_limits(Limits { login: Duration::from_secs(1), ..Limits::default() }).await;
    // Who has logged in may stay, longer than those who come after it and do not.
    let mut long = Conversation::start(world.ssh().arg("say").stdin(Stdio::piped()));
    long.stdout_until("ready").await;
    for hello in [b"".as_slice(), b"SSH-2.0-test\r\n"] {
        let mut stream = TcpStream::connect(("127.0.0.1", world.port())).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, hello).await.unwrap();
        let mut said = Vec::new();
        let _reset = timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap();
        assert!(said.starts_with(b"SSH-2.0-airstrip_"));
    }
    long.write(b"still here\n").await;
    long.stdout_until("still here").await;
    drop(long.process.stdin.take());
    assert!(long.succeeds().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_are_refused() {
    let world = World::with_limits(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = Conversation::start(world.ssh().arg("say").stdin(Stdio::piped()));
    first.stdout_until("ready").await;
    assert_eq!(run(world.ssh().arg("true")).await.status.code(), Some(255));
    drop(first.process.stdin.take());
    assert!(first.succeeds().await);
    world.stop().await;
}

/// A connection that sends a byte now and then would take for ever.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_trickles_in_without_a_key_is_sent_away() {
    assert_eq!(Limits::default().login, Duration::from_secs(20));
    let world = World::with_limits(Limits { login: Duration::from_secs(2), ..Limits::default() }).await;
    // A greeting that never ends; a key exchange that never ends.
    for hello in [b"SSH-2.0-".as_slice(), b"SSH-2.0-test\r\n\x00\x00\x0f\xf0"] {
        let start = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", world.port())).await.unwrap();
        stream.write_all(hello).await.unwrap();
        let trickle = async {
            let mut tick = interval(Duration::from_millis(100));
            let mut said = [0; 4096];
            loop {
                tokio::select! {
                    read = stream.read(&mut said) => if read.unwrap_or(0) == 0 { return },
                    _ = tick.tick() => if stream.write_all(b"x").await.is_err() { return },
                }
            }
        };
        timeout(PATIENCE, trickle).await.unwrap();
        let time = start.elapsed();
        assert!(time >= Duration::from_secs(2) && time < Duration::from_secs(20), "{time:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_of_an_address_or_without_a_key_are_told_so() {
    for (limits, reason) in [
        (Limits { connections: 2, ..Limits::default() }, "too many connections\r\n"),
        (Limits { connections_per_address: 2, ..Limits::default() }, "too many connections from your address\r\n"),
        (Limits { unauthenticated: 4, ..Limits::default() }, "too many connections that have not authenticated\r\n"),
    ] {
        let world = World::with_limits(limits).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(("127.0.0.1", world.port())).await.unwrap();
            stream.read_u8().await.unwrap();
            held.push(stream);
        }
        let mut stream = TcpStream::connect(("127.0.0.1", world.port())).await.unwrap();
        let mut said = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut said)).await.unwrap().unwrap();
        assert_eq!(said, reason);
        // There is room again as soon as those have gone.
        drop(held);
        let again = async { while !run(world.ssh().arg("true")).await.status.success() {} };
        timeout(PATIENCE, again).await.unwrap();
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_keys_are_logged_once_each_and_counted() {
    let world = World::with_limits(Limits { tries: 3, ..Limits::default() }).await;
    let mut command = world.ssh_with("stranger1");
    for name in ["stranger1", "stranger2", "stranger3", "stranger4"] {
        world.make_key(name, "ed25519").await;
        command.arg("-i").arg(world.path(name));
    }
    command.arg("-i").arg(world.path("key"));
    let finished = run(command.args(["-o", "LogLevel=INFO", "true"])).await;
    assert_eq!(finished.status.code(), Some(255));
    assert!(printed(&finished).contains("Too many authentication attempts"), "{}", printed(&finished));
    for (name, times) in [("stranger1", 1), ("stranger2", 1), ("stranger3", 1), ("stranger4", 0), ("key", 0)] {
        let shown = run(tokio::process::Command::new("ssh-keygen").arg("-lf").arg(world.path(name))).await;
        let fingerprint = printed(&shown).split(' ').nth(1).unwrap().to_owned();
        let lines = log::lines_with(&fingerprint);
        assert_eq!(lines.len(), times, "{name}: {lines:?}");
        let whole = |line: &String| line.contains("authentication refused") && line.contains("peer=127.0.0.1:");
        assert!(lines.iter().all(whole), "{lines:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lines_and_many_refs_are_refused() {
    let world = World::with_limits(Limits { packet_bytes: 200, commands: 2, refs: 3, ..Limits::default() }).await;
    let work = world.work_tree("blog").await;
    let [commit, root, blob] = commit_tree_blob(&world, &work).await;
    let objects = pack(&world, &work, &[&commit, &root, &blob]).await;
    let long = format!("refs/heads/{}", "x".repeat(200));
    let said = push(&world, &[(NONE, &commit, &long)], &objects).await;
    assert!(said.contains("ERR a line of 3") && said.contains(" bytes is too long: at most 200"), "{said}");
    let (one, two, three) = ((NONE, &*commit, "refs/heads/a"), (NONE, &*commit, "refs/heads/b"), (NONE, &*commit, "c"));
    let said = push(&world, &[one, two, three], &objects).await;
    assert!(said.contains("ERR too many refs in one push: at most 2"), "{said}");
    let said = push(&world, &[one, two], &objects).await;
    assert!(said.contains("ok refs/heads/b"), "{said}");
    world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    let output = world.git_fails(&work, &["push", "origin", "main:fourth"]).await;
    assert!(output.contains("the repository would have too many refs: at most 3"), "{output}");
    world.git_ok(&work, &["push", "-q", "origin", ":a", "+main:b"]).await;
    let said = send(&world, b"00ff").await;
    assert!(said.contains("ERR a line of 255 bytes is too long: at most 200"), "{said}");
    let output = world.git_fails(&work, &["push", "origin", "main:x", "main:y", "main:z"]).await;
    assert!(output.contains("too many refs in one push: at most 2"), "{output}");
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stalls_is_told_so() {
    let world = World::with_limits(Limits { stall: Duration::from_secs(1), ..Limits::default() }).await;
    let work = world.work_tree("blog").await;
    let [commit, tree, blob] = commit_tree_blob(&world, &work).await;
    let objects = pack(&world, &work, &[&commit, &tree, &blob]).await;
    let command = format!("{NONE} {commit} refs/heads/main\0report-status");
    let begin = [format!("{:04x}{command}0000", command.len() + 4).as_bytes(), &objects[..objects.len() / 2]].concat();
    let cases: [(&str, &[u8], &str); 4] = [
        ("git-receive-pack 'blog'", b"", "ERR the client made no progress for 1 s"),
        ("git-receive-pack 'blog'", b"00", "ERR the client made no progress for 1 s"),
        ("git-receive-pack 'blog'", &begin, "unpack the client made no progress for 1 s"),
        ("git-upload-pack 'blog'", b"0032want", "ERR the client made no progress for 1 s"),
    ];
    for (line, bytes, reason) in cases {
        let mut client = world.ssh().arg(line).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = client.stdin.take().unwrap();
        stdin.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        timeout(PATIENCE, client.stdout.take().unwrap().read_to_end(&mut said)).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains(reason), "{line}: {said}");
        drop(stdin);
        assert!(!timeout(PATIENCE, client.wait()).await.unwrap().unwrap().success());
    }
    world.assert_clean("blog").await;
    world.stop().await;
}
