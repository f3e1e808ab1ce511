//! Work on files that takes long, off the threads that serve sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

/// Tells the work that nobody wants its result any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Whether to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs `work` on a thread of its own. Dropping the future cancels the work and **waits** for it to stop, so that
/// whoever removes the directory it works on never meets it there: the work must look at `Cancel` often.
/// None if the work panicked or the runtime is shutting down.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce(&Cancel) -> T + Send + 'static) -> Option<T> {
    let cancel = Cancel::default();
    let (ended, end) = mpsc::channel::<()>();
    let _waits = WaitOnDrop { cancel: cancel.clone(), end };
    let task = tokio::task::spawn_blocking(move || {
        let result = work(&cancel);
        drop(ended);
        result
    });
    task.await.ok()
}

struct WaitOnDrop {
    cancel: Cancel,
    /// Nothing is ever sent: it is closed when the work has ended, or will never start.
    end: mpsc::Receiver<()>,
}

impl Drop for WaitOnDrop {
    fn drop(&mut self) {
        self.cancel.0.store(true, Ordering::Relaxed);
        let _closed = self.end.recv();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_the_result() {
        assert_eq!(run(|_| 7).await, Some(7));
        assert_eq!(run(|_| -> u8 { panic!("on purpose") }).await, None);
    }

    #[tokio::test]
    async fn dropping_waits_for_the_work_to_stop() {
        let stopped = Arc::new(AtomicBool::new(false));
        let (started, mut start) = tokio::sync::mpsc::channel(1);
        let seen = stopped.clone();
        let work = run(move |cancel| {
            started.blocking_send(()).unwrap();
            while !cancel.is_cancelled() {
                std::thread::yield_now();
            }
            seen.store(true, Ordering::SeqCst);
        });
        tokio::select! {
            _ = work => panic!("ended by itself"),
            _ = start.recv() => {}
        }
        assert!(stopped.load(Ordering::SeqCst));
    }
}
