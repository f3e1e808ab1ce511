//! Compares the router with nginx, and with `HAProxy` and Caddy if they are there, doing the same routing:
//!
//!     cargo run --release -p router --example load [CONNECTIONS [SECONDS [WHAT]]]
//!
//! WHAT is `http` ("hello world"), `large` (1 MB each), `https`, or `handshakes` (a connection with TLS for each request).
//! Needs Linux, two cores, `nginx`, `wrk` and `taskset`. The proxy has the first core, `wrk` and a one-worker nginx as the
//! app the second; the proxies take turns. Requests per second drift with whatever else the machine does; the proxy's
//! own CPU time per request hardly does: compare that.
#![expect(clippy::print_stdout, reason = "the table is this program's output")]

#[path = "beside/peers.rs"]
mod peers;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;

use peers::{Direct, Outcome, Server, listening, nginx, pinned, router};
use router::{Certificates, HostName, Https, Limits, Router, Service, State, Table, Target};

const ROUNDS: usize = 3;
const PROXY_CORE: &str = "0";
const LOAD_CORE: &str = "1";
/// Clock ticks of `/proc/PID/stat` per second, on every Linux of today.
const TICKS: f64 = 100.0;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, backend] = arguments.as_slice()
        && command == "serve"
    {
        return serve(backend.parse()?);
    }
    let argument = |place: usize, usual| arguments.get(place).map_or(usual, String::as_str);
    compare(argument(0, "64"), argument(1, "5"), argument(2, "http").parse()?)
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Http,
    Large,
    Https,
    Handshakes,
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "http" => Self::Http,
            "large" => Self::Large,
            "https" => Self::Https,
            "handshakes" => Self::Handshakes,
            _ => return Err(format!("{text}: http, large, https or handshakes")),
        })
    }
}

impl What {
    fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Handshakes)
    }

    fn url(self, address: SocketAddr) -> String {
        let scheme = if self.is_secure() { "https" } else { "http" };
        let path = if self == Self::Large { "large" } else { "" };
        format!("{scheme}://{address}/{path}")
    }

    fn headers(self) -> &'static [&'static str] {
        if self == Self::Handshakes { &["-H", "Connection: close"] } else { &[] }
    }
}

fn compare(connections: &str, seconds: &str, what: What) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    prepare(directory.path())?;
    let app = nginx(directory.path(), "app", LOAD_CORE, |port| {
        format!(
            "keepalive_requests 100000000; server {{ listen 127.0.0.1:{port}; root .; location = / {{ return 200 'hello world'; }} \
             location / {{ }} }}"
        )
    })?;
    let mut proxies = vec![
        ("nginx", nginx(directory.path(), "proxy", PROXY_CORE, |port| forwarding(port, app.address, what))?),
        ("router", router(PROXY_CORE, app.address, usize::from(what.is_secure()))?),
    ];
    if is_there("haproxy", "-v") {
        proxies.push(("HAProxy", haproxy(directory.path(), app.address, what)?));
    }
    if is_there("caddy", "version") {
        proxies.push(("Caddy", caddy(directory.path(), app.address, what)?));
    }
    println!("{:8} {:>10} {:>9} {:>9} {:>14}", "", "requests/s", "p50", "p99", "CPU/request");
    let mut sums = vec![0.0; proxies.len()];
    for _ in 0..ROUNDS {
        for ((name, proxy), sum) in proxies.iter().zip(&mut sums) {
            *sum += measure(name, proxy, connections, seconds, what)?;
        }
    }
    for ((name, _), sum) in proxies.iter().zip(&sums).skip(1) {
        println!("{name} / nginx, CPU per request: {:.2}", sum / sums[0]);
    }
    Ok(())
}

/// A large file, and a certificate.
fn prepare(directory: &Path) -> Outcome<()> {
    std::fs::write(directory.join("large"), vec![b'x'; 1 << 20])?;
    let issued = router::Authority::new()?.issue(&["127.0.0.1".to_owned()])?;
    std::fs::write(directory.join("cert.pem"), &issued.chain)?;
    std::fs::write(directory.join("key.pem"), &issued.key)?;
    Ok(std::fs::write(directory.join("both.pem"), issued.chain + &issued.key)?)
}

