//! Idle connections to one target.
//!
//! Each of the router's threads has a shelf, because the thread that opened a connection is told what comes over it, and it is
//! cheapest there. A thread whose shelf is empty takes from the others before it dials: otherwise the connections to an
//! app would multiply with the threads. A connection that takes many requests at once stays on its shelf and is shared,
//! by this thread alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits::IDLE;
use crate::upstream::Connection;

/// Shelves; threads beyond this share.
const SHELVES: usize = 16;

/// Most idle connections on a shelf.
const SHELF_ROOM: usize = 128;

#[derive(Default)]
pub(crate) struct Pool {
    shelves: [Mutex<Vec<Idle>>; SHELVES],
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// The connection used last by this thread, else one of another thread's.
    pub(crate) fn take(&self, thread: usize) -> Option<Connection> {
        let own = thread % SHELVES;
        self.take_from(own, Idle::is_fresh).or_else(|| {
            let mut others = (1..SHELVES).map(|offset| (own + offset) % SHELVES);
            others.find_map(|other| self.take_from(other, Idle::is_fresh_elsewhere))
        })
    }

    /// A share in this thread's connection that takes many requests at once.
    pub(crate) fn share(&self, thread: usize) -> Option<Connection> {
        let mut idle = self.shelf(thread % SHELVES);
        idle.retain(Idle::is_fresh);
        let last = idle.last_mut()?;
        last.since = Instant::now();
        last.connection.share()
    }

    /// Keeps a connection, if it can take another request now.
    pub(crate) fn put(&self, connection: Connection) {
        if !connection.is_ready() {
            return;
        }
        let mut idle = self.shelf(connection.thread() % SHELVES);
        if idle.len() < SHELF_ROOM {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes what has been idle for too long on this thread's shelf.
    pub(crate) fn sweep(&self, thread: usize) {
        self.shelf(thread % SHELVES).retain(Idle::is_fresh);
    }

    /// Closes all.
    pub(crate) fn clear(&self) {
        for index in 0..SHELVES {
            self.shelf(index).clear();
        }
    }

    fn take_from(&self, index: usize, is_fresh: impl Fn(&Idle) -> bool) -> Option<Connection> {
        let mut idles = self.shelf(index);
        while let Some(idle) = idles.pop() {
            if is_fresh(&idle) {
                return Some(idle.connection);
            }
        }
        None
    }

    fn shelf(&self, index: usize) -> MutexGuard<'_, Vec<Idle>> {
        self.shelves[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < IDLE && self.connection.is_ready()
    }

    fn is_fresh_elsewhere(&self) -> bool {
        self.since.elapsed() < IDLE && self.connection.is_ready_elsewhere()
    }
}
