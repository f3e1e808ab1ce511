//! Between the daemon and the head of a one-off or a joined session: requests go down, the end comes up.

use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::protocol::{Reply, Request, receive, send};
use crate::Exit;

/// Passes messages on until the head has ended. When the daemon lets go, or asks to kill, `abandon` is called once.
/// Returns how the program ended if the head said so.
pub(super) fn relay(daemon: &OwnedFd, head: &OwnedFd, abandon: impl Fn()) -> Option<Exit> {
    let mut listening = true;
    loop {
        let mut fds = [PollFd::new(head.as_fd(), PollFlags::POLLIN), PollFd::new(daemon.as_fd(), PollFlags::POLLIN)];
        let watched = if listening { 2 } else { 1 };
        if poll(&mut fds[..watched], PollTimeout::NONE).is_err() {
            continue;
        }
        let [from_head, from_daemon] = fds.map(|fd| fd.any().unwrap_or(false));
        if from_head {
            match receive::<Reply>(head.as_fd()) {
                Ok(Some((Reply::Ended(exit), _))) => return Some(exit),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
        if listening && from_daemon {
            match receive::<Request>(daemon.as_fd()) {
                Ok(Some((Request::Kill, _))) => abandon(),
                Ok(Some((request, _))) => drop(send(head.as_fd(), &request, &[])),
                Ok(None) | Err(_) => {
                    listening = false;
                    abandon();
                }
            }
        }
    }
}
