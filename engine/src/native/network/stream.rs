//! Bytes between two connections, until both sides have said all they had to say, or one has broken off.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Most bytes read at once.
const CHUNK: usize = 256 * 1024;
/// Read at once while slow receivers keep much waiting.
const SMALL_CHUNK: usize = 4096;
/// So much may wait for slow receivers, all connections together, before chunks become small.
const MUCH: usize = 32 << 20;
/// How long the other side may say nothing and then not even answer the question whether it is there.
const SILENCE: Duration = Duration::from_secs(120);

/// What all connections of a relay share.
#[derive(Debug)]
pub(super) struct Exchange {
    buffer: RefCell<Vec<u8>>,
    waiting: Cell<usize>,
}

impl Exchange {
    pub(super) fn new() -> Self {
        // Memory that is never touched costs nothing.
        Self { buffer: RefCell::new(vec![0; CHUNK]), waiting: Cell::new(0) }
    }

    /// Carries everything both ways. When one side breaks off, the other is told the same way.
    pub(super) async fn join(&self, inside: TcpStream, outside: TcpStream) {
        let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 4);
        for stream in [&inside, &outside] {
            let _ = stream.set_nodelay(true);
        }
        let _ = SockRef::from(&outside).set_tcp_keepalive(&keepalive);
        if self.both_ways(&inside, &outside).await.is_err() {
            for stream in [&inside, &outside] {
                reset(stream);
            }
        }
    }

    async fn both_ways(&self, inside: &TcpStream, outside: &TcpStream) -> io::Result<()> {
        let mut up = pin!(self.one_way(inside, outside));
        let mut down = pin!(self.one_way(outside, inside));
        // Who has said everything is listened to no more, but may still break off.
        tokio::select! {
            ended = &mut up => {
                ended?;
                tokio::select! { ended = &mut down => ended, error = broken(inside) => Err(error) }
            }
            ended = &mut down => {
                ended?;
                tokio::select! { ended = &mut up => ended, error = broken(outside) => Err(error) }
            }
        }
    }

    async fn one_way(&self, from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        loop {
            from.readable().await?;
            match self.pass(from, to) {
                Ok(Passed::All) => {}
                Ok(Passed::End) => return SockRef::from(to).shutdown(std::net::Shutdown::Write),
                Ok(Passed::Rest(rest)) => {
                    self.waiting.set(self.waiting.get() + rest.len());
                    let written = write_all(to, &rest).await;
                    self.waiting.set(self.waiting.get() - rest.len());
                    written?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once and writes as much as goes.
    fn pass(&self, from: &TcpStream, to: &TcpStream) -> io::Result<Passed> {
        let mut buffer = self.buffer.borrow_mut();
        let size = if self.waiting.get() > MUCH { SMALL_CHUNK } else { CHUNK };
        let read = from.try_read(&mut buffer[..size])?;
        if read == 0 {
            return Ok(Passed::End);
        }
        let written = match to.try_write(&buffer[..read]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        Ok(if written == read { Passed::All } else { Passed::Rest(buffer[written..read].to_vec()) })
    }
}

enum Passed {
    All,
    /// What could not be written yet.
    Rest(Vec<u8>),
    End,
}

async fn write_all(to: &TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until a connection has broken off.
async fn broken(stream: &TcpStream) -> io::Error {
    match stream.ready(Interest::ERROR).await {
        Ok(_) => io::ErrorKind::ConnectionReset.into(),
        Err(error) => error,
    }
}

/// Closes a connection so that its other end sees it broken off.
pub(super) fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
