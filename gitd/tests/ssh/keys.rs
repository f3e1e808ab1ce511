//! Who comes in.

use std::process::Stdio;

use russh::keys::ssh_key::{HashAlg, LineEnding, PrivateKey, private, public};
use tokio::net::TcpStream;

use crate::harness::{Conversation, World, printed, run};
use crate::log;

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_gets_nothing() {
    let world = World::new().await;
    world.make_key("stranger", "ed25519").await;
    let finished = run(world.ssh_with("stranger").arg("true")).await;
    assert_eq!(finished.status.code(), Some(255));
    assert!(printed(&finished).contains("Permission denied (publickey)"), "{}", printed(&finished));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_kinds_of_keys_and_no_sha1() {
    let world = World::new().await;
    for kind in ["ecdsa", "rsa"] {
        world.make_key(kind, kind).await;
        world.allow(kind);
        let finished = run(world.ssh_with(kind).arg("true")).await;
        assert!(finished.status.success(), "{kind}: {}", printed(&finished));
    }
    let sha1 = ["-o", "PubkeyAcceptedAlgorithms=ssh-rsa"];
    let finished = run(world.ssh_with("rsa").args(sha1).arg("true")).await;
    assert_eq!(finished.status.code(), Some(255));
    world.stop().await;
}

/// Both kinds, however they are used: the signature would say whether somebody touched the key, but nobody here gets to see that.
#[tokio::test(flavor = "multi_thread")]
async fn security_keys_are_refused_and_the_log_says_why() {
    let world = World::new().await;
    for (name, flags) in [("touched", 1), ("untouched", 0)] {
        let public = public::SkEd25519::new(public::Ed25519PublicKey([flags; 32]), "ssh:");
        let pair = private::SkEd25519::new(public, flags, [7; 64]).unwrap();
        let key = PrivateKey::new(private::KeypairData::SkEd25519(pair), "a token").unwrap();
        key.write_openssh_file(world.path(name), LineEnding::LF).unwrap();
        key.public_key().write_openssh_file(world.path(&format!("{name}.pub"))).unwrap();
        world.allow(name);
        let finished = run(world.ssh_with(name).arg("true")).await;
        assert_eq!(finished.status.code(), Some(255));
        assert!(printed(&finished).contains("Permission denied (publickey)"), "{}", printed(&finished));
        let lines = log::lines_with(&key.public_key().fingerprint(HashAlg::Sha256).to_string());
        assert!(lines.iter().any(|line| line.contains("that the security key was touched")), "{lines:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_key_gets_no_new_channel_and_its_sessions_end() {
    let world = World::new().await;
    let socket = world.path("control").display().to_string();
    let mut master = Conversation::start(world.ssh().args(["-M", "-S", &socket, "until-hangup"]).stdin(Stdio::null()));
    master.stdout_until("ready").await;
    let through = ["-S", &socket, "both"];
    assert_eq!(run(world.ssh().args(through)).await.status.code(), Some(3));
    world.forbid_all();
    // Whether it comes before or after the connection has ended.
    assert_eq!(run(world.ssh().args(through)).await.status.code(), Some(255));
    // Nothing else ends it.
    master.succeeds().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_removes_the_own_key_sees_how_that_ended() {
    let world = World::new().await;
    let finished = run(world.ssh().arg("remove-keys")).await;
    assert_eq!(finished.status.code(), Some(7), "{}", printed(&finished));
    assert_eq!(run(world.ssh().arg("true")).await.status.code(), Some(255));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_does_not_hurt() {
    let world = World::new().await;
    for nonsense in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xff; 5000], b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff"] {
        let mut stream = TcpStream::connect(("127.0.0.1", world.port())).await.unwrap();
        let _reset = tokio::io::AsyncWriteExt::write_all(&mut stream, nonsense).await;
    }
    assert!(run(world.ssh().arg("true")).await.status.success());
    world.stop().await;
}
