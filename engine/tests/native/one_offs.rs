//! One-offs: their streams are the caller's, and so is their life.

use std::sync::Arc;

use engine::{Engine, Exit, Streams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Output, SIZE, Terminal, World, children, id, output, stories, until, with_command_line};

stories![
    pipes_are_apart,
    input_reaches_the_program_eight_bits_clean,
    signals_reach_the_program,
    a_terminal_of_its_own,
    dropping_kills_everything,
    dropping_a_terminal_kills_everything,
    nothing_is_on_disk,
];

async fn pipes_are_apart(world: Arc<World>) {
    let seen = world.run(&world.spec("echo out; echo err >&2; exit 6")).await;
    assert_eq!(seen, Output { stdout: "out\n".to_owned(), stderr: "err\n".to_owned(), exit: Exit::Status(6) });
    assert_eq!(world.log(), "", "a one-off has no log");
}

async fn input_reaches_the_program_eight_bits_clean(world: Arc<World>) {
    let mut process = world.engine.attach(&id("a"), &world.spec("cat"), None).await.unwrap();
    let Some(Streams::Pipes { mut stdin, mut stdout, .. }) = process.streams.take() else { panic!("no pipes") };
    let sent: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move { stdin.write_all(&sent).await.unwrap() });
    let mut received = Vec::new();
    stdout.read_to_end(&mut received).await.unwrap();
    writer.await.unwrap();
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
    assert_eq!(process.control.wait().await.unwrap(), Exit::Status(0));
    assert!(process.control.signal(15).is_err(), "it has ended");
}

async fn signals_reach_the_program(world: Arc<World>) {
    let script = "trap 'echo got it; exit 3' USR1; echo ready; while :; do sleep 0.01; done";
    let mut process = world.engine.attach(&id("a"), &world.spec(script), None).await.unwrap();
    let Some(Streams::Pipes { stdout, stdin, stderr }) = process.streams.take() else { panic!("no pipes") };
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "ready");
    process.control.signal(10).unwrap();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "got it");
    assert_eq!(process.control.wait().await.unwrap(), Exit::Status(3));
    drop((stdin, stderr));
}

async fn a_terminal_of_its_own(world: Arc<World>) {
    let script = "tty; stty size; read line; echo \"<$line>\"; stty size; exit 8";
    let mut terminal = Terminal::new(world.engine.attach(&id("a"), &world.spec(script), Some(SIZE)).await.unwrap());
    terminal.expect("/dev/pts/0\r\n33 90\r\n").await;
    terminal.control.resize(engine::WindowSize { columns: 120, rows: 44 }).unwrap();
    terminal.input.write_all(b"hello\r").await.unwrap();
    assert_eq!(terminal.rest().await, "hello\r\n<hello>\r\n44 120\r\n");
    assert_eq!(terminal.control.wait().await.unwrap(), Exit::Status(8));
}

async fn dropping_kills_everything(world: Arc<World>) {
    let script = "trap '' TERM HUP; setsid sleep 86401 & sleep 86401 & echo ready; sleep 86401";
    let mut process = world.engine.attach(&id("a"), &world.spec(script), None).await.unwrap();
    let Some(Streams::Pipes { mut stdout, .. }) = process.streams.take() else { panic!("no pipes") };
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).await.unwrap();
    until(|| with_command_line("sleep 86401").len() >= 3).await;
    drop(process);
    until(|| with_command_line("sleep 86401").is_empty()).await;
    until(|| children(std::process::id()).is_empty()).await;
}

async fn dropping_a_terminal_kills_everything(world: Arc<World>) {
    let script = "trap '' TERM HUP; setsid sleep 86402 & echo ready; sleep 86402";
    let mut terminal = Terminal::new(world.engine.attach(&id("a"), &world.spec(script), Some(SIZE)).await.unwrap());
    terminal.expect("ready").await;
    drop(terminal);
    until(|| with_command_line("sleep 86402").is_empty()).await;
}

async fn nothing_is_on_disk(world: Arc<World>) {
    let process = world.engine.attach(&id("a"), &world.spec("sleep 0.1"), None).await.unwrap();
    assert_eq!(std::fs::read_dir(world.path("run")).unwrap().count(), 0);
    assert_eq!(world.engine.list().await.unwrap(), []);
    assert_eq!(output(process).await.exit, Exit::Status(0));
}
