//! Commands: streams, status, signals, and readers and writers that are slow.

use std::process::Stdio;
use std::sync::Arc;

use gitd::{Channel, Ended};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

use crate::harness::{Conversation, PATIENCE, State, World, printed, run};

/// The commands of the test handler.
pub(crate) async fn serve(line: &str, mut channel: Channel, state: &Arc<State>) -> Ended {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["true"] => Ended::Status(0),
        ["exit", status] => Ended::Status(status.parse().unwrap()),
        ["die", signal] => Ended::Signal(signal.parse().unwrap()),
        ["panic"] => panic!("as the test wants"),
        ["echo"] => {
            copy(&mut channel.stdin, &mut channel.stdout).await.unwrap();
            Ended::Status(0)
        }
        ["count"] => {
            let count = copy(&mut channel.stdin, &mut sink()).await.unwrap();
            say(&mut channel, &count.to_string()).await
        }
        ["both"] => {
            channel.stdout.write_all(b"out\n").await.unwrap();
            channel.stderr.write_all(b"err\n").await.unwrap();
            Ended::Status(3)
        }
        ["zeros", count] => {
            let zeros = tokio::io::repeat(0).take(count.parse().unwrap());
            copy(&mut { zeros }, &mut channel.stdout).await.unwrap();
            Ended::Status(0)
        }
        ["say"] => {
            say(&mut channel, "ready").await;
            copy(&mut channel.stdin, &mut channel.stdout).await.unwrap();
            Ended::Status(0)
        }
        ["signalled"] => {
            say(&mut channel, "ready").await;
            let signal = channel.signals.recv().await.unwrap();
            say(&mut channel, &format!("signal {signal}")).await
        }
        ["until-hangup"] => {
            say(&mut channel, "ready").await;
            channel.hangup.cancelled().await;
            state.hung_up.notify_one();
            Ended::Status(0)
        }
        ["remove-keys"] => {
            state.forbid_all();
            state.forbidden.notified().await;
            Ended::Status(7)
        }
        ["env"] => {
            assert!(channel.env.iter().all(|(name, _)| name != "PATH" && name != "SECRET"));
            let lines: Vec<String> = channel.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
            say(&mut channel, &format!("{}\nend", lines.join("\n"))).await
        }
        ["shell"] => shell(channel).await,
        _ => {
            channel.stderr.write_all(format!("unknown: {line}\n").as_bytes()).await.unwrap();
            Ended::Status(127)
        }
    }
}

async fn say(channel: &mut Channel, line: &str) -> Ended {
    channel.stdout.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    Ended::Status(0)
}

