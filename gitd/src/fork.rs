//! Two halves of work at the same time.

use std::thread::{self, Builder, ScopedJoinHandle};

/// Does both, one of them on a thread of its own; if there can be no more threads, one after the other. Blocking.
pub(crate) fn join<A: Send, B>(one: impl FnMut() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    join_on(Builder::new(), one, other)
}

fn join_on<A: Send, B>(thread: Builder, mut one: impl FnMut() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    let (joined, other) = thread::scope(|scope| {
        let thread = thread.spawn_scoped(scope, &mut one);
        let other = other();
        (thread.ok().map(ScopedJoinHandle::join), other)
    });
    let one = match joined {
        Some(done) => done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        None => one(),
    };
    (one, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No address space has room for such a stack.
    const TOO_LARGE: usize = 1 << 60;

    #[test]
    fn without_a_thread_all_is_done_here() {
        let here = || thread::current().id();
        assert_eq!(join_on(Builder::new().stack_size(TOO_LARGE), here, here), (here(), here()));
        assert_ne!(join(here, here).0, here());
    }
}
