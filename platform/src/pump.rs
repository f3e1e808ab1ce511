//! Connects a channel and a process: bytes both ways as they are, window sizes, signals, hang-ups, the end.
//!
//! It ends when the process has ended and all its output has been handed over. A channel that hangs up ends it at once,
//! and the process with it.

use std::convert::Infallible;
use std::time::Duration;

use engine::{Control, Exit, Process, Streams};
use gitd::{Channel, Ended, Terminal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const CHUNK: usize = 32 * 1024;
/// How long a terminal may be silent after its program's end. What the program wrote is there at once; whatever it left
/// running in the background must not keep the user's terminal, as with any sshd.
const AFTERWARDS: Duration = Duration::from_millis(300);

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Runs until the process has ended or the channel hangs up.
pub async fn pump(mut process: Process, channel: Channel) -> Ended {
    let Channel { stdin, stdout, mut stderr, terminal, signals, hangup, .. } = channel;
    let (input, output, error) = match process.streams.take() {
        Some(Streams::Pipes { stdin, stdout, stderr }) => (stdin, stdout, Some(stderr)),
        Some(Streams::Terminal { input, output }) => (input, output, None),
        None => return Ended::Status(255),
    };
    let (control, pipes, ended) = (&*process.control, error.is_some(), CancellationToken::new());
    let exit = async {
        let exit = control.wait().await;
        ended.cancel();
        exit.unwrap_or(Exit::Lost)
    };
    let output = async {
        let mut stdout = stdout;
        copy_output(output, &mut stdout, (!pipes).then_some(&ended)).await;
    };
    let error = async {
        if let Some(error) = error {
            copy_output(error, &mut stderr, None).await;
        }
    };
    let exit = tokio::select! {
        biased;
        // Leaving drops the process, which kills it.
        () = hangup.cancelled() => return Ended::Signal(nix::libc::SIGHUP),
        (exit, (), ()) = async { tokio::join!(exit, output, error) } => exit,
        never = copy_input(stdin, input, pipes) => match never {},
        never = steer(control, terminal, signals) => match never {},
    };
    if let Exit::OutOfMemory(_) = exit {
        // Its status alone does not tell.
        let notice = format!(" !     {exit}: see `help resource:limit`\r\n");
        let _shown = hangup.run_until_cancelled(stderr.write_all(notice.as_bytes())).await;
    }
    how(exit)
}

fn how(exit: Exit) -> Ended {
    match exit {
        Exit::Status(status) => Ended::Status(u32::try_from(status).unwrap_or(255)),
        Exit::Signal(signal) => Ended::Signal(signal),
        Exit::OutOfMemory(_) => Ended::Signal(nix::libc::SIGKILL),
        Exit::Lost => Ended::Status(255),
    }
}

/// Copies until the process or the client closes. `ended`: after this, silence is an end too.
async fn copy_output(mut from: Reader, to: &mut Writer, ended: Option<&CancellationToken>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            biased;
            read = from.read(&mut buffer) => read,
            () = silence_after(ended) => return,
        };
        // A terminal reports its end as an input/output error.
        let Some(chunk) = read.ok().filter(|count| *count > 0).and_then(|count| buffer.get(..count)) else { return };
        // Returning closes the process' side: it learns that nobody reads any more.
        if to.write_all(chunk).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

async fn silence_after(ended: Option<&CancellationToken>) {
    match ended {
        Some(ended) => ended.cancelled().await,
        None => std::future::pending().await,
    }
    tokio::time::sleep(AFTERWARDS).await;
}

/// Copies what the client sends. At its end pipes are closed; a terminal has no such thing. Never returns: whatever the
/// process does not want any more is still taken from the client, who may be waiting to send something else.
async fn copy_input(mut from: Reader, mut to: Writer, close: bool) -> Infallible {
    let mut buffer = vec![0; CHUNK];
    let mut wanted = true;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let chunk = buffer.get(..count).unwrap_or_default();
        wanted = wanted && to.write_all(chunk).await.is_ok() && to.flush().await.is_ok();
    }
    if close {
        let _gone = to.shutdown().await;
        drop(to);
        return std::future::pending().await;
    }
    let _open = to;
    std::future::pending().await
}

/// Passes signals and window sizes on.
async fn steer(control: &dyn Control, terminal: Option<Terminal>, mut signals: mpsc::Receiver<i32>) -> Infallible {
    let signals = async {
        while let Some(signal) = signals.recv().await {
            // It may have ended in this moment.
            let _gone = control.signal(signal);
        }
    };
    let sizes = async {
        let Some(Terminal { mut size, .. }) = terminal else { return };
        while size.changed().await.is_ok() {
            let new = window(*size.borrow_and_update());
            let _gone = control.resize(new);
        }
    };
    tokio::join!(signals, sizes);
    std::future::pending().await
}

