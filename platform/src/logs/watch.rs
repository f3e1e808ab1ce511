//! News of a directory of logs, from the kernel.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use tokio::io::unix::AsyncFd;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Files have grown.
    Lines,
    /// Files have come, gone or changed their names.
    Files,
    /// The directory is gone.
    Gone,
}

/// Watches one directory.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Inotify,
    /// The same, to be waited for.
    waiting: AsyncFd<OwnedFd>,
}

impl Watch {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for descriptors that change; this one is owned and does not"
    )]
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let files = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        inotify.add_watch(directory, files | AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE_SELF)?;
        let waiting = AsyncFd::new(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self { inotify, waiting })
    }

    /// Waits for news; several at once are one.
    pub(super) async fn changed(&self) -> io::Result<Change> {
        loop {
            let mut ready = self.waiting.readable().await?;
            let events = ready.try_io(|_| Ok(self.inotify.read_events()?));
            // `Err`: nothing there after all.
            if let Ok(events) = events {
                return Ok(events?.iter().map(change).max().unwrap_or(Change::Lines));
            }
        }
    }
}

fn change(event: &InotifyEvent) -> Change {
    if event.mask.intersects(AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_IGNORED) {
        return Change::Gone;
    }
    if event.mask == AddWatchFlags::IN_MODIFY { Change::Lines } else { Change::Files }
}
