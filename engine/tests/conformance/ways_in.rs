//! Streams, terminals, signals and connections.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Exit, InstanceId, Process, Streams, WindowSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Kind, Output, SIZE, Terminal, World, cases, command, id, output, until, with_command_line, words};

cases![
    one_offs_have_three_streams,
    execs_have_three_streams,
    streams_are_opened_by_name,
    streams_are_eight_bits_clean,
    ends_can_be_asked_for_again,
    signals_reach_the_program,
    terminals_have_a_size,
    shells_have_job_control,
    control_c_reaches_the_foreground,
    dropping_a_one_off_kills_everything,
    dropping_an_exec_kills_its_session,
    dropping_a_terminal_hangs_up_first,
    what_was_detached_stays,
    the_end_of_the_instance_ends_its_execs,
    one_offs_are_not_listed,
    execs_share_the_sandbox,
    execs_share_the_network,
    connections_in,
    many_connections_in,
    listening_addresses,
];

async fn sleeper(world: &World) -> InstanceId {
    let id = world.launch("a", "echo kept > /tmp/note; echo ready; exec sleep 86450").await;
    world.logged("ready").await;
    id
}

async fn one_offs_have_three_streams(world: Arc<World>) {
    let seen = world.run(&world.spec("echo out; echo err >&2; exit 6")).await;
    assert_eq!(seen, Output { stdout: "out\n".to_owned(), stderr: "err\n".to_owned(), exit: Exit::Status(6) });
    assert_eq!(world.run(&world.spec("kill -TERM $$")).await.exit, Exit::Signal(15));
    assert_eq!(world.log(), "", "a one-off has no log");
}

async fn execs_have_three_streams(world: Arc<World>) {
    let id = sleeper(&world).await;
    let seen = world.exec(&id, "echo out; echo err >&2; exit 11").await;
    assert_eq!(seen, Output { stdout: "out\n".to_owned(), stderr: "err\n".to_owned(), exit: Exit::Status(11) });
    assert_eq!(world.exec(&id, "kill -TERM $$").await.exit, Exit::Signal(15));
    assert_eq!(world.texts(), ["ready"], "an exec has no log");
}

/// As by servers that are told to log to `/dev/stdout`.
async fn streams_are_opened_by_name(world: Arc<World>) {
    let script = "cat /dev/stdin; echo out > /dev/stdout; echo err > /dev/stderr";
    let id = world.launch("a", &format!("{script}; echo ready; exec sleep 86454")).await;
    world.logged("ready").await;
    assert_eq!(world.texts(), ["out", "err", "ready"]);
    let expected = Output { stdout: "out\n".to_owned(), stderr: "err\n".to_owned(), exit: Exit::Status(0) };
    assert_eq!(world.exec(&id, script).await, expected);
    assert_eq!(world.run(&world.spec(script)).await, expected);
}

async fn streams_are_eight_bits_clean(world: Arc<World>) {
    let id = sleeper(&world).await;
    let one_off = world.engine.attach(&crate::world::id("run"), &world.spec("cat"), None).await.unwrap();
    let joined = world.engine.exec(&id, &command("cat"), None).await.unwrap();
    for mut process in [one_off, joined] {
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
}

async fn ends_can_be_asked_for_again(world: Arc<World>) {
    let id = sleeper(&world).await;
    let one_off = world.engine.attach(&crate::world::id("run"), &world.spec("exit 3"), None).await.unwrap();
    let joined = world.engine.exec(&id, &command("exit 3"), None).await.unwrap();
    for process in [one_off, joined] {
        assert_eq!(process.control.wait().await.unwrap(), Exit::Status(3));
        assert_eq!(process.control.wait().await.unwrap(), Exit::Status(3));
        assert!(process.control.signal(15).is_err(), "it has ended");
    }
}

async fn signals_reach_the_program(world: Arc<World>) {
    let id = sleeper(&world).await;
    let script = "trap 'echo got it; exit 3' USR1; echo ready; while :; do sleep 0.01; done";
    let one_off = world.engine.attach(&crate::world::id("run"), &world.spec(script), None).await.unwrap();
    let joined = world.engine.exec(&id, &command(script), None).await.unwrap();
    for mut process in [one_off, joined] {
        let Some(Streams::Pipes { mut stdout, stderr: _stderr, .. }) = process.streams.take() else {
            panic!("no pipes")
        };
        stdout.read_exact(&mut [0; 6]).await.unwrap();
        process.control.signal(10).unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).await.unwrap();
        assert_eq!((rest.as_str(), process.control.wait().await.unwrap()), ("got it\n", Exit::Status(3)));
    }
    let mut process = world.engine.exec(&id, &command("echo ready; exec sleep 86455"), None).await.unwrap();
    let Some(Streams::Pipes { mut stdout, .. }) = process.streams.take() else { panic!("no pipes") };
    stdout.read_exact(&mut [0; 6]).await.unwrap();
    process.control.signal(2).unwrap();
    assert_eq!(process.control.wait().await.unwrap(), Exit::Signal(2));
    until(|| with_command_line("sleep 86455").is_empty()).await;
}

