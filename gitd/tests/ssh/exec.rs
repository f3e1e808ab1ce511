//! Commands, shells, terminals and forwarded connections.

use std::process::Stdio;
use std::sync::Arc;

use gitd::{Channel, Ended};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy};

use crate::harness::{PATIENCE, State, World, printed, run};

/// The commands of the test handler.
pub async fn serve(line: &str, mut channel: Channel, state: &Arc<State>) -> Ended {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["true"] => Ended::Status(0),
        ["exit", status] => Ended::Status(status.parse().unwrap()),
        ["die", signal] => Ended::Signal(signal.parse().unwrap()),
        ["echo"] => {
            copy(&mut channel.stdin, &mut channel.stdout).await.unwrap();
            Ended::Status(0)
        }
        ["both"] => {
            channel.stdout.write_all(b"out\n").await.unwrap();
            channel.stderr.write_all(b"err\n").await.unwrap();
            Ended::Status(3)
        }
        _ => {
            channel.stderr.write_all(format!("unknown: {line}\n").as_bytes()).await.unwrap();
            let _ = state;
            Ended::Status(127)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_status() {
    let world = World::new().await;
    let finished = run(world.ssh().arg("both")).await;
    assert_eq!(finished.status.code(), Some(3));
    assert_eq!((finished.stdout.as_slice(), finished.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
    world.stop().await;
}