/// Tells of its terminal, then of a change to 132 columns, then of the first input.
async fn shell(mut channel: Channel) -> Ended {
    let Some(mut terminal) = channel.terminal.clone() else { return say(&mut channel, "no terminal").await };
    let size = *terminal.size.borrow_and_update();
    say(&mut channel, &format!("term={} {}x{}\r", terminal.term, size.columns, size.rows)).await;
    // `stty` changes rows and columns one after the other.
    let size = *terminal.size.wait_for(|size| size.columns == 132).await.unwrap();
    say(&mut channel, &format!("changed {}x{}\r", size.columns, size.rows)).await;
    let mut input = [0; 1];
    channel.stdin.read_exact(&mut input).await.unwrap();
    say(&mut channel, &format!("input {input:?}\r")).await;
    Ended::Status(130)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_status() {
    let world = World::new().await;
    let finished = run(world.ssh().arg("both")).await;
    assert_eq!(finished.status.code(), Some(3));
    assert_eq!((finished.stdout.as_slice(), finished.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
    for status in [0, 1, 77, 254] {
        assert_eq!(run(world.ssh().arg(format!("exit {status}"))).await.status.code(), Some(status));
    }
    let finished = run(world.ssh().args(["-s", "nonsense"])).await;
    assert_eq!(finished.status.code(), Some(255));
    let finished = run(world.ssh().arg("panic")).await;
    assert_eq!(finished.status.code(), Some(255));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_by_a_signal() {
    let world = World::new().await;
    // OpenSSH's client tells a signal only by this line and status.
    let finished = run(world.ssh().args(["-o", "LogLevel=VERBOSE", "die 9"])).await;
    assert_eq!(finished.status.code(), Some(255));
    assert!(!printed(&finished).contains("Exit status"), "{}", printed(&finished));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_bits_both_ways() {
    let world = World::new().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    let back = talk(world.ssh().arg("echo"), bytes.clone()).await;
    assert!(back == bytes);
    let back = talk(world.ssh().args(["-s", "sftp"]), bytes.clone()).await;
    assert!(back == bytes);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn big_output_to_a_slow_reader() {
    let world = World::new().await;
    let mut client = world.ssh().arg("zeros 100000000").stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = client.stdout.take().unwrap();
    // Nothing is read until another command has been served: the first holds up nobody.
    assert!(run(world.ssh().arg("true")).await.status.success());
    let count = timeout(PATIENCE, copy(&mut stdout, &mut sink())).await.unwrap().unwrap();
    assert_eq!(count, 100_000_000);
    assert!(timeout(PATIENCE, client.wait()).await.unwrap().unwrap().success());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn big_input() {
    let world = World::new().await;
    let said = talk(world.ssh().arg("count"), vec![0; 100_000_000]).await;
    assert_eq!(said, b"100000000\n");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_reads_nothing_stops_nobody_on_its_connection() {
    let world = World::new().await;
    let socket = world.path("control").display().to_string();
    let mut master = Conversation::start(world.ssh().args(["-M", "-S", &socket, "until-hangup"]).stdin(Stdio::piped()));
    master.stdout_until("ready").await;
    // Far more than is buffered for it; the rest waits in the client.
    let mut stdin = master.process.stdin.take().unwrap();
    let feeding = tokio::spawn(async move { stdin.write_all(&vec![0; 20_000_000]).await });
    for _ in 0..3 {
        let said = talk(world.ssh().args(["-S", &socket, "echo"]), vec![1; 300_000]).await;
        assert_eq!(said.len(), 300_000);
    }
    assert!(!feeding.is_finished());
    feeding.abort();
    master.process.start_kill().unwrap();
    timeout(PATIENCE, world.state.hung_up.notified()).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_whose_output_is_not_read_goes_on_later() {
    let world = World::new().await;
    let mut client = world.ssh().arg("echo").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let mut feeding = tokio::spawn(async move { stdin.write_all(&vec![0; 40_000_000]).await });
    // The input cannot all go anywhere while nobody reads the output.
    assert!(timeout(std::time::Duration::from_secs(1), &mut feeding).await.is_err());
    let count = timeout(PATIENCE, copy(&mut stdout, &mut sink())).await.unwrap().unwrap();
    assert_eq!(count, 40_000_000);
    feeding.await.unwrap().unwrap();
    assert!(timeout(PATIENCE, client.wait()).await.unwrap().unwrap().success());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_hangs_up() {
    let world = World::new().await;
    let mut client = Conversation::start(world.ssh().arg("until-hangup"));
    client.stdout_until("ready").await;
    client.process.start_kill().unwrap();
    timeout(PATIENCE, world.state.hung_up.notified()).await.unwrap();

    // So does one that closes a channel of a connection that stays.
    let socket = world.path("control").display().to_string();
    let mut master = Conversation::start(world.ssh().args(["-M", "-S", &socket, "say"]).stdin(Stdio::piped()));
    master.stdout_until("ready").await;
    let mut client = Conversation::start(world.ssh().args(["-S", &socket, "until-hangup"]));
    client.stdout_until("ready").await;
    client.process.start_kill().unwrap();
    timeout(PATIENCE, world.state.hung_up.notified()).await.unwrap();
    drop(master.process.stdin.take());
    assert!(master.succeeds().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_channels_one_after_the_other_on_one_connection() {
    let world = World::new().await;
    let socket = world.path("control").display().to_string();
    let mut master = Conversation::start(world.ssh().args(["-M", "-S", &socket, "say"]).stdin(Stdio::piped()));
    master.stdout_until("ready").await;
    for status in 0..40 {
        let finished = run(world.ssh().args(["-S", &socket, &format!("exit {status}")])).await;
        assert_eq!(finished.status.code(), Some(status));
    }
    drop(master.process.stdin.take());
    assert!(master.succeeds().await);
    world.stop().await;
}

/// Sends all of the input while it reads all of the output.
pub(crate) async fn talk(command: &mut tokio::process::Command, input: Vec<u8>) -> Vec<u8> {
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = client.stdin.take().unwrap();
    let feeding = tokio::spawn(async move { stdin.write_all(&input).await });
    let finished = timeout(PATIENCE, client.wait_with_output()).await.unwrap().unwrap();
    feeding.await.unwrap().unwrap();
    assert!(finished.status.success());
    finished.stdout
}
