//! A second wall around a program, where the kernel has Landlock: it opens nothing but what lies below its own root.
//!
//! Paths lead nowhere else, because of the mounts. But who comes to hold a descriptor of a directory outside, as in known
//! escapes from containers, may walk on from there, whatever is mounted: that is refused here. So are abstract
//! sockets of programs that joined the sandbox, and looking into the processes that are no descendants of the program's.
//!
//! Joined programs have no such wall: a process within one may look into none outside, so that a debugger in a shell could
//! not look into the program. Signals are not restricted: the sandbox's first process passes on those that it gets from inside.

use std::ffi::c_long;
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::protocol::{Failure, Step};
use super::sys;

/// How many rights about files a version has, and those after it. Under the first of all no file could be moved to another directory.
const RIGHTS: [(c_long, u32); 3] = [(2, 14), (3, 15), (5, 16)];
/// The version that can close abstract sockets.
const SCOPES: c_long = 6;
const ABSTRACT_SOCKETS: u64 = 1;

/// For the calling process and its children; does nothing where the kernel cannot.
pub(super) fn restrict() -> Result<(), Failure> {
    let Some((files, scopes)) = sys::landlock_version().ok().and_then(known) else { return Ok(()) };
    let rules = sys::landlock_rules(files, scopes).step(|| "make Landlock rules".to_owned())?;
    let root = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).step(|| "open(/)".to_owned())?;
    sys::landlock_permit_below(rules.as_fd(), root.as_fd(), files).step(|| "Landlock rule for /".to_owned())?;
    sys::landlock_restrict(rules.as_fd()).step(|| "restrict by Landlock".to_owned())
}

/// The rights about files that a version knows, and the scopes that are of use here.
fn known(version: c_long) -> Option<(u64, u64)> {
    let (_, bits) = RIGHTS.iter().rev().find(|(since, _)| *since <= version)?;
    Some(((1 << bits) - 1, if version >= SCOPES { ABSTRACT_SOCKETS } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn what_versions_know() {
        for (version, expected) in [
            (0, None),
            (1, None),
            (2, Some((0x3fff, 0))),
            (3, Some((0x7fff, 0))),
            (4, Some((0x7fff, 0))),
            (5, Some((0xffff, 0))),
            (6, Some((0xffff, 1))),
            (7, Some((0xffff, 1))),
            (99, Some((0xffff, 1))),
        ] {
            assert_eq!(known(version), expected, "version {version}");
        }
    }
}
