//! Many clients at once that ask nothing, ask slowly, or have asked: what each costs, and that others are served.
//!
//! A few hundred of them, unless told otherwise:
//!
//!     ulimit -n 32768 && AIRSTRIP_CROWD=10000 cargo test --release -p router --test crowd -- --nocapture
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use router::{Dial, HostName, Limits, Router, Service, State, Table, Target};

/// Most memory of ours for each connection.
const EACH: usize = 48 * 1024;

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

#[test]
fn a_crowd_costs_little_is_cut_in_time_and_keeps_nobody_out() {
    let crowd: usize = std::env::var("AIRSTRIP_CROWD").map_or(300, |count| count.parse().unwrap());
    let head = Duration::from_secs(2) + Duration::from_millis(crowd as u64);
    let limits =
        Limits { threads: 2, connections: crowd + 10, connections_per_address: crowd + 10, head, ..Limits::default() };
    let router = router(&limits);
    let address = router.address();
    drop(ask(address));
    let before = resident();
    let clients: Vec<_> = (0..crowd)
        .map(|number| match number % 3 {
            0 => open(address, ""),
            1 => open(address, "GET / HTTP/1.1\r\nHost: app\r\nX-Slow: "),
            _ => ask(address),
        })
        .collect();
    // It waits behind all of them, so they have been accepted.
    drop(ask(address));
    let each = resident().saturating_sub(before) / crowd;
    println!("{crowd} connections: {each} bytes each");
    assert!(each <= EACH, "{each} bytes for each of {crowd} connections");
    for mut client in clients {
        // Whether we say 408 first or not, it ends.
        client.read_to_end(&mut Vec::new()).unwrap();
    }
    drop(ask(address));
}
