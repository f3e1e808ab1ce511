//! Many clients at once that ask nothing, ask slowly, or have asked: what each costs, and that others are served.
//!
//! A few hundred of them, unless told otherwise:
//!
//!     ulimit -n 32768 && AIRSTRIP_CROWD=10000 cargo test --release -p router --test crowd -- --nocapture
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use router::{Dial, HostName, Limits, Router, Service, State, Table, Target};

/// Most memory of ours for each connection that has asked nothing, or nothing for a while.
const RESTING: usize = 12 * 1024;

/// For each that is half a request.
const ASKING: usize = 32 * 1024;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

struct Direct(SocketAddr);

#[async_trait]
impl Dial for Direct {
    async fn dial(&self) -> std::io::Result<tokio::net::TcpStream> {
        tokio::net::TcpStream::connect(self.0).await
    }
}

/// An app that answers each connection once. Its thread ends with the process.
fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(ANSWER.as_bytes());
        }
    });
    address
}

fn router(limits: &Limits) -> Router {
    let targets = vec![Arc::new(Target::new("app", Direct(app())))];
    let service = Arc::new(Service::new("app", State::Serving(targets)));
    let hosts = [(HostName::new("app").unwrap(), service)].into();
    Router::with_limits("127.0.0.1:0".parse().unwrap(), Table { hosts }, limits).unwrap()
}

fn open(address: SocketAddr, says: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.write_all(says.as_bytes()).unwrap();
    client
}

/// One whole answer.
fn ask(address: SocketAddr) -> TcpStream {
    let mut client = open(address, REQUEST);
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        let mut part = [0; 1024];
        let length = client.read(&mut part).unwrap();
        assert!(length > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..length]);
    }
    client
}

/// Resident memory of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// How much more memory each of so many connections takes.
fn grow(clients: &mut Vec<TcpStream>, count: usize, open: impl Fn() -> TcpStream) -> usize {
    let before = resident();
    clients.extend((0..count).map(|_| open()));
    // It waits behind all of them, so they have been accepted.
    drop(ask(clients[0].peer_addr().unwrap()));
    resident().saturating_sub(before) / count
}

/// Memory of those that have come to rest is used again for others.
fn come_to_rest(clients: &mut Vec<TcpStream>, address: SocketAddr) -> usize {
    let began = Instant::now();
    loop {
        let each = grow(clients, 20, || ask(address));
        if each <= RESTING || began.elapsed() > Duration::from_secs(20) {
            return each;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_crowd_costs_little_is_cut_in_time_and_keeps_nobody_out() {
    let crowd: usize = std::env::var("AIRSTRIP_CROWD").map_or(300, |count| count.parse().unwrap());
    let third = crowd / 3;
    let limits = Limits {
        threads: 2,
        connections: 2 * crowd + 1000,
        connections_per_address: 2 * crowd + 1000,
        head: Duration::from_secs(4) + Duration::from_millis(crowd as u64),
        answer: Duration::from_secs(2),
        ..Limits::default()
    };
    let router = router(&limits);
    let address = router.address();
    let mut clients = vec![ask(address)];
    let silent = grow(&mut clients, third, || open(address, ""));
    let answered = grow(&mut clients, third, || ask(address));
    let resting = come_to_rest(&mut clients, address);
    let asking = grow(&mut clients, third, || open(address, "GET / HTTP/1.1\r\nHost: app\r\nX-Slow: "));
    println!(
        "bytes for each of {crowd} connections: {silent} silent, {answered} answered just now, {resting} some time ago, {asking} with half a request"
    );
    assert!(silent <= RESTING && resting <= RESTING && answered <= ASKING && asking <= ASKING);
    for mut client in clients {
        // Whether we say 408 first or not, it ends.
        client.read_to_end(&mut Vec::new()).unwrap();
    }
    drop(ask(address));
}
