//! What runs in the sandboxes, and outside them for comparison: this binary in other roles.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::times::Times;

/// Says through a pipe that it runs, and ends.
pub(crate) const REPORT: &str = "report";
/// Answers on a port.
pub(crate) const SERVE: &str = "serve";
/// Measures connections to the other machine of `outside`, and prints the [`Figures`].
pub(crate) const VISIT: &str = "visit";

/// A visitor's first byte: every byte is sent back, this one too.
pub(crate) const ECHO: u8 = b'e';
/// A visitor's first byte: bytes are sent without end.
pub(crate) const SEND: u8 = b's';

/// How long anything is done whose rate is measured.
pub(crate) const WINDOW: Duration = Duration::from_millis(300);
/// For everything that should take no time.
const PATIENCE: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 200;
const DATAGRAMS: usize = 300;
const CHUNK: usize = 1 << 18;

/// Whether this process was to play a role, which it has played then.
pub(crate) fn run_if_asked(words: &[String]) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [REPORT, pipe] => std::fs::write(pipe, "x").unwrap(),
        [SERVE, port] => serve(port.parse().unwrap()).unwrap(),
        [VISIT, ip] => println!("{}", Figures::measure(ip.parse().unwrap()).unwrap()),
        _ => return false,
    }
    true
}

/// One visitor at a time.
fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for visitor in listener.incoming() {
        // A visitor who breaks off is none of the next one's concern.
        let _ = answer(visitor?);
    }
    Ok(())
}

fn answer(mut visitor: TcpStream) -> io::Result<()> {
    visitor.set_nodelay(true)?;
    let mut byte = [0];
    visitor.read_exact(&mut byte)?;
    let bytes = vec![b'x'; CHUNK];
    if byte[0] == SEND {
        loop {
            visitor.write_all(&bytes)?;
        }
    }
    loop {
        visitor.write_all(&byte)?;
        visitor.read_exact(&mut byte)?;
    }
}

/// Of connections to the other machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures(pub(crate) [f64; 5]);

impl Figures {
    /// What they are, in order, and their units.
    pub(crate) const NAMES: [(&str, &str); 5] = [
        ("`connect`, median", "µs"),
        ("received", "Gbit/s"),
        ("sent", "Gbit/s"),
        ("short connections", "/s"),
        ("UDP round trip, median", "µs"),
    ];

    fn measure(ip: IpAddr) -> io::Result<Self> {
        let at = |port| SocketAddr::new(ip, port);
        Ok(Self([connect(at(7))?, receive(at(19))?, send(at(9))?, short(at(7))?, datagrams(at(7))?]))
    }

    /// Of what [`VISIT`] has printed.
    pub(crate) fn parse(printed: &str) -> Option<Self> {
        let figures: Option<Vec<f64>> = printed.split_whitespace().map(|figure| figure.parse().ok()).collect();
        figures?.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|figure| write!(f, "{figure} "))
    }
}

fn connect(to: SocketAddr) -> io::Result<f64> {
    let one = |_| {
        let begin = Instant::now();
        TcpStream::connect(to).map(|_closed| begin.elapsed())
    };
    let times: Vec<Duration> = (0..CONNECTIONS).map(one).collect::<io::Result<_>>()?;
    Ok(Times::microseconds(&times).median())
}

fn receive(from: SocketAddr) -> io::Result<f64> {
    Ok(rate(open(from)?, WINDOW)? * 8.0)
}

/// A connection on which nothing waits for ever.
fn open(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// In gigabytes a second, after a moment in which the connection gains speed.
pub(crate) fn rate(mut stream: TcpStream, window: Duration) -> io::Result<f64> {
    let mut buffer = vec![0; CHUNK];
    let mut read_for = |limit: Duration| {
        let (begin, mut length) = (Instant::now(), 0);
        while begin.elapsed() < limit {
            length += stream.read(&mut buffer)?;
        }
        io::Result::Ok(gigabytes(length) / begin.elapsed().as_secs_f64())
    };
    read_for(window / 4)?;
    read_for(window)
}

/// Counts what the kernel has taken, after a moment in which its buffers fill.
fn send(to: SocketAddr) -> io::Result<f64> {
    let mut stream = open(to)?;
    let bytes = vec![b'x'; CHUNK];
    let mut write_for = |limit: Duration| {
        let (begin, mut length) = (Instant::now(), 0);
        while begin.elapsed() < limit {
            length += stream.write(&bytes)?;
        }
        io::Result::Ok(gigabytes(length) * 8.0 / begin.elapsed().as_secs_f64())
    };
    write_for(WINDOW / 4)?;
    write_for(WINDOW)
}

/// Connections that carry a byte to and fro, one after the other.
fn short(to: SocketAddr) -> io::Result<f64> {
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < WINDOW {
        let mut stream = open(to)?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

fn datagrams(to: SocketAddr) -> io::Result<f64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let one = |_| {
        let begin = Instant::now();
        socket.send(b"x")?;
        socket.recv(&mut [0])?;
        Ok(begin.elapsed())
    };
    let times: Vec<Duration> = (0..DATAGRAMS).map(one).collect::<io::Result<_>>()?;
    Ok(Times::microseconds(&times).median())
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts single bytes")]
fn gigabytes(length: usize) -> f64 {
    length as f64 / 1e9
}
