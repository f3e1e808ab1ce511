//! Bytes from the client on their way to whoever reads a channel.
//!
//! The session loop of russh must never wait for a reader: it would stop every other channel of the connection, and
//! the reader's own output. So it pushes into an [`Inlet`] that always accepts; what keeps the buffer small is the
//! window, which the connection shrinks while an inlet is [`Inlet::congested`].

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

/// Above this many buffered bytes the client is asked to wait.
const CONGESTED: usize = 512 * 1024;
/// An empty buffer larger than this is given back.
const KEEP: usize = 64 * 1024;

/// A connected pair: what is pushed into the first is read from the second.
pub(crate) fn inlet() -> (Inlet, Stdin) {
    let shared = Arc::new(Mutex::new(State::default()));
    (Inlet(Arc::clone(&shared)), Stdin(shared))
}

/// The connection's end.
#[derive(Clone)]
pub(crate) struct Inlet(Arc<Mutex<State>>);

impl Inlet {
    /// Takes bytes in; drops them if nobody reads any more.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut state = lock(&self.0);
        if !state.reader_gone {
            state.buffer.extend(bytes);
            state.wake();
        }
    }

    /// No more bytes will come.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.0);
        state.ended = true;
        state.wake();
    }

    /// Whether the reader is behind.
    pub(crate) fn congested(&self) -> bool {
        lock(&self.0).buffer.len() > CONGESTED
    }
}

/// The reader's end.
pub(crate) struct Stdin(Arc<Mutex<State>>);

impl AsyncRead for Stdin {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        if state.buffer.is_empty() && !state.ended {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.read(out);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.reader_gone = true;
        state.buffer = VecDeque::new();
    }
}

#[derive(Default)]
struct State {
    buffer: VecDeque<u8>,
    ended: bool,
    reader_gone: bool,
    waker: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn read(&mut self, out: &mut ReadBuf<'_>) {
        let (head, _) = self.buffer.as_slices();
        let count = head.len().min(out.remaining());
        out.put_slice(head.get(..count).unwrap_or_default());
        self.buffer.drain(..count);
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = VecDeque::new();
        }
    }
}

/// A panic elsewhere does not make the bytes wrong.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn bytes_arrive_in_order_and_then_the_end() {
        let (inlet, mut stdin) = inlet();
        inlet.push(b"one ");
        inlet.push(b"two");
        inlet.end();
        let mut text = String::new();
        stdin.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "one two");
    }

    #[test]
    fn is_congested_until_the_reader_goes() {
        let (inlet, stdin) = inlet();
        inlet.push(&vec![0; CONGESTED + 1]);
        assert!(inlet.congested());
        drop(stdin);
        assert!(!inlet.congested());
        inlet.push(&vec![0; CONGESTED + 1]);
        assert!(!inlet.congested());
    }
}
