//! Compares the router with nginx doing the same routing:
//!
//!     cargo run --release -p router --example load [CONNECTIONS [SECONDS]]
//!
//! Needs Linux, two cores, `nginx`, `wrk` and `taskset`. The proxy has the first core, `wrk` and a one-worker nginx as the
//! app ("hello world") the second; the two proxies take turns. Requests per second drift with whatever else the machine
//! does; the proxy's own CPU time per request hardly does: compare that.
#![expect(clippy::print_stdout, reason = "the table is this program's output")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use router::{Dial, HostName, Limits, Router, Service, State, Table, Target};

const ROUNDS: usize = 3;
const PROXY_CORE: &str = "0";
const LOAD_CORE: &str = "1";
/// Clock ticks of `/proc/PID/stat` per second, on every Linux of today.
const TICKS: f64 = 100.0;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, backend] = arguments.as_slice()
        && command == "serve"
    {
        return serve(backend.parse()?);
    }
    let connections = arguments.first().map_or("64", String::as_str);
    let seconds = arguments.get(1).map_or("5", String::as_str);
    compare(connections, seconds)
}

fn compare(connections: &str, seconds: &str) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let app = nginx(directory.path(), "app", LOAD_CORE, |port| {
        format!(
            "keepalive_requests 100000000; server {{ listen 127.0.0.1:{port}; location / {{ return 200 'hello world'; }} }}"
        )
    })?;
    let proxy = nginx(directory.path(), "proxy", PROXY_CORE, |port| forwarding(port, app.address))?;
    let router = router(app.address)?;
    println!("{:8} {:>10} {:>9} {:>9} {:>14}", "", "requests/s", "p50", "p99", "CPU/request");
    let (mut of_nginx, mut of_router) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        of_nginx += measure("nginx", &proxy, connections, seconds)?;
        of_router += measure("router", &router, connections, seconds)?;
    }
    println!("router / nginx, CPU per request: {:.2}", of_router / of_nginx);
    Ok(())
}

/// A process that listens; it ends when this is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn nginx(directory: &Path, name: &str, core: &str, http: impl Fn(u16) -> String) -> Outcome<Server> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let file = directory.join(format!("{name}.conf"));
    let pid = directory.join(format!("{name}.pid"));
    let configuration = format!(
        "daemon off; master_process off; pid {}; error_log stderr crit; events {{ worker_connections 8192; }} http {{ access_log off; {} }}",
        pid.display(),
        http(address.port())
    );
    std::fs::write(&file, configuration)?;
    let process = pinned(core, "nginx").arg("-c").arg(&file).arg("-p").arg(directory).spawn()?;
    let server = Server { process, address };
    for _ in 0..500 {
        if TcpStream::connect(address).is_ok() {
            return Ok(server);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("nginx does not listen on {address}").into())
}

/// What nginx needs to do the same: least busy upstream, kept connections, the forwarded headers.
fn forwarding(port: u16, app: SocketAddr) -> String {
    format!(
        "keepalive_requests 100000000; upstream app {{ least_conn; server {app}; keepalive 256; keepalive_requests 100000000; }} \
         server {{ listen 127.0.0.1:{port}; server_name 127.0.0.1; location / {{ proxy_pass http://app; proxy_http_version 1.1; \
         proxy_set_header Connection ''; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; \
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port; }} }}"
    )
}

fn router(app: SocketAddr) -> Outcome<Server> {
    let mut command = pinned(PROXY_CORE, std::env::current_exe()?);
    let mut process = command.arg("serve").arg(app.to_string()).stdout(Stdio::piped()).stdin(Stdio::piped()).spawn()?;
    let stdout = process.stdout.take().ok_or("no output")?;
    let mut server = Server { process, address: app };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    server.address = line.trim().parse()?;
    Ok(server)
}

fn pinned(core: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Runs the load, prints a line, and returns the proxy's CPU time per request in microseconds.
fn measure(name: &str, proxy: &Server, connections: &str, seconds: &str) -> Outcome<f64> {
    let before = cpu_seconds(proxy.process.id())?;
    let output = pinned(LOAD_CORE, "wrk")
        .args(["-t1", "--latency", "-c", connections, "-d", seconds])
        .arg(format!("http://{}/", proxy.address))
        .output()?;
    let report = String::from_utf8(output.stdout)?;
    if report.contains("Non-2xx") || report.contains("Socket errors") {
        return Err(format!("{name} lost requests:\n{report}").into());
    }
    let field = |label: &str, index| {
        let line = report.lines().find(|line| line.contains(label));
        line.and_then(|line| line.split_whitespace().nth(index)).ok_or(format!("no {label}:\n{report}"))
    };
    let requests: f64 = field("requests in", 0)?.parse()?;
    let each = (cpu_seconds(proxy.process.id())? - before) / requests * 1e6;
    println!(
        "{name:8} {:>10} {:>9} {:>9} {each:>11.2} us",
        field("Requests/sec", 1)?,
        field(" 50% ", 1)?,
        field(" 99% ", 1)?
    );
    Ok(each)
}

/// User and system time of a process so far.
fn cpu_seconds(pid: u32) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(") ").next().ok_or("odd stat")?;
    let ticks = after_name.split(' ').skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS)
}

struct Direct(SocketAddr);

#[async_trait]
impl Dial for Direct {
    async fn dial(&self) -> std::io::Result<tokio::net::TcpStream> {
        tokio::net::TcpStream::connect(self.0).await
    }
}

/// The router with a thousand hosts in its table, on one thread, until standard input ends.
fn serve(app: SocketAddr) -> Outcome<()> {
    let targets = vec![Arc::new(Target::new("app", Direct(app)))];
    let service = Arc::new(Service::new("app", State::Serving(targets)));
    let names = (0..1000).map(|number| format!("app-{number}.localhost")).chain(["127.0.0.1".to_owned()]);
    let hosts = names.map(|name| Ok((HostName::new(&name)?, Arc::clone(&service)))).collect::<Outcome<_>>()?;
    let limits = Limits { threads: 1, ..Limits::default() };
    let router = Router::with_limits("127.0.0.1:0".parse()?, Table { hosts }, &limits)?;
    println!("{}", router.address());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
