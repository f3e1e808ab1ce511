//! `airstrip demo`: the main job before one's eyes, in a temporary home, with the real git and ssh.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::control::call;
use crate::failure::{Failure, Result};
use crate::home::control_socket;

/// The app that is pushed.
const HELLO: [(&str, &str); 3] = [
    ("app.py", include_str!("../../examples/hello/app.py")),
    ("requirements.txt", include_str!("../../examples/hello/requirements.txt")),
    ("Procfile", include_str!("../../examples/hello/Procfile")),
];

/// How long the server has to become ready, and to end.
const SERVER_LIMIT: Duration = Duration::from_secs(60);
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Runs the demo; with `exit` it ends after the request. Nothing of it is left afterwards.
pub async fn run(exit: bool) -> Result<()> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let directory = tempfile::Builder::new()
        .prefix("airstrip-demo-")
        .tempdir()
        .map_err(|e| Failure::io("making a temporary directory", &e))?;
    let mut server = DemoServer::start(directory.path()).await?;
    let shown = tokio::select! {
        shown = show(&server, exit) => shown,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    };
    let stopped = server.stop().await;
    directory.close().map_err(|e| Failure::io("removing the temporary directory", &e))?;
    shown.and(stopped)
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).map_err(|e| Failure::io("listening for signals", &e))
}

/// Push, page, and what to try next.
async fn show(server: &DemoServer, exit: bool) -> Result<()> {
    let hello = server.directory.join("hello");
    write_app(&hello)?;
    let remote = format!("ssh://airstrip@{}/hello", server.ssh);
    for args in [
        &["init", "--quiet", "--initial-branch=main"][..],
        &["add", "."],
        &["-c", "user.name=demo", "-c", "user.email=demo@localhost", "commit", "--quiet", "--message=Hello"],
        &["remote", "add", "airstrip", &remote],
    ] {
        succeed(server.git(&hello).args(args)).await?;
    }
    say(&format!("$ git push {remote} main"));
    succeed(server.git(&hello).args(["push", "airstrip", "main"])).await?;
    say(&format!("\n$ curl http://hello.localhost:{}/", server.http_port()));
    let page = tokio::time::timeout(REQUEST_LIMIT, request(&server.http, "hello.localhost")).await;
    say(page
        .map_err(|_| Failure::plain("the page did not answer in time"))?
        .map_err(|e| Failure::io("requesting the page", &e))??
        .trim_end());
    if exit {
        return Ok(());
    }
    say(&server.what_next(&hello));
    std::future::pending().await
}

/// Whoever watches may have gone (`demo | head`); the demo must still end in order.
fn say(text: &str) {
    let _gone = writeln!(std::io::stdout(), "{text}");
}

fn write_app(directory: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Failure::io(directory.display(), &e);
    std::fs::create_dir(directory).map_err(failed)?;
    HELLO.iter().try_for_each(|(name, text)| std::fs::write(directory.join(name), text)).map_err(failed)
}

async fn succeed(command: &mut Command) -> Result<()> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await.map_err(|e| Failure::io(&name, &e))?;
    status.success().then_some(()).ok_or_else(|| Failure::plain(format!("{name} failed ({status})")))
}

/// The body of a page, if its status is 200.
async fn request(address: &str, host: &str) -> std::io::Result<Result<String>> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or("nothing").to_owned();
    Ok(if status.contains(" 200 ") {
        Ok(body.to_owned())
    } else {
        Err(Failure::plain(format!("the page answered {status}")))
    })
}

/// The server under demonstration, a child of this process.
struct DemoServer {
    child: Child,
    directory: PathBuf,
    ssh: String,
    http: String,
}

