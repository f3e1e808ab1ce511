//! What connections cost that do nothing, beside nginx:
//!
//!     ulimit -n 32768 && cargo run --release -p router --example idle [CONNECTIONS]
//!
//! So many (10 000) for each line of the table, each time to a process that was started for it: growth of its resident memory for
//! each of them, and how many it has closed by then. Needs Linux, `nginx` and `taskset`.
#![expect(clippy::print_stdout, reason = "the table is this program's output")]
#![expect(clippy::cast_precision_loss, reason = "the figures are small")]

#[path = "beside/peers.rs"]
mod peers;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use peers::{Direct, Outcome, Server, nginx, router};
use router::{HostName, Limits, Router, Service, State, Table, Target};

const PROXY_CORE: &str = "0";
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
const HALF: &str = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
/// No proxy cuts anybody off before.
const PATIENCE: Duration = Duration::from_secs(600);

/// What each client does before it rests.
struct Way {
    name: &'static str,
    says: &'static str,
    closes: bool,
    /// How long after that it is looked at.
    rest: Duration,
}

const fn way(name: &'static str, says: &'static str, closes: bool, rest: u64) -> Way {
    Way { name, says, closes, rest: Duration::from_millis(rest) }
}

const WAYS: [Way; 7] = [
    way("silent", "", false, 100),
    way("silent, has closed its side", "", true, 2500),
    way("just after an answer", REQUEST, false, 0),
    way("2.5 s after an answer", REQUEST, false, 2500),
    way("after an answer, has closed its side", REQUEST, true, 2500),
    way("half a request", HALF, false, 100),
    way("half a request, has closed its side", HALF, true, 2500),
];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, app] = arguments.as_slice()
        && command == "serve"
    {
        return serve(app.parse()?);
    }
    let count = arguments.first().map_or(Ok(10_000), |count| count.parse())?;
    let (directory, app) = (tempfile::tempdir()?, app()?);
    println!("{:40} {:>20} {:>20}", format!("{count} connections"), "router", "nginx");
    for way in &WAYS {
        let router = measure(&router(PROXY_CORE, app, 0)?, way, count)?;
        let nginx = measure(&peer(directory.path(), app)?, way, count)?;
        println!("{:40} {router:>20} {nginx:>20}", way.name);
    }
    Ok(())
}

/// nginx, doing the same.
fn peer(directory: &Path, app: SocketAddr) -> Outcome<Server> {
    nginx(directory, "proxy", PROXY_CORE, |port| {
        format!(
            "client_header_timeout 600s; keepalive_timeout 600s; server {{ listen 127.0.0.1:{port} backlog=4096; \
             location / {{ proxy_pass http://{app}; }} }}"
        )
    })
}

/// An app that answers each connection once. Its thread ends with the process.
fn app() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(ANSWER.as_bytes());
        }
    });
    Ok(address)
}

/// kB for each, and how many were closed.
fn measure(proxy: &Server, way: &Way, count: usize) -> Outcome<String> {
    drop(client(proxy.address, REQUEST)?);
    let before = resident(proxy)?;
    let mut clients = (0..count).map(|_| client(proxy.address, way.says)).collect::<Outcome<Vec<_>>>()?;
    if way.closes {
        clients.iter().try_for_each(|client| client.shutdown(Shutdown::Write))?;
    }
    // It waits behind all of them, so they have been seen.
    drop(client(proxy.address, REQUEST)?);
    std::thread::sleep(way.rest);
    let each = (resident(proxy)? as f64 - before as f64) / count as f64 / 1024.0;
    let closed = clients.iter_mut().filter_map(|client| is_closed(client).then_some(())).count();
    Ok(if closed == 0 { format!("{each:.1} kB") } else { format!("{each:.1} kB, {closed} closed") })
}

/// Says that; with a whole request it has been answered.
fn client(address: SocketAddr, says: &str) -> Outcome<TcpStream> {
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(says.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    while says == REQUEST && !answer.ends_with(b"\r\n\r\nok") {
        match client.read(&mut part)? {
            0 => return Err(format!("closed after {:?}", String::from_utf8_lossy(&answer)).into()),
            length => answer.extend_from_slice(part.get(..length).unwrap_or_default()),
        }
    }
    Ok(client)
}

/// Whatever was said before, such as 408.
fn is_closed(client: &mut TcpStream) -> bool {
    let read = client.set_nonblocking(true).and_then(|()| std::io::copy(client, &mut std::io::sink()));
    !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Bytes.
fn resident(proxy: &Server) -> Outcome<usize> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}

/// The router, on one thread, until standard input ends.
fn serve(app: SocketAddr) -> Outcome<()> {
    let targets = vec![Arc::new(Target::new("app", Direct(app)))];
    let service = Arc::new(Service::new("app", State::Serving(targets)));
    let hosts = [(HostName::new("127.0.0.1")?, service)].into();
    let limits = Limits {
        threads: 1,
        connections: 1 << 20,
        connections_per_address: 1 << 20,
        head: PATIENCE,
        ..Limits::default()
    };
    let router = Router::with_limits("127.0.0.1:0".parse()?, Table { hosts }, &limits)?;
    println!("{}\n", router.address());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
