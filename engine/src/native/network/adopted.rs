//! The network of a sandbox that somebody else has made: nobody there has the right to set it up, so a thread from outside goes in.

use std::fs::{self, File};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::linux::fs::MetadataExt;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Pid;

use super::{OUTGOING, Outbound, setup};
use crate::Egress;
use crate::native::protocol::{Failure, Start, Step};

/// Which a container engine may have switched off, as nothing of its own leads out.
const NO_IPV6: [&str; 2] = ["/proc/sys/net/ipv6/conf/all/disable_ipv6", "/proc/sys/net/ipv6/conf/lo/disable_ipv6"];

/// Gives the sandbox of the process `first`, which speaks to us through `guest`, its way out if it may have one.
pub(in crate::native) fn adopt(start: &Start, first: Pid, guest: BorrowedFd<'_>) -> Result<Option<Outbound>, Failure> {
    if start.spec.egress == Egress::None {
        return Ok(None);
    }
    let network = network_of(first, guest).step(|| format!("{OUTGOING}network of process {first}"))?;
    let exceptions = setup::on_loopback(&start.spec.egress_exceptions);
    let sockets = elsewhere(
        move || setns(network, CloneFlags::CLONE_NEWNET),
        || {
            if start.ipv6 {
                allow_ipv6().step(|| format!("{OUTGOING}IPv6"))?;
            }
            setup::outgoing(start.ipv6, &exceptions)
        },
    )?;
    Ok(Some(Outbound::start(start, sockets)))
}

/// Tries all that [`adopt`] does, in a network that nobody is in.
pub(in crate::native) fn try_to_adopt() -> Result<(), Failure> {
    let fresh = || unshare(CloneFlags::CLONE_NEWNET);
    elsewhere(fresh, || setup::loopback().and_then(|()| setup::outgoing(false, &[]))).map(drop)
}

/// The host's network is never another's: what is set up there would cost the host its own.
fn network_of(first: Pid, guest: BorrowedFd<'_>) -> io::Result<File> {
    let network = File::open(format!("/proc/{first}/ns/net"))?;
    // As long as the guest lives its number is nobody else's.
    if poll(&mut [PollFd::new(guest, PollFlags::empty())], PollTimeout::ZERO)? > 0 {
        return Err(Errno::ESRCH.into());
    }
    let own = fs::metadata("/proc/self/ns/net")?;
    let theirs = network.metadata()?;
    if (own.st_dev(), own.st_ino()) == (theirs.st_dev(), theirs.st_ino()) {
        return Err(io::Error::other("it is the host's own"));
    }
    Ok(network)
}

/// Has a thread enter a network, which does not come back, and make something there.
fn elsewhere(
    enter: impl FnOnce() -> nix::Result<()> + Send,
    make: impl FnOnce() -> Result<Vec<OwnedFd>, Failure> + Send,
) -> Result<Vec<OwnedFd>, Failure> {
    let step = || format!("{OUTGOING}enter the network");
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || enter().step(step).and_then(|()| make()));
        thread.step(step)?.join().unwrap_or_else(|_| Err(Errno::ECANCELED).step(step))
    })
}

fn allow_ipv6() -> io::Result<()> {
    NO_IPV6.iter().try_for_each(|path| fs::write(path, "0"))
}
