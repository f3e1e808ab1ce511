//! Who a sandboxed process is: user 1000 of its own user namespace, without any privilege and without a way to gain one.

use std::fs;
use std::os::fd::BorrowedFd;

use caps::CapSet;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::utsname::uname;
use nix::unistd::{Gid, Pid, Uid, setresgid, setresuid};

use super::protocol::{Failure, Reply, Request, Step, receive, send};

/// The user inside.
const APP: u32 = 1000;

/// In the new user namespace: asks the shim, which is outside, to map the user, and waits until it has.
pub(super) fn await_map(shim: BorrowedFd<'_>) -> Result<(), Failure> {
    send(shim, &Reply::Map, &[]).step(|| "ask for the user map".to_owned())?;
    match receive::<Request>(shim).step(|| "wait for the user map".to_owned())? {
        Some((Request::Mapped, _)) => Ok(()),
        _ => Err(Errno::ECONNRESET).step(|| "wait for the user map".to_owned()),
    }
}

/// In the shim: makes user 1000 of the child's namespace the user `uid` and group `gid` outside.
pub(super) fn write_map(child: Pid, uid: u32, gid: u32) -> Result<(), Failure> {
    let write = |file: &str, content: String| {
        fs::write(format!("/proc/{child}/{file}"), content).step(|| format!("write /proc/{child}/{file}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{APP} {uid} 1"))?;
    write("gid_map", format!("{APP} {gid} 1"))
}

/// Becomes user 1000.
pub(super) fn become_app() -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(APP), Gid::from_raw(APP));
    setresgid(gid, gid, gid).step(|| "setresgid(1000)".to_owned())?;
    setresuid(uid, uid, uid).step(|| "setresuid(1000)".to_owned())
}

/// Gives up every privilege, for good, and leaves no core dumps.
pub(super) fn confine() -> Result<(), Failure> {
    give_up_memory_protection();
    // Unreadable through /proc for the sandbox's other processes, which have the same user: this one still is airstrip.
    prctl::set_dumpable(false).step(|| "prctl(not dumpable)".to_owned())?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).step(|| "setrlimit(core)".to_owned())?;
    prctl::set_no_new_privs().step(|| "prctl(no_new_privs)".to_owned())?;
    // The permitted set last: the others need it.
    for set in [CapSet::Ambient, CapSet::Bounding, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(std::io::Error::other).step(|| format!("drop capabilities ({set:?})"))?;
    }
    Ok(())
}

/// Bounds the processes of the calling process's user namespace, airstrip's own first one not counted.
pub(super) fn bound_processes(most: u32) -> Result<(), Failure> {
    let most = u64::from(most) + 1;
    setrlimit(Resource::RLIMIT_NPROC, most, most).step(|| "setrlimit(processes)".to_owned())
}

/// Whether that bound is for each user namespace, and not for all processes of the user outside: since Linux 5.14.
pub(super) fn processes_are_counted_by_namespace() -> bool {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(14))
}

/// A service manager may shield the daemon, and with it the shims, from the kernel's choice of what to kill when memory
/// runs out. What runs inside is not shielded. Best effort: without a shield there is nothing to give up.
fn give_up_memory_protection() {
    let path = "/proc/self/oom_score_adj";
    let score = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if score.is_some_and(|score| score < 0) {
        let _ = fs::write(path, "0");
    }
}

/// Dies when its parent dies, however that happens. After every change of user: those undo it.
pub(super) fn die_with_parent() -> Result<(), Failure> {
    prctl::set_pdeathsig(Signal::SIGKILL).step(|| "prctl(parent death signal)".to_owned())
}
