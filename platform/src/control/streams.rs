//! A command's standard streams, as frames.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::PollSender;

use super::frame::Frame;

const CHUNK: usize = 32 * 1024;

/// The command's standard input: each piece is asked for when it is read, so that at most one is ever on its way.
pub(super) struct Stdin {
    pieces: mpsc::Receiver<Vec<u8>>,
    wanted: Arc<Notify>,
    piece: Vec<u8>,
    used: usize,
    asked: bool,
    ended: bool,
}

impl Stdin {
    /// `wanted` is notified once for each piece that is to be sent. An empty piece is the end.
    pub(super) fn new(pieces: mpsc::Receiver<Vec<u8>>, wanted: Arc<Notify>) -> Self {
        Self { pieces, wanted, piece: Vec::new(), used: 0, asked: false, ended: false }
    }
}

impl AsyncRead for Stdin {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.used == self.piece.len() && !self.ended {
            if !std::mem::replace(&mut self.asked, true) {
                self.wanted.notify_one();
            }
            self.piece = ready!(self.pieces.poll_recv(context)).unwrap_or_default();
            (self.used, self.asked, self.ended) = (0, false, self.piece.is_empty());
        }
        let rest = self.piece.get(self.used..).unwrap_or_default();
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        self.used += count;
        Poll::Ready(Ok(()))
    }
}

/// The command's standard output or standard error. One queue for both keeps their order.
pub(super) struct Output {
    frames: PollSender<Frame>,
    kind: fn(Vec<u8>) -> Frame,
}

impl Output {
    pub(super) fn new(frames: &mpsc::Sender<Frame>, kind: fn(Vec<u8>) -> Frame) -> Self {
        Self { frames: PollSender::new(frames.clone()), kind }
    }
}

impl AsyncWrite for Output {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.frames.poll_reserve(context)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        let count = bytes.len().min(CHUNK);
        let frame = (self.kind)(bytes.get(..count).unwrap_or_default().to_vec());
        self.frames.send_item(frame).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.frames.close();
        Poll::Ready(Ok(()))
    }
}