fn is_there(program: &str, version: &str) -> bool {
    Command::new(program).arg(version).stdout(Stdio::null()).status().is_ok()
}

fn haproxy(directory: &Path, app: SocketAddr, what: What) -> Outcome<Server> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let tls = if what.is_secure() {
        format!("ssl crt {}/both.pem alpn http/1.1", directory.display())
    } else {
        String::new()
    };
    let file = directory.join("haproxy.cfg");
    let configuration = format!(
        "global\n nbthread 1\n maxconn 4000\ndefaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n \
         http-reuse always\nfrontend front\n bind {address} {tls}\n option forwardfor\n default_backend app\nbackend app\n \
         balance leastconn\n server app {app}\n"
    );
    std::fs::write(&file, configuration)?;
    listening(pinned(PROXY_CORE, "haproxy").arg("-db").arg("-f").arg(&file), address)
}

fn caddy(directory: &Path, app: SocketAddr, what: What) -> Outcome<Server> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (scheme, tls) = if what.is_secure() { ("https", "tls cert.pem key.pem") } else { ("http", "") };
    let file = directory.join("Caddyfile");
    let configuration = format!(
        "{{\n admin off\n auto_https off\n log {{\n level ERROR\n }}\n}}\n{scheme}://{address} {{\n {tls}\n reverse_proxy {app} {{\n \
         lb_policy least_conn\n transport http {{\n keepalive_idle_conns_per_host 1024\n }}\n }}\n}}\n"
    );
    std::fs::write(&file, configuration)?;
    let mut command = pinned(PROXY_CORE, "caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).current_dir(directory);
    let homes = ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"].map(|name| (name, directory));
    listening(command.envs(homes).env("GOMAXPROCS", "1"), address)
}

/// What nginx needs to do the same: least busy upstream, as many kept connections, the forwarded headers, and an id for each request,
/// which the app and the client are told.
fn forwarding(port: u16, app: SocketAddr, what: What) -> String {
    let tls = if what.is_secure() {
        "ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate cert.pem; ssl_certificate_key key.pem"
    } else {
        ""
    };
    format!(
        "keepalive_requests 100000000; upstream app {{ least_conn; server {app}; keepalive 1024; keepalive_requests 100000000; }} \
         server {{ listen 127.0.0.1:{port} {tls}; server_name 127.0.0.1; location / {{ proxy_pass http://app; proxy_http_version 1.1; \
         proxy_set_header Connection ''; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; \
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port; \
         proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id always; }} }}"
    )
}

/// Runs the load, prints a line, and returns the proxy's CPU time per request in microseconds.
fn measure(name: &str, proxy: &Server, connections: &str, seconds: &str, what: What) -> Outcome<f64> {
    let before = cpu_seconds(proxy.process.id())?;
    let output = pinned(LOAD_CORE, "wrk")
        .args(["-t1", "--latency", "-c", connections, "-d", seconds])
        .args(what.headers())
        .arg(what.url(proxy.address))
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

/// The router with a thousand hosts in its table, on one thread, until standard input ends.
fn serve(app: SocketAddr) -> Outcome<()> {
    let targets = vec![Arc::new(Target::new("app", Direct(app)))];
    let service = Arc::new(Service::new("app", State::Serving(targets)));
    let names = (0..1000).map(|number| format!("app-{number}.localhost")).chain(["127.0.0.1".to_owned()]);
    let hosts = names.map(|name| Ok((HostName::new(&name)?, Arc::clone(&service)))).collect::<Outcome<_>>()?;
    let limits = Limits { threads: 1, ..Limits::default() };
    // Without a name a client gets a certificate that the router makes itself.
    let certificates = Arc::new(Certificates::new()?);
    let any = "127.0.0.1:0".parse()?;
    let router = Router::open(any, Some(Https { address: any, certificates }), Table { hosts }, &limits)?;
    println!("{}\n{}", router.address(), router.https_address().ok_or("no HTTPS")?);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