impl DemoServer {
    async fn start(directory: &Path) -> Result<Self> {
        let io = |e: std::io::Error| Failure::io("starting the server", &e);
        succeed(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f"])
                .arg(directory.join("key")),
        )
        .await?;
        let log = std::fs::File::create(directory.join("server.log")).map_err(io)?;
        let mut command = airstrip(directory)?;
        command.args(["serve", "--ssh", "127.0.0.1:0", "--http", "127.0.0.1:0", "--domain", "localhost"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn().map_err(io)?;
        let ready = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        let mut ready = ready.ok_or_else(|| Failure::plain("the server has no output"))?;
        let line = tokio::time::timeout(SERVER_LIMIT, ready.next_line())
            .await
            .map_err(|_| Failure::plain("the server did not become ready"))?;
        let line = line.map_err(io)?.ok_or_else(|| did_not_start(directory))?;
        let field =
            |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_default().to_owned();
        let server = Self { child, directory: directory.to_owned(), ssh: field("ssh="), http: field("http=") };
        server.add_key().await?;
        Ok(server)
    }

    async fn add_key(&self) -> Result<()> {
        let key = std::fs::File::open(self.directory.join("key.pub")).map_err(|e| Failure::io("key.pub", &e))?;
        let mut command = airstrip(&self.directory)?;
        let status = command.args(["keys:add", "demo"]).stdin(key).stdout(Stdio::null()).status().await;
        let added = status.map_err(|e| Failure::io("keys:add", &e))?.success();
        added.then_some(()).ok_or_else(|| Failure::plain("the key was not added"))
    }

    fn ssh_options(&self) -> String {
        let directory = self.directory.display();
        format!(
            "-F /dev/null -i {directory}/key -o IdentitiesOnly=yes -o UserKnownHostsFile={directory}/known_hosts -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR"
        )
    }

    fn git(&self, working_copy: &Path) -> Command {
        let mut git = Command::new("git");
        git.current_dir(working_copy).env("GIT_SSH_COMMAND", format!("ssh {}", self.ssh_options()));
        for inherited in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(inherited);
        }
        git
    }

    fn http_port(&self) -> &str {
        self.http.rsplit(':').next().unwrap_or_default()
    }

    fn what_next(&self, hello: &Path) -> String {
        let port = self.ssh.rsplit(':').next().unwrap_or_default();
        let (options, http) = (self.ssh_options(), self.http_port());
        let ssh = format!("ssh {options} -p {port}");
        format!(
            "
What to try next, in another terminal:

  a browser            http://hello.localhost:{http}/
  a shell inside       {ssh} hello@127.0.0.1
  the commands         {ssh} airstrip@127.0.0.1 help
  the log, live        {ssh} airstrip@127.0.0.1 logs hello -f
  another version      cd {hello}
                       (change app.py) && git commit -am 'Change'
                       GIT_SSH_COMMAND='ssh {options}' git push airstrip main

Ctrl-C ends the demo and removes all of it.",
            hello = hello.display()
        )
    }

    /// Ends every instance and the server.
    async fn stop(&mut self) -> Result<()> {
        // By this very process: another could be ended by the signals that end the demo.
        call(&control_socket(&self.directory.join("home")), vec!["stop-all".to_owned()]).await?;
        let ended = tokio::time::timeout(SERVER_LIMIT, self.child.wait()).await;
        let status =
            ended.map_err(|_| Failure::plain("the server did not end"))?.map_err(|e| Failure::io("the server", &e))?;
        status.success().then_some(()).ok_or_else(|| Failure::plain(format!("the server ended with {status}")))
    }
}

/// This program, on the demo's home. In a group of its own: Ctrl-C is for the demo, which then ends the server in order.
fn airstrip(directory: &Path) -> Result<Command> {
    let program = std::env::current_exe().map_err(|e| Failure::io("finding this program", &e))?;
    let mut command = Command::new(program);
    command.process_group(0);
    for name in ["AIRSTRIP_SSH", "AIRSTRIP_HTTP", "AIRSTRIP_HTTPS", "AIRSTRIP_DOMAIN", "AIRSTRIP_CONFIG"] {
        command.env_remove(name);
    }
    command.env("AIRSTRIP_HOME", directory.join("home"));
    Ok(command)
}

/// The server ended before it was ready: its log says why.
fn did_not_start(directory: &Path) -> Failure {
    let log = std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
    Failure::plain(format!("the server did not start\n{}", log.trim_end()))
}
