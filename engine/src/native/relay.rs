//! Between the daemon and the head of a one-off or a joined session: requests go down, the end comes up.

use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroup::Watched;
use super::network::Outbound;
use super::protocol::{Reply, Request, receive, send};
use crate::Exit;

/// Passes messages on until the head has ended, and looks after the sandbox's way out if that is told. When the daemon lets go, or asks to
/// kill, or the sandbox runs out of memory, `abandon` is called.
/// Returns how the program ended if the head said so.
pub(super) fn relay(
    daemon: &OwnedFd,
    head: &OwnedFd,
    mut outbound: Option<&mut Outbound>,
    watched: &mut Watched,
    abandon: impl Fn(),
) -> Option<Exit> {
    let mut listening = true;
    loop {
        let own = [Some(head.as_fd()), listening.then_some(daemon.as_fd())];
        let relay = outbound.as_ref().and_then(|outbound| outbound.channel());
        let timeout = outbound.as_ref().map_or(PollTimeout::NONE, |outbound| outbound.timeout());
        let mut fds: Vec<_> = own
            .into_iter()
            .flatten()
            .chain(relay)
            .chain(watched.event())
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        if poll(&mut fds, timeout).is_err() {
            continue;
        }
        let ready = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
        let (from_head, from_daemon) = (ready(0), listening && ready(1));
        if let Some(outbound) = &mut outbound {
            outbound.tend();
        }
        if watched.is_short_of_memory() {
            abandon();
        }
        if from_head {
            match receive::<Reply>(head.as_fd()) {
                Ok(Some((Reply::Ended(exit), _))) => return Some(exit),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
        if from_daemon {
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
