//! Further programs in a running instance.

use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, Exit, InstanceId, Streams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Output, SIZE, Terminal, World, command, stories, until, with_command_line};

stories![
    joins_the_same_sandbox,
    exits_and_signals,
    eight_bits_clean,
    a_program_that_is_not_there,
    a_terminal_with_size_and_job_control,
    control_c_reaches_the_foreground,
    a_signal_reaches_the_foreground,
    dropping_kills_the_session,
    dropping_hangs_up_first,
    the_end_of_the_instance_ends_it,
    what_was_detached_stays,
];

async fn sleeper(world: &World) -> InstanceId {
    world.launch("a", "echo kept > /tmp/note; echo ready; exec sleep 86410").await
}

async fn joins_the_same_sandbox(world: Arc<World>) {
    let id = sleeper(&world).await;
    world.logged("ready").await;
    let script = "cat /tmp/note; id -u; id -g; hostname; pwd; echo $SECRET; tr '\\0' ' ' < /proc/2/cmdline; cat /proc/self/status";
    let seen = world.exec(&id, script).await;
    assert!(seen.stdout.starts_with("kept\n1000\n1000\nblog\n/home/app\ns3cret\nsleep 86410 "), "{seen:?}");
    let groups = if crate::world::root() { "Groups:\t \n" } else { "Groups:" };
    for line in
        ["NoNewPrivs:\t1\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "Seccomp:\t2\n", groups]
    {
        assert!(seen.stdout.contains(line), "{line:?} in {}", seen.stdout);
    }
    let seen = world.exec(&id, "unshare -U true || mount -t tmpfs x /tmp").await;
    assert_ne!(seen.exit, Exit::Status(0), "{seen:?}");
}

async fn exits_and_signals(world: Arc<World>) {
    let id = sleeper(&world).await;
    let seen = world.exec(&id, "echo out; echo err >&2; exit 11").await;
    assert_eq!(seen, Output { stdout: "out\n".to_owned(), stderr: "err\n".to_owned(), exit: Exit::Status(11) });
    assert_eq!(world.exec(&id, "kill -TERM $$").await.exit, Exit::Signal(15));
    let mut process = world.engine.exec(&id, &command("echo ready; exec sleep 86411"), None).await.unwrap();
    let Some(Streams::Pipes { mut stdout, .. }) = process.streams.take() else { panic!("no pipes") };
    stdout.read_exact(&mut [0; 6]).await.unwrap();
    process.control.signal(2).unwrap();
    assert_eq!(process.control.wait().await.unwrap(), Exit::Signal(2));
    assert_eq!(process.control.wait().await.unwrap(), Exit::Signal(2));
    until(|| with_command_line("sleep 86411").is_empty()).await;
}

async fn eight_bits_clean(world: Arc<World>) {
    let id = sleeper(&world).await;
    let mut process = world.engine.exec(&id, &command("cat"), None).await.unwrap();
    let Some(Streams::Pipes { mut stdin, mut stdout, .. }) = process.streams.take() else { panic!("no pipes") };
    let sent: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move { stdin.write_all(&sent).await.unwrap() });
    let mut received = Vec::new();
    stdout.read_to_end(&mut received).await.unwrap();
    writer.await.unwrap();
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
    assert_eq!(process.control.wait().await.unwrap(), Exit::Status(0));
}

async fn a_program_that_is_not_there(world: Arc<World>) {
    let id = sleeper(&world).await;
    let mut missing = command("");
    missing.argv = vec!["no-such-program".to_owned()];
    for terminal in [None, Some(SIZE)] {
        let error = world.engine.exec(&id, &missing, terminal).await.unwrap_err();
        assert_eq!(error.to_string(), "no-such-program: No such file or directory");
    }
}