async fn terminals_have_a_size(world: Arc<World>) {
    let id = sleeper(&world).await;
    let script = "tty; stty size; read line; echo \"<$line>\"; stty size; exit 8";
    let one_off = world.engine.attach(&crate::world::id("run"), &world.spec(script), Some(SIZE)).await.unwrap();
    let joined = world.engine.exec(&id, &command(script), Some(SIZE)).await.unwrap();
    for process in [one_off, joined] {
        let mut terminal = Terminal::new(process);
        terminal.expect("/dev/pts/0\r\n33 90\r\n").await;
        terminal.control.resize(WindowSize { columns: 120, rows: 44 }).unwrap();
        terminal.input.write_all(b"hello\r").await.unwrap();
        assert_eq!(terminal.rest().await, "hello\r\n<hello>\r\n44 120\r\n");
        assert_eq!(terminal.control.wait().await.unwrap(), Exit::Status(8));
    }
}

fn shell() -> engine::Command {
    let mut shell = words(&["bash", "--norc", "-i"]);
    shell.env.extend([("PS1", "% "), ("TERM", "dumb")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    shell
}

async fn shells_have_job_control(world: Arc<World>) {
    let id = sleeper(&world).await;
    let mut terminal = Terminal::new(world.engine.exec(&id, &shell(), Some(SIZE)).await.unwrap());
    terminal.expect("% ").await;
    assert!(!String::from_utf8_lossy(&terminal.shown).contains("job control"), "no job control");
    terminal.input.write_all(b"stty size; tty\r").await.unwrap();
    terminal.expect("\n33 90\r\n/dev/pts/0\r\n% ").await;
    terminal.control.resize(WindowSize { columns: 132, rows: 50 }).unwrap();
    terminal.input.write_all(b"stty size\r").await.unwrap();
    terminal.expect("\n50 132\r\n% ").await;
    terminal.input.write_all("echo gr\u{fc}n\r".as_bytes()).await.unwrap();
    terminal.expect("\ngr\u{fc}n\r\n% ").await;
    terminal.input.write_all(b"sleep 86451\r").await.unwrap();
    until(|| with_command_line("sleep 86451").len() == 1).await;
    terminal.control.signal(2).unwrap();
    until(|| with_command_line("sleep 86451").is_empty()).await;
    terminal.expect("% ").await;
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

async fn dropping_a_one_off_kills_everything(world: Arc<World>) {
    let script = "trap '' TERM HUP; setsid sleep 86452 & sleep 86452 & echo ready; sleep 86452";
    for terminal in [None, Some(SIZE)] {
        let process = world.engine.attach(&id("run"), &world.spec(script), terminal).await.unwrap();
        until(|| with_command_line("sleep 86452").len() >= 3).await;
        drop(process);
        until(|| with_command_line("sleep 86452").is_empty()).await;
    }
}

async fn dropping_an_exec_kills_its_session(world: Arc<World>) {
    let id = sleeper(&world).await;
    let script = "trap '' TERM HUP INT; sleep 86453 & sleep 86453 & echo ready; while :; do sleep 86453; done";
    for terminal in [None, Some(SIZE)] {
        let process = world.engine.exec(&id, &command(script), terminal).await.unwrap();
        until(|| with_command_line("sleep 86453").len() >= 3).await;
        drop(process);
        until(|| with_command_line("sleep 86453").is_empty()).await;
    }
    assert_eq!(world.exec(&id, "cat /tmp/note").await.stdout, "kept\n", "the instance goes on");
}

async fn dropping_a_terminal_hangs_up_first(world: Arc<World>) {
    let id = sleeper(&world).await;
    let script = "trap 'echo hung up > /tmp/note; exit' HUP; echo ready; while :; do sleep 0.01; done";
    let mut terminal = Terminal::new(world.engine.exec(&id, &command(script), Some(SIZE)).await.unwrap());
    terminal.expect("ready").await;
    drop(terminal);
    while world.exec(&id, "cat /tmp/note").await.stdout != "hung up\n" {}
}

/// As with any ssh host: what a user detached on purpose outlives the session, and ends with the instance.
async fn what_was_detached_stays(world: Arc<World>) {
    let id = sleeper(&world).await;
    let seen = world.exec(&id, "setsid sleep 86454 < /dev/null > /dev/null 2>&1 &").await;
    assert_eq!(seen.exit, Exit::Status(0));
    until(|| with_command_line("sleep 86454").len() == 1).await;
    world.engine.stop(&id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(with_command_line("sleep 86454"), Vec::<u32>::new());
}

async fn the_end_of_the_instance_ends_its_execs(world: Arc<World>) {
    let id = sleeper(&world).await;
    let stubborn = command("trap '' TERM; echo ready; while :; do sleep 0.01; done");
    let mut process: Process = world.engine.exec(&id, &stubborn, None).await.unwrap();
    let Some(Streams::Pipes { stdin, mut stdout, stderr }) = process.streams.take() else { panic!("no pipes") };
    stdout.read_exact(&mut [0; 6]).await.unwrap();
    let stopped = world.engine.stop(&id, Duration::from_millis(500));
    let stopped = tokio::time::timeout(Duration::from_secs(20), stopped).await;
    assert_eq!(stopped.expect("stop hangs").unwrap(), Exit::Signal(15));
    let ended = process.control.wait().await.unwrap();
    assert!(ended == Exit::Signal(9) || (world.kind == Kind::Docker && ended == Exit::Lost), "{ended:?}");
    drop((stdin, stdout, stderr));
}

async fn one_offs_are_not_listed(world: Arc<World>) {
    let process = world.engine.attach(&id("run"), &world.spec("sleep 0.1"), None).await.unwrap();
    assert_eq!(world.engine.list().await.unwrap(), []);
    assert_eq!(output(process).await.exit, Exit::Status(0));
}

async fn execs_share_the_sandbox(world: Arc<World>) {
    let id = sleeper(&world).await;
    let script = "cat /tmp/note; id -un; hostname; pwd; echo $SECRET; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 8645[0]'";
    let seen = world.exec(&id, script).await;
    assert_eq!(seen.stdout, "kept\napp\nblog\n/home/app\ns3cret\nsleep 86450\n", "{seen:?}");
    let seen = world.exec(&id, "cat /proc/self/status").await;
    for line in ["NoNewPrivs:\t1\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "Seccomp:\t2\n"] {
        assert!(seen.stdout.contains(line), "{line:?} in {}", seen.stdout);
    }
    let seen = world.exec(&id, "unshare -U true || mount -t tmpfs x /tmp").await;
    assert_ne!(seen.exit, Exit::Status(0), "{seen:?}");
}

const PYTHON: &str = "/usr/bin/python3";
const PORT: u16 = 5000;

/// Starts an instance with a server that answers in capitals, at an address that is a literal of Python's. `None`, with the
/// reason printed, where there is no Python.
async fn server(world: &World, at: &str) -> Option<InstanceId> {
    if !Path::new(PYTHON).exists() {
        println!("skipped: there is no {PYTHON}");
        return None;
    }
    let script = format!(
        "import socket
s=socket.create_server(('{at}',{PORT}), family=socket.AF_INET6 if ':' in '{at}' else socket.AF_INET); print('ready', flush=True)
while True:
    c,_=s.accept(); c.sendall(c.recv(100).upper()); c.close()"
    );
    let mut spec = world.spec("");
    spec.command.argv = [PYTHON, "-c", &script].map(str::to_owned).to_vec();
    let id = id("a");
    world.engine.launch(&id, &spec, "").await.unwrap();
    world.logged("ready").await;
    Some(id)
}

async fn ask(world: &World, id: &InstanceId) -> String {
    let mut stream = world.engine.connect(id, PORT).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn connections_in(world: Arc<World>) {
    for at in ["127.0.0.1", "0.0.0.0", "::1"] {
        let Some(id) = server(&world, at).await else { return };
        assert_eq!(ask(&world, &id).await, "HELLO", "{at}");
        let refused = world.engine.connect(&id, PORT + 1).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{at}");
        world.engine.stop(&id, Duration::ZERO).await.unwrap();
        world.engine.connect(&id, PORT).await.unwrap_err();
        world.engine.remove(&id).await.unwrap();
        std::fs::remove_file(world.path("log")).unwrap();
    }
}

async fn many_connections_in(world: Arc<World>) {
    let Some(id) = server(&world, "127.0.0.1").await else { return };
    for _ in 0..10 {
        let asked = (0..50).map(|_| ask(&world, &id));
        assert!(futures_util::future::join_all(asked).await.iter().all(|answer| answer == "HELLO"));
    }
}

async fn listening_addresses(world: Arc<World>) {
    let Some(id) = server(&world, "127.0.0.1").await else { return };
    assert_eq!(world.engine.listening(&id).await.unwrap(), [std::net::SocketAddr::from(([127, 0, 0, 1], PORT))]);
}

async fn execs_share_the_network(world: Arc<World>) {
    let Some(id) = server(&world, "127.0.0.1").await else { return };
    let script = format!(
        "import socket; s=socket.create_connection(('127.0.0.1', {PORT})); s.sendall(b'hello'); print(s.recv(9))"
    );
    let joined = world.engine.exec(&id, &words(&[PYTHON, "-c", &script]), None).await.unwrap();
    assert_eq!(output(joined).await.stdout, "b'HELLO'\n");
}
