//! The client's standard input, read a piece at a time and never further than asked.
//!
//! Not tokio's: that one reads ahead, on a thread which keeps the program from ending. What the kernel can wait for
//! (terminals, pipes, sockets) is waited for; files are always ready.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const PIECE: usize = 64 * 1024;

/// Where pieces come from.
pub(super) struct Input<F: AsFd> {
    source: F,
    waiting: Option<AsyncFd<OwnedFd>>,
}

impl<F: AsFd> Input<F> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for descriptors that change; this one is owned and does not"
    )]
    pub(super) fn new(source: F) -> io::Result<Self> {
        let copy = source.as_fd().try_clone_to_owned()?;
        match AsyncFd::with_interest(copy, Interest::READABLE) {
            Ok(waiting) => Ok(Self { source, waiting: Some(waiting) }),
            // A file, or a device that is never waited for.
            Err(error) if error.raw_os_error() == Some(nix::libc::EPERM) => Ok(Self { source, waiting: None }),
            Err(error) => Err(error),
        }
    }

    /// The next bytes; none at the end.
    pub(super) async fn piece(&self) -> io::Result<Vec<u8>> {
        if let Some(waiting) = &self.waiting {
            // The descriptor blocks (it may be shared with others): it is read only when it is known to have something.
            loop {
                let mut ready = waiting.readable().await?;
                if is_readable(self.source.as_fd())? {
                    break;
                }
                ready.clear_ready();
            }
        }
        let mut piece = vec![0; PIECE];
        let count = nix::unistd::read(&self.source, &mut piece)?;
        piece.truncate(count);
        Ok(piece)
    }
}

fn is_readable(source: BorrowedFd<'_>) -> io::Result<bool> {
    let mut sources = [PollFd::new(source, PollFlags::POLLIN)];
    Ok(poll(&mut sources, PollTimeout::ZERO)? > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[tokio::test]
    async fn pipes_are_waited_for() {
        let (reader, mut writer) = io::pipe().unwrap();
        let input = Input::new(reader).unwrap();
        for text in ["one", "two"] {
            let (piece, ()) = tokio::join!(input.piece(), async { writer.write_all(text.as_bytes()).unwrap() });
            assert_eq!(piece.unwrap(), text.as_bytes());
        }
        drop(writer);
        assert_eq!(input.piece().await.unwrap(), b"");
        assert_eq!(input.piece().await.unwrap(), b"");
    }

    #[tokio::test]
    async fn more_than_one_piece() {
        let (reader, mut writer) = io::pipe().unwrap();
        let input = Input::new(reader).unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&vec![7; 3 * PIECE + 1]).unwrap());
        let mut total = 0;
        while let count @ 1.. = input.piece().await.unwrap().len() {
            total += count;
        }
        writing.join().unwrap();
        assert_eq!(total, 3 * PIECE + 1);
    }

    #[tokio::test]
    async fn files_are_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        file.rewind().unwrap();
        let input = Input::new(file).unwrap();
        assert_eq!(input.piece().await.unwrap(), b"content");
        assert_eq!(input.piece().await.unwrap(), b"");
    }
}