async fn a_terminal_with_size_and_job_control(world: Arc<World>) {
    let id = sleeper(&world).await;
    let mut shell = command("");
    shell.argv = ["bash", "--norc", "-i"].map(str::to_owned).to_vec();
    shell.env.extend([("PS1", "% "), ("TERM", "dumb")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut terminal = Terminal::new(world.engine.exec(&id, &shell, Some(SIZE)).await.unwrap());
    terminal.expect("% ").await;
    assert!(!String::from_utf8_lossy(&terminal.shown).contains("job control"), "no job control");
    terminal.input.write_all(b"stty size; tty\r").await.unwrap();
    terminal.expect("\n33 90\r\n/dev/pts/0\r\n% ").await;
    terminal.control.resize(engine::WindowSize { columns: 132, rows: 50 }).unwrap();
    terminal.input.write_all(b"stty size\r").await.unwrap();
    terminal.expect("\n50 132\r\n% ").await;
    terminal.input.write_all("echo gr\u{fc}n\r".as_bytes()).await.unwrap();
    terminal.expect("\ngr\u{fc}n\r\n% ").await;
    terminal.input.write_all(b"exit 21\r").await.unwrap();
    terminal.rest().await;
    assert_eq!(terminal.control.wait().await.unwrap(), Exit::Status(21));
}

async fn control_c_reaches_the_foreground(world: Arc<World>) {
    let id = sleeper(&world).await;
    let script = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.01; done";
    let mut terminal = Terminal::new(world.engine.exec(&id, &command(script), Some(SIZE)).await.unwrap());
    terminal.expect("ready").await;
    terminal.input.write_all(b"\x03").await.unwrap();
    terminal.expect("interrupted").await;
    assert_eq!(terminal.control.wait().await.unwrap(), Exit::Status(5));
}

async fn a_signal_reaches_the_foreground(world: Arc<World>) {
    let id = sleeper(&world).await;
    let mut shell = command("");
    shell.argv = ["bash", "--norc", "-i"].map(str::to_owned).to_vec();
    shell.env.extend([("PS1", "% "), ("TERM", "dumb")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut terminal = Terminal::new(world.engine.exec(&id, &shell, Some(SIZE)).await.unwrap());
    terminal.expect("% ").await;
    terminal.input.write_all(b"sleep 86412\r").await.unwrap();
    until(|| with_command_line("sleep 86412").len() == 1).await;
    terminal.control.signal(2).unwrap();
    until(|| with_command_line("sleep 86412").is_empty()).await;
    terminal.expect("% ").await;
    terminal.input.write_all(b"exit 0\r").await.unwrap();
    terminal.rest().await;
    assert_eq!(terminal.control.wait().await.unwrap(), Exit::Status(0));
}

async fn dropping_kills_the_session(world: Arc<World>) {
    let id = sleeper(&world).await;
    let script = "trap '' TERM HUP INT; sleep 86413 & sleep 86413 & echo ready; while :; do sleep 86413; done";
    for terminal in [None, Some(SIZE)] {
        let process = world.engine.exec(&id, &command(script), terminal).await.unwrap();
        until(|| with_command_line("sleep 86413").len() >= 3).await;
        drop(process);
        until(|| with_command_line("sleep 86413").is_empty()).await;
    }
    assert_eq!(world.exec(&id, "cat /tmp/note").await.stdout, "kept\n", "the instance goes on");
}

async fn dropping_hangs_up_first(world: Arc<World>) {
    let id = sleeper(&world).await;
    let script = "trap 'echo hung up > /tmp/note; exit' HUP; echo ready; while :; do sleep 0.01; done";
    let mut terminal = Terminal::new(world.engine.exec(&id, &command(script), Some(SIZE)).await.unwrap());
    terminal.expect("ready").await;
    drop(terminal);
    while world.exec(&id, "cat /tmp/note").await.stdout != "hung up\n" {}
}

async fn the_end_of_the_instance_ends_it(world: Arc<World>) {
    let id = sleeper(&world).await;
    let process = world.engine.exec(&id, &command("trap '' TERM; while :; do sleep 0.01; done"), None).await.unwrap();
    let stopped =
        tokio::time::timeout(Duration::from_secs(10), world.engine.stop(&id, Duration::from_millis(500))).await;
    assert_eq!(stopped.expect("stop hangs").unwrap(), Exit::Signal(15));
    assert_eq!(process.control.wait().await.unwrap(), Exit::Signal(9));
}

/// As with any ssh host: what a user detached on purpose outlives the session, and ends with the instance.
async fn what_was_detached_stays(world: Arc<World>) {
    let id = sleeper(&world).await;
    let seen = world.exec(&id, "setsid sleep 86414 < /dev/null > /dev/null 2>&1 &").await;
    assert_eq!(seen.exit, Exit::Status(0));
    until(|| with_command_line("sleep 86414").len() == 1).await;
    world.engine.stop(&id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(with_command_line("sleep 86414"), Vec::<u32>::new());
}