fn window(size: gitd::WindowSize) -> engine::WindowSize {
    engine::WindowSize { columns: size.columns, rows: size.rows }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use engine::EngineError;
    use tokio::io::{DuplexStream, duplex, empty, sink};
    use tokio::sync::watch;

    use super::*;

    /// What the engine is told of a program, and how the program ends.
    #[derive(Default)]
    struct Program {
        exit: watch::Sender<Option<Exit>>,
        heard: Mutex<Vec<String>>,
        changed: tokio::sync::Notify,
        killed: CancellationToken,
    }

    struct Handle(Arc<Program>);

    impl Handle {
        fn hear(&self, what: String) {
            self.0.heard.lock().unwrap().push(what);
            self.0.changed.notify_one();
        }
    }

    impl Drop for Handle {
        fn drop(&mut self) {
            self.0.killed.cancel();
        }
    }

    #[async_trait::async_trait]
    impl Control for Handle {
        fn kill(&self) -> Result<(), engine::EngineError> {
            Ok(())
        }
        fn was_refused_processes(&self) -> bool {
            false
        }
        fn signal(&self, signal: i32) -> Result<(), EngineError> {
            self.hear(format!("signal {signal}"));
            Ok(())
        }
        fn resize(&self, size: engine::WindowSize) -> Result<(), EngineError> {
            self.hear(format!("{}x{}", size.columns, size.rows));
            Ok(())
        }
        async fn wait(&self) -> Result<Exit, EngineError> {
            let mut exit = self.0.exit.subscribe();
            let exit = exit.wait_for(Option::is_some).await.unwrap();
            Ok(exit.unwrap())
        }
    }

    /// The program's own ends of its pipes.
    struct Inside {
        program: Arc<Program>,
        stdin: DuplexStream,
        stdout: DuplexStream,
        stderr: DuplexStream,
    }

    fn piped() -> (Process, Inside) {
        let program = Arc::new(Program::default());
        let ((input, stdin), (stdout, output), (stderr, error)) = (duplex(64), duplex(64), duplex(64));
        let streams = Streams::Pipes { stdin: Box::new(input), stdout: Box::new(output), stderr: Box::new(error) };
        let process = Process { streams: Some(streams), control: Box::new(Handle(program.clone())) };
        (process, Inside { program, stdin, stdout, stderr })
    }

    fn channel(
        stdin: impl AsyncRead + Send + Unpin + 'static,
        stdout: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Channel {
        Channel {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(sink()),
            terminal: None,
            env: Vec::new(),
            signals: mpsc::channel(1).1,
            hangup: CancellationToken::new(),
        }
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_and_all_output_comes_before_the_end() {
        let (process, mut inside) = piped();
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[(n % 4) as usize]).collect();
        let (mut client, output) = duplex(7);
        let running = tokio::spawn(pump(process, channel(std::io::Cursor::new(sent.clone()), output)));
        let program = tokio::spawn(async move {
            let mut read = Vec::new();
            inside.stdin.read_to_end(&mut read).await.unwrap();
            // It has ended before the client has read anything: what it wrote is in the pipes still.
            inside.program.exit.send_replace(Some(Exit::Status(3)));
            inside.stdout.write_all(&read).await.unwrap();
            drop(inside);
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, sent);
        program.await.unwrap();
        assert_eq!(running.await.unwrap(), Ended::Status(3));
    }

    #[tokio::test]
    async fn input_goes_on_when_the_output_is_closed() {
        let (process, inside) = piped();
        let Inside { program, mut stdin, stdout, stderr } = inside;
        drop((stdout, stderr));
        let (mut client, input) = duplex(16);
        let running = tokio::spawn(pump(process, channel(input, sink())));
        client.write_all(b"late").await.unwrap();
        let mut read = [0; 4];
        stdin.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"late");
        program.exit.send_replace(Some(Exit::Signal(9)));
        assert_eq!(running.await.unwrap(), Ended::Signal(9));
    }

    #[tokio::test]
    async fn a_hang_up_kills() {
        let (process, inside) = piped();
        let channel = channel(empty(), sink());
        let hangup = channel.hangup.clone();
        let running = tokio::spawn(pump(process, channel));
        hangup.cancel();
        assert_eq!(running.await.unwrap(), Ended::Signal(nix::libc::SIGHUP));
        assert!(inside.program.killed.is_cancelled());
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_does_not_stop_the_end() {
        let (process, mut inside) = piped();
        let (client, output) = duplex(16);
        drop(client);
        let running = tokio::spawn(pump(process, channel(empty(), output)));
        // The first write may be taken before the client's end is noticed.
        while inside.stdout.write_all(b"x").await.is_ok() {}
        drop(inside.stderr);
        inside.program.exit.send_replace(Some(Exit::Status(0)));
        assert_eq!(running.await.unwrap(), Ended::Status(0));
    }

    #[tokio::test]
    async fn a_terminal_ends_with_its_program_whatever_still_holds_it() {
        let program = Arc::new(Program::default());
        let ((input, _stdin), (mut stdout, output)) = (duplex(64), duplex(64));
        let streams = Streams::Terminal { input: Box::new(input), output: Box::new(output) };
        let process = Process { streams: Some(streams), control: Box::new(Handle(program.clone())) };
        let (signal, signals) = mpsc::channel(1);
        let (resize, size) = watch::channel(gitd::WindowSize { columns: 80, rows: 24 });
        let (mut client, to_client) = duplex(64);
        let mut channel = channel(empty(), to_client);
        channel.terminal = Some(Terminal { term: "xterm".into(), size });
        channel.signals = signals;
        let running = tokio::spawn(pump(process, channel));
        signal.send(2).await.unwrap();
        resize.send(gitd::WindowSize { columns: 100, rows: 30 }).unwrap();
        while program.heard.lock().unwrap().len() < 2 {
            program.changed.notified().await;
        }
        let mut heard = program.heard.lock().unwrap().clone();
        heard.sort();
        assert_eq!(heard, ["100x30", "signal 2"]);
        stdout.write_all(b"bye").await.unwrap();
        program.exit.send_replace(Some(Exit::Status(0)));
        assert_eq!(running.await.unwrap(), Ended::Status(0));
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"bye");
    }
}
