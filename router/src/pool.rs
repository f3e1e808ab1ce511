//! Idle connections to one target.
//!
//! Each of the router's threads has a shelf, because the thread that opened a connection is told what comes over it, and it is
//! cheapest there. A thread whose shelf is empty takes from the others before it dials: otherwise the connections to an
//! app would multiply with the threads. A connection that takes many requests at once stays on its shelf and is shared,
//! by this thread alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::IDLE_SWEEPS;
use crate::upstream::Connection;

/// Shelves; threads beyond this share.
const SHELVES: usize = 16;

/// Most idle connections on a shelf.
const SHELF_ROOM: usize = 1024;

#[derive(Default)]
pub(crate) struct Pool {
    shelves: [Mutex<Shelf>; SHELVES],
}

#[derive(Default)]
struct Shelf {
    idle: Vec<Idle>,
    /// How often it has been swept.
    sweeps: usize,
    /// The round in which it was last.
    round: u64,
}

struct Idle {
    connection: Connection,
    /// The number of the last sweep before it was put here.
    since: usize,
}

impl Pool {
    /// The connection used last by this thread, else one of another thread's.
    pub(crate) fn take(&self, thread: usize) -> Option<Connection> {
        let own = thread % SHELVES;
        self.take_from(own, Connection::is_ready).or_else(|| {
            let mut others = (1..SHELVES).map(|offset| (own + offset) % SHELVES);
            others.find_map(|other| self.take_from(other, Connection::is_ready_elsewhere))
        })
    }

    /// A share in this thread's connection that takes many requests at once.
    pub(crate) fn share(&self, thread: usize) -> Option<Connection> {
        let mut here = self.shelf(thread % SHELVES);
        here.idle.retain(|idle| idle.connection.is_ready());
        let now = here.sweeps;
        let last = here.idle.last_mut()?;
        last.since = now;
        last.connection.share()
    }

    /// Keeps a connection for another request.
    pub(crate) fn put(&self, connection: Connection) {
        let mut here = self.shelf(connection.thread() % SHELVES);
        if here.idle.len() < SHELF_ROOM {
            let since = here.sweeps;
            here.idle.push(Idle { connection, since });
        }
    }

    /// Closes what has been idle for too long on this thread's shelf. A round counts once, however many hosts lead here.
    pub(crate) fn sweep(&self, thread: usize, round: u64) {
        let mut here = self.shelf(thread % SHELVES);
        if std::mem::replace(&mut here.round, round) == round {
            return;
        }
        here.sweeps = here.sweeps.wrapping_add(1);
        let now = here.sweeps;
        here.idle.retain(|idle| now.wrapping_sub(idle.since) < IDLE_SWEEPS && idle.connection.is_ready());
    }

    /// Closes all.
    pub(crate) fn clear(&self) {
        for index in 0..SHELVES {
            self.shelf(index).idle.clear();
        }
    }

    fn take_from(&self, index: usize, is_ready: impl Fn(&Connection) -> bool) -> Option<Connection> {
        let mut here = self.shelf(index);
        while let Some(Idle { connection, .. }) = here.idle.pop() {
            if is_ready(&connection) {
                return Some(connection);
            }
        }
        None
    }

    fn shelf(&self, index: usize) -> MutexGuard<'_, Shelf> {
        self.shelves[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn many_hosts_do_not_make_a_connection_older() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_app, _) = listener.accept().await.unwrap();
        let pool = Pool::default();
        pool.put(Connection::over(stream, 0));
        for host in 0..100 {
            pool.sweep(0, 1);
            assert_eq!(pool.shelf(0).idle.len(), 1, "after host {host}");
        }
        for round in 2..=IDLE_SWEEPS as u64 {
            pool.sweep(0, round);
        }
        assert!(pool.take(0).is_none());
    }
}
