//! Connections into an instance, beside those to the same server on the host's loopback.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine::{Engine, InstanceId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::measured::{Measured, Target};
use crate::program::{ECHO, SEND, SERVE, WINDOW, rate};
use crate::sandboxes::{PROGRAM, Sandboxes};
use crate::times::Times;

const CONNECTIONS: usize = 1000;
const TURNS: usize = 7;
const PINGS: usize = 1000;
/// A server starts within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of the server inside.
const PORT: u16 = 5000;

/// Both ways take turns.
pub(crate) async fn measure(sandboxes: &Sandboxes) -> Vec<Measured> {
    let id = sandboxes.launch("inbound", &[PROGRAM, SERVE, &PORT.to_string()]).await;
    let outside = Outside::start(sandboxes);
    let ways = [Way::Into(sandboxes, &id), Way::Loopback(outside.port)];
    for way in &ways {
        way.is_open().await;
    }
    let (mut connects, mut pings, mut rates) = ([vec![], vec![]], [vec![], vec![]], [vec![], vec![]]);
    for _ in 0..CONNECTIONS {
        for (way, connects) in ways.iter().zip(&mut connects) {
            connects.push(way.first_byte().await.unwrap());
        }
    }
    for _ in 0..TURNS {
        for (way, (pings, rates)) in ways.iter().zip(pings.iter_mut().zip(&mut rates)) {
            pings.extend(way.pings().await.unwrap());
            rates.push(rate(way.open(SEND).await.unwrap(), WINDOW).unwrap());
        }
    }
    drop(outside);
    sandboxes.end(&id).await;
    let gigabytes = |rates: Vec<f64>| Times::new("GB/s", rates);
    vec![
        row("inbound: `connect` and the first byte", "µs", connects.map(|times| Times::microseconds(&times)), AT_MOST),
        row("inbound: a byte to and fro", "µs", pings.map(|times| Times::microseconds(&times)), AT_MOST),
        row("inbound: bytes received", "GB/s", rates.map(gigabytes), Target::AtLeastTimes(0.95)),
    ]
}

const AT_MOST: Target = Target::AtMostTimes(1.05);

fn row(what: &'static str, unit: &'static str, [inside, outside]: [Times; 2], target: Target) -> Measured {
    println!("{what}: {inside}\n  plain loopback: {outside}");
    Measured { what, figure: inside.median(), unit, peer: Some(("plain loopback", outside.median())), target }
}

enum Way<'s> {
    Into(&'s Sandboxes, &'s InstanceId),
    Loopback(u16),
}

impl Way<'_> {
    async fn connect(&self) -> io::Result<TcpStream> {
        match self {
            Self::Into(sandboxes, id) => sandboxes.engine.connect(id, PORT).await,
            Self::Loopback(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await,
        }
    }

    /// Waits for the server.
    async fn is_open(&self) {
        let begin = Instant::now();
        while let Err(error) = self.first_byte().await {
            assert!(begin.elapsed() < PATIENCE, "the server does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn first_byte(&self) -> io::Result<Duration> {
        let begin = Instant::now();
        let mut stream = self.connect().await?;
        stream.write_all(&[ECHO]).await?;
        stream.read_exact(&mut [0]).await?;
        Ok(begin.elapsed())
    }

    /// A connection whose reads and writes block: what follows is the kernel's alone.
    async fn open(&self, wish: u8) -> io::Result<std::net::TcpStream> {
        let mut stream = self.connect().await?.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[wish])?;
        stream.read_exact(&mut [0])?;
        Ok(stream)
    }

    async fn pings(&self) -> io::Result<Vec<Duration>> {
        let mut stream = self.open(ECHO).await?;
        let mut one = || {
            let begin = Instant::now();
            stream.write_all(&[ECHO])?;
            stream.read_exact(&mut [0])?;
            Ok(begin.elapsed())
        };
        (0..PINGS).map(|_| one()).collect()
    }
}

/// The same server without a sandbox; ends with this.
struct Outside {
    server: Child,
    port: u16,
}

impl Outside {
    fn start(sandboxes: &Sandboxes) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        // In a session of its own, as the one inside: the kernel shares out processor time by session.
        let mut command = Command::new("setsid");
        command.arg(sandboxes.program()).args([SERVE, &port.to_string()]).stdin(Stdio::null());
        Self { server: command.spawn().unwrap(), port }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
