//! How long a user waits: `cargo bench -p gitd --bench latency`.
//!
//! Tiny pushes and `ssh HOST true`, both with the real clients on loopback; medians in milliseconds. Then one large push,
//! and the memory of this process, which is the server.
#![expect(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gitd::{Access, Channel, Duplex, Ended, Handler, Incoming, Limits, Login, Output, RefUpdate, Refusal, Repository};
use gitd::{Server, Session};

const ROUNDS: usize = 50;
const FILES: usize = 20_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let everybody = Arc::new(Everybody(home.path().join("repo.git")));
    let address = "127.0.0.1:0".parse().unwrap();
    let binding = Server::bind(address, home.path().join("host_key"), Limits::default(), everybody);
    let server = runtime.block_on(binding).unwrap();
    let bench = Bench { home: home.path().to_owned(), port: server.address().port() };
    bench.prepare();
    show("ssh HOST true", (0..ROUNDS).map(|_| bench.command()).collect());
    show("push of one commit", (0..ROUNDS).map(|round| bench.push(round)).collect());
    println!("memory so far: {}", peak_memory());
    println!("push of {FILES} new files: {:.2} s", bench.push_many().as_secs_f64());
    println!("memory at most: {}", peak_memory());
    runtime.block_on(server.shutdown(Duration::from_secs(1)));
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1000.0;
    println!("{what}: median {:.1} ms, fastest {:.1}, 90 % below {:.1}", at(50), at(0), at(90));
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned()
}

struct Bench {
    home: PathBuf,
    port: u16,
}

impl Bench {
    fn prepare(&self) {
        let key = self.home.join("key");
        run(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(key));
        run(Command::new("git").args(["init", "-q", "-b", "main"]).arg(self.work()));
        self.push(ROUNDS);
    }

    /// Without the time for the commit.
    fn push(&self, round: usize) -> Duration {
        std::fs::write(self.work().join("file"), format!("{round}\n")).unwrap();
        run(self.git().args(["add", "file"]));
        run(self.git().args(["commit", "-q", "-m", "change"]));
        let url = format!("ssh://airstrip@127.0.0.1:{}/app", self.port);
        run(self.git().args(["push", "-q", &url, "main"]).env("GIT_SSH_COMMAND", self.ssh()))
    }

    /// 20,000 different files of 2 KiB in 200 directories.
    fn push_many(&self) -> Duration {
        for number in 0..FILES {
            let directory = self.work().join(format!("many/{}", number % 200));
            std::fs::create_dir_all(&directory).unwrap();
            let line = format!("{number} {}\n", number * 7919);
            std::fs::write(directory.join(number.to_string()), line.repeat(2048 / line.len())).unwrap();
        }
        run(self.git().args(["add", "many"]));
        run(self.git().args(["commit", "-q", "-m", "many"]));
        self.push(FILES)
    }

    fn command(&self) -> Duration {
        let ssh = self.ssh();
        let mut words = ssh.split(' ');
        let mut command = Command::new(words.next().unwrap());
        run(command.args(words).args(["-p", &self.port.to_string(), "airstrip@127.0.0.1", "true"]))
    }

    fn ssh(&self) -> String {
        let quiet = "ssh -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
        format!("{quiet} -o IdentitiesOnly=yes -i {}", self.home.join("key").display())
    }

    fn git(&self) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.work()).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
        }
        command
    }

    fn work(&self) -> PathBuf {
        self.home.join("work")
    }
}

fn run(command: &mut Command) -> Duration {
    let start = Instant::now();
    let finished = command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).status().unwrap();
    assert!(finished.success(), "{command:?}");
    start.elapsed()
}

/// Lets everybody do everything with one repository.
struct Everybody(PathBuf);

#[async_trait]
impl Handler for Everybody {
    async fn authenticate(&self, _: &Login) -> Option<Arc<dyn Session>> {
        Some(Arc::new(Everybody(self.0.clone())))
    }
}

#[async_trait]
impl Session for Everybody {
    async fn still_allowed(&self) -> bool {
        true
    }

    async fn repository(&self, _: Access, _: &str) -> Result<PathBuf, Refusal> {
        Repository::init(&self.0).map_err(|error| Refusal::new(error.to_string()))?;
        Ok(self.0.clone())
    }

    async fn update(&self, _: &Path, _: &RefUpdate, _: &Incoming, _: &Output) -> Result<(), Refusal> {
        Ok(())
    }

    async fn exec(&self, _: &str, _: Channel) -> Ended {
        Ended::Status(0)
    }

    async fn shell(&self, _: Channel) -> Ended {
        Ended::Status(0)
    }

    async fn subsystem(&self, _: &str, _: Channel) -> Option<Ended> {
        None
    }

    async fn forward(&self, _: &str, _: u16) -> Result<Box<dyn Duplex>, Refusal> {
        Err(Refusal::new("there is nothing to connect to"))
    }
}
