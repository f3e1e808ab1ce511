//! Whether the size of the route table matters:
//!
//!     cargo bench -p router --bench routes
//!
//! Prints how long a swap takes, and a request over a kept connection, with few routes and with many.
#![expect(clippy::print_stdout, reason = "the table is this program's output")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use router::{Dial, HostName, Limits, Router, Service, State, Table, Target};

const SWAPS: usize = 100;
const REQUESTS: usize = 5_000;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Direct(SocketAddr);

#[async_trait]
impl Dial for Direct {
    async fn dial(&self) -> std::io::Result<tokio::net::TcpStream> {
        tokio::net::TcpStream::connect(self.0).await
    }
}

/// Answers whatever comes, as long as it comes in one piece.
fn app() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                while let Ok(1..) = stream.read(&mut [0; 4096]) {
                    if stream.write_all(ANSWER).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Each route a service of its own, of one target that is in every table, as after a deploy of another app.
fn table(targets: &[Arc<Target>]) -> Outcome<Table> {
    let route = |(number, target): (usize, &Arc<Target>)| {
        let service = Service::new(format!("app-{number}"), State::Serving(vec![Arc::clone(target)]));
        Ok((HostName::new(&format!("app-{number}.example.com"))?, Arc::new(service)))
    };
    Ok(Table { hosts: targets.iter().enumerate().map(route).collect::<Outcome<_>>()? })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ask(stream: &mut TcpStream, number: usize) -> Outcome<Duration> {
    let request = format!("GET / HTTP/1.1\r\nHost: app-{number}.example.com\r\n\r\n");
    let began = Instant::now();
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut length) = ([0; 4096], 0);
    while !answer[..length].ends_with(b"ok") {
        length += stream.read(&mut answer[length..])?;
    }
    Ok(began.elapsed())
}

fn main() -> Outcome<()> {
    let app = app()?;
    println!("{:>8} {:>14} {:>14} {:>14} {:>14}", "routes", "swap, median", "swap, longest", "freeing", "request");
    for routes in [1, 10_000, 1, 10_000] {
        let targets: Vec<_> = (0..routes).map(|_| Arc::new(Target::new("web.1", Direct(app)))).collect();
        let limits = Limits { threads: 1, ..Limits::default() };
        let router = Router::with_limits("127.0.0.1:0".parse()?, table(&targets)?, &limits)?;
        let mut stream = TcpStream::connect(router.address())?;
        stream.set_nodelay(true)?;
        let asked = (0..REQUESTS).map(|_| ask(&mut stream, routes / 2)).collect::<Outcome<_>>()?;
        let (mut swaps, mut frees) = (Vec::new(), Vec::new());
        for _ in 0..SWAPS {
            let next = table(&targets)?;
            let began = Instant::now();
            let replaced = router.swap(next);
            swaps.push(began.elapsed());
            let began = Instant::now();
            drop(replaced);
            frees.push(began.elapsed());
        }
        let longest = swaps.iter().max().copied().unwrap_or_default();
        let (swap, freeing, request) = (median(swaps), median(frees), median(asked));
        println!("{routes:>8} {swap:>14.1?} {longest:>14.1?} {freeing:>14.1?} {request:>14.1?}");
    }
    Ok(())
}
