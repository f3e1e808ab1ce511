//! Requests without a client program, whose own start would be measured too.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::PATIENCE;

/// How long to wait before asking again: what a figure may be too large by.
pub const GLANCE: Duration = Duration::from_millis(1);

/// The page at `/` of `host`.
pub fn get(address: SocketAddr, host: &str) -> io::Result<String> {
    ask(TcpStream::connect(address)?, host)
}

/// The same over a connection that there is already.
pub fn ask(mut stream: TcpStream, host: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    // An app's own server may speak an older version.
    let is_fine = ["HTTP/1.1 200 ", "HTTP/1.0 200 "].iter().any(|line| answer.starts_with(line));
    if is_fine { Ok(answer) } else { Err(io::Error::other(answer)) }
}

/// Asks until there is an answer.
pub fn first_answer(address: SocketAddr) {
    let begin = Instant::now();
    while let Err(error) = get(address, "localhost") {
        assert!(begin.elapsed() < PATIENCE, "nothing answers at {address}: {error}");
        std::thread::sleep(GLANCE);
    }
}

/// An address on loopback that nothing listens on at this moment.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}
