//! Processes that are measured beside each other.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use router::Dial;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// A process that listens; it ends when this is dropped.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One worker, with this in its part on HTTP.
pub(crate) fn nginx(directory: &Path, name: &str, core: &str, http: impl Fn(u16) -> String) -> Outcome<Server> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let file = directory.join(format!("{name}.conf"));
    let pid = directory.join(format!("{name}.pid"));
    let configuration = format!(
        "daemon off; master_process off; pid {}; error_log stderr crit; events {{ worker_connections 16384; }} http {{ access_log off; {} }}",
        pid.display(),
        http(address.port())
    );
    std::fs::write(&file, configuration)?;
    listening(pinned(core, "nginx").arg("-c").arg(&file).arg("-p").arg(directory), address)
}

/// Waits until it does.
pub(crate) fn listening(command: &mut Command, address: SocketAddr) -> Outcome<Server> {
    let server = Server { process: command.spawn()?, address };
    for _ in 0..500 {
        if TcpStream::connect(address).is_ok() {
            return Ok(server);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("nothing listens on {address}").into())
}

/// This program itself, as `serve APP`; of the addresses that it prints this is the one.
pub(crate) fn router(core: &str, app: SocketAddr, address: usize) -> Outcome<Server> {
    let mut command = pinned(core, std::env::current_exe()?);
    command.arg("serve").arg(app.to_string());
    let mut process = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn()?;
    let stdout = process.stdout.take().ok_or("no output")?;
    let mut server = Server { process, address: app };
    let lines: Vec<String> = BufReader::new(stdout).lines().take(2).collect::<Result<_, _>>()?;
    server.address = lines.get(address).ok_or("no address")?.parse()?;
    Ok(server)
}

/// On this core alone.
pub(crate) fn pinned(core: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// An app of this address.
pub(crate) struct Direct(pub(crate) SocketAddr);

#[async_trait]
impl Dial for Direct {
    async fn dial(&self) -> std::io::Result<tokio::net::TcpStream> {
        tokio::net::TcpStream::connect(self.0).await
    }
}
