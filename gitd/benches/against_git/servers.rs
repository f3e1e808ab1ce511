//! The three that are compared: this crate; its SSH with a spawned git behind it; OpenSSH's server with git.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gitd::{Access, Channel, Duplex, Ended, Handler, Incoming, Limits, Login, Output, RefUpdate, Refusal, Repository};
use gitd::{Server, Session};
use tokio::io::{AsyncWriteExt, copy};
use tokio::runtime::Runtime;

const OPENSSH: &str = "OpenSSH";

/// A way to a repository.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    user: String,
    port: u16,
    /// What stands before `receive-pack` and `upload-pack`.
    prefix: &'static str,
    repositories: PathBuf,
    home: PathBuf,
}

impl Peer {
    /// Arguments that make git take this way.
    pub(crate) fn receive_pack(&self) -> String {
        format!("--receive-pack={}receive-pack", self.prefix)
    }

    pub(crate) fn upload_pack(&self) -> String {
        format!("--upload-pack={}upload-pack", self.prefix)
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, self.repository(name).display())
    }

    pub(crate) fn repository(&self, name: &str) -> PathBuf {
        self.repositories.join(name)
    }

    /// OpenSSH's server serves what is there; the others make it.
    pub(crate) fn make(&self, name: &str) {
        let path = self.repository(name);
        if self.name == OPENSSH && !path.exists() {
            crate::run(Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(path));
        }
    }

    pub(crate) fn ssh(&self) -> String {
        let quiet = "ssh -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
        format!("{quiet} -o IdentitiesOnly=yes -i {}", self.home.join("key").display())
    }
}

/// All that run here.
pub(crate) struct Servers {
    runtime: Runtime,
    own: Option<Server>,
    sshd: Option<Child>,
    pub(crate) peers: Vec<Peer>,
}

impl Servers {
    pub(crate) fn start(home: &Path) -> Self {
        let made =
            Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(home.join("key")).status();
        assert!(made.unwrap().success());
        let runtime = Runtime::new().unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let binding = Server::bind(address, home.join("host_key"), Limits::default(), Arc::new(Everybody));
        let own = runtime.block_on(binding).unwrap();
        let peer = |name, user: &str, port, prefix| {
            let repositories = home.join(name);
            std::fs::create_dir(&repositories).unwrap();
            Peer { name, user: user.to_owned(), port, prefix, repositories, home: home.to_owned() }
        };
        let port = own.address().port();
        let mut peers =
            vec![peer("airstrip", "airstrip", port, "git-"), peer("spawned git", "airstrip", port, "spawn-")];
        let sshd = sshd(home);
        match &sshd {
            Some((_, port)) => peers.push(peer(OPENSSH, &user(), *port, "git-")),
            None => println!(
                "OpenSSH's server is not installed here (openssh-server), or does not start: it is not measured"
            ),
        }
        Self { runtime, own: Some(own), sshd: sshd.map(|(child, _)| child), peers }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Some(sshd) = &mut self.sshd {
            sshd.kill().unwrap();
            sshd.wait().unwrap();
        }
        self.runtime.block_on(self.own.take().unwrap().shutdown(Duration::from_secs(1)));
    }
}

fn user() -> String {
    nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name
}

/// None if there is no such program, or if it does not start here (as root it needs a user `sshd` and `/run/sshd`).
fn sshd(home: &Path) -> Option<(Child, u16)> {
    let program = std::env::var_os("SSHD").map_or_else(|| PathBuf::from("/usr/sbin/sshd"), PathBuf::from);
    if !program.is_file() {
        return None;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let option = |name: &str, value: &dyn std::fmt::Display| format!("-o{name}={value}");
    let mut command = Command::new(program);
    command.args(["-D", "-e", "-f", "/dev/null"]).stderr(Stdio::null());
    command.arg(option("ListenAddress", &format!("127.0.0.1:{port}")));
    command.arg(option("HostKey", &home.join("host_key").display()));
    command.arg(option("AuthorizedKeysFile", &home.join("key.pub").display()));
    command.args([
        "-oStrictModes=no",
        "-oUsePAM=no",
        "-oPidFile=none",
        "-oPermitRootLogin=yes",
        "-oAcceptEnv=GIT_PROTOCOL",
    ]);
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "sshd does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some((child, port))
}

/// Lets everybody do everything with every repository; spawns git for `spawn-receive-pack` and `spawn-upload-pack`.
struct Everybody;

#[async_trait]
impl Handler for Everybody {
    async fn authenticate(&self, _: &Login) -> Option<Arc<dyn Session>> {
        Some(Arc::new(Everybody))
    }
}

#[async_trait]
impl Session for Everybody {
    async fn still_allowed(&self) -> bool {
        true
    }

    async fn repository(&self, _: Access, path: &str) -> Result<PathBuf, Refusal> {
        Repository::init(Path::new(path)).map_err(|error| Refusal::new(error.to_string()))?;
        Ok(path.into())
    }

    async fn update(&self, _: &Path, _: &RefUpdate, _: &Incoming, _: &Output) -> Result<(), Refusal> {
        Ok(())
    }

    async fn exec(&self, line: &str, channel: Channel) -> Ended {
        let words = shlex::split(line).unwrap();
        spawn(words[0].strip_prefix("spawn-").unwrap(), Path::new(&words[1]), channel).await
    }

    async fn shell(&self, _: Channel) -> Ended {
        Ended::Status(1)
    }

    async fn subsystem(&self, _: &str, _: Channel) -> Option<Ended> {
        None
    }

    async fn forward(&self, _: &str, _: u16) -> Result<Box<dyn Duplex>, Refusal> {
        Err(Refusal::new("there is nothing to connect to"))
    }
}

/// git on the channel.
async fn spawn(service: &str, repository: &Path, channel: Channel) -> Ended {
    if !repository.exists() {
        let made =
            tokio::process::Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(repository).status();
        assert!(made.await.unwrap().success());
    }
    let mut command = tokio::process::Command::new("git");
    command.arg(service).arg(repository).env("GIT_PROTOCOL", "version=2").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut git = command.spawn().unwrap();
    let (mut input, mut output) = (git.stdin.take().unwrap(), git.stdout.take().unwrap());
    let Channel { mut stdin, mut stdout, .. } = channel;
    let feeding = tokio::spawn(async move {
        let _gone = copy(&mut stdin, &mut input).await;
    });
    let _gone = copy(&mut output, &mut stdout).await;
    stdout.flush().await.unwrap();
    let status = git.wait().await.unwrap();
    feeding.abort();
    Ended::Status(u32::from(!status.success()))
}
