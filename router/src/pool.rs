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

    /// Closes what has been idle for too long on this thread's shelf.
    pub(crate) fn sweep(&self, thread: usize) {
        let mut here = self.shelf(thread % SHELVES);
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
