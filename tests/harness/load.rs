//! Visitors who never stop asking.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::page::Http;
use super::waiting::{PATIENCE, wait_until};

/// Some visitors, half of them on one connection, half on a new one for every request.
pub struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    visitors: Vec<JoinHandle<Tally>>,
}

/// What visitors saw.
#[derive(Debug, Default)]
pub struct Tally {
    pub served: usize,
    pub failures: Vec<String>,
    pub bodies: BTreeSet<String>,
}

impl Load {
    /// `count` visitors of `path`.
    pub fn start(http: Http, host: &'static str, path: &'static str, count: usize) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let visitor = |number: usize| {
            let (stop, served) = (stop.clone(), served.clone());
            std::thread::spawn(move || visit(http, host, path, number.is_multiple_of(2), &stop, &served))
        };
        let visitors = (0..count).map(visitor).collect();
        Self { stop, served, visitors }
    }

    /// Requests served until now.
    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until some more are served.
    pub fn goes_on(&self) {
        let goal = self.served() + 200;
        wait_until("visitors are served", PATIENCE, || self.served() > goal);
    }

    /// Sends them home.
    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let tallies = self.visitors.drain(..).map(|visitor| visitor.join().unwrap());
        tallies.fold(Tally::default(), |mut sum, one| {
            sum.served += one.served;
            sum.failures.extend(one.failures);
            sum.bodies.extend(one.bodies);
            sum
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for visitor in self.visitors.drain(..) {
            let _failed_too = visitor.join();
        }
    }
}

fn visit(http: Http, host: &str, path: &str, keep: bool, stop: &AtomicBool, served: &AtomicUsize) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) && tally.failures.len() < 10 {
        match ask(connection.take(), http, host, path, keep) {
            Ok((200, body, open)) => {
                tally.served += 1;
                served.fetch_add(1, Ordering::Relaxed);
                tally.bodies.insert(body);
                connection = open;
            }
            Ok((status, body, _)) => tally.failures.push(format!("{status}: {body}")),
            Err(error) => tally.failures.push(error.to_string()),
        }
    }
    tally
}

type Connection = BufReader<TcpStream>;

/// One request; gives the connection back if the server keeps it open.
fn ask(
    connection: Option<Connection>,
    http: Http,
    host: &str,
    path: &str,
    keep: bool,
) -> std::io::Result<(u16, String, Option<Connection>)> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => BufReader::new(connect(http)?),
    };
    let wish = if keep { "keep-alive" } else { "close" };
    write!(connection.get_mut(), "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {wish}\r\n\r\n")?;
    let head = read_head(&mut connection)?;
    let header = |name: &str| {
        let mut fields = head.iter().filter_map(|line| line.split_once(": "));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let status = head.first().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    connection.read_exact(&mut body)?;
    let stays = keep && !header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok((status, String::from_utf8_lossy(&body).into_owned(), stays.then_some(connection)))
}

fn connect(http: Http) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(http.0)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn read_head(connection: &mut Connection) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(std::io::Error::other(format!("the connection was closed in the head, after {lines:?}")));
        }
        match line.trim_end() {
            "" => return Ok(lines),
            text => lines.push(text.to_owned()),
        }
    }
}
