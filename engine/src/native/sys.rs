//! The system calls that neither the standard library nor `nix` wraps safely. All `unsafe` code of airstrip is here.
//!
//! Nothing in this file decides anything: each function is one call with checked types around it.
#![expect(unsafe_code, reason = "raw system calls; every other module is free of unsafe code")]

use std::ffi::{CStr, c_int, c_long, c_uint};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;

use crate::WindowSize;

/// What `mount_setattr` sets on a mount.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes(pub(super) u64);

impl Attributes {
    pub(super) const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV);
    pub(super) const READ_WRITE: Self = Self(libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV);
    pub(super) const DEVICE: Self = Self(libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC);
}

/// The `libc` crate's constant has too few bits to hold it.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// How a child ended, as the kernel encodes it. (`nix::wait` loses children killed by real-time signals.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawStatus(pub(super) c_int);

fn check(result: c_long) -> nix::Result<c_long> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

fn descriptor(result: c_long) -> nix::Result<OwnedFd> {
    let fd = RawFd::try_from(check(result)?).map_err(|_| Errno::EBADF)?;
    Ok(own(fd))
}

/// Takes ownership of a descriptor that the kernel has just handed out.
pub(super) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass a number that a system call returned and that nothing else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Closes every inherited descriptor but the standard streams, and moves standard input out of the way of the program's:
/// it is the channel to the process that started this one.
pub(super) fn take_standard_input() -> io::Result<OwnedFd> {
    close_all_except(&[])?;
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: descriptor 0 is open: the starter made it a socket. The borrow ends with this function.
    let stdin = unsafe { BorrowedFd::borrow_raw(0) };
    let channel = stdin.try_clone_to_owned()?;
    nix::unistd::dup2_stdin(&null)?;
    Ok(channel)
}

/// Starts a child in new namespaces, and in a control group of version 2 if one is given, and runs `body` in it, which gives
/// the exit status. To be called from a process with a single thread.
pub(super) fn clone_into(
    flags: CloneFlags,
    group: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> i32,
) -> nix::Result<(Pid, OwnedFd)> {
    let mut pidfd: c_int = -1;
    let namespaces = u64::from(flags.bits().cast_unsigned());
    // SAFETY: all zeroes is a valid `clone_args`.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(group.as_raw_fd().cast_unsigned());
    }
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: `args` is valid for its size; without CLONE_VM the child gets a copy of this single-threaded process.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        std::process::exit(body())
    }
    Ok((Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::ERANGE)?), own(pidfd)))
}

/// Forks and runs `body` in the child, which gives the exit status. To be called from a process with a single thread.
pub(super) fn fork(body: impl FnOnce() -> i32) -> nix::Result<Pid> {
    // SAFETY: the process has one thread, so the child may do anything.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => std::process::exit(body()),
    }
}

/// Waits for `pid` (any child if `None`). `Ok(None)`: `block` is false and none has ended.
pub(super) fn wait_child(pid: Option<Pid>, block: bool) -> nix::Result<Option<(Pid, RawStatus)>> {
    let mut status: c_int = 0;
    let flags = if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: `status` is valid for writing.
        let ended = unsafe { libc::waitpid(pid.map_or(-1, Pid::as_raw), &raw mut status, flags) };
        match Errno::result(ended) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(0) => return Ok(None),
            Ok(ended) => return Ok(Some((Pid::from_raw(ended), RawStatus(status)))),
        }
    }
}

/// Gives every signal its default action and unblocks all: what a program expects when it starts.
pub(super) fn reset_signals() {
    for signal in Signal::iterator() {
        // SAFETY: the default action runs no code of ours. SIGKILL and SIGSTOP refuse, which is right.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Sends a signal to the process behind a pidfd.
pub(super) fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: Signal) -> nix::Result<()> {
    let null = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: no pointer but the null `siginfo` is passed.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as c_int, null, 0) }).map(drop)
}

/// Opens a pidfd, which becomes readable when the process has ended.
pub(super) fn open_pidfd(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })
}

/// A detached copy of the mounts at `path`, below it too if `recursive`.
pub(super) fn open_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> nix::Result<OwnedFd> {
    let deep = if recursive { libc::AT_RECURSIVE.cast_unsigned() } else { 0 };
    let empty = if path.is_empty() { libc::AT_EMPTY_PATH.cast_unsigned() } else { 0 };
    let flags: c_uint = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | deep | empty;
    // SAFETY: `path` is a valid C string.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// [`open_tree`] of an absolute path.
pub(super) fn open_tree_at(path: &CStr, recursive: bool) -> nix::Result<OwnedFd> {
    open_tree(AT_FDCWD, path, recursive)
}

/// Adds attributes to a mount, and to those below it if `recursive`.
pub(super) fn set_attributes(mount: BorrowedFd<'_>, attributes: Attributes, recursive: bool) -> nix::Result<()> {
    let attr = libc::mount_attr { attr_set: attributes.0, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let size = size_of::<libc::mount_attr>();
    let fd = mount.as_raw_fd();
    // SAFETY: the path is a C string and `attr` is valid for `size`.
    check(unsafe { libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, &raw const attr, size) }).map(drop)
}

/// Attaches a detached mount at the directory or file `target`.
pub(super) fn move_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to, empty) = (mount.as_raw_fd(), target.as_raw_fd(), c"".as_ptr());
    // SAFETY: both paths are C strings.
    check(unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, empty, flags) }).map(drop)
}

/// Marks every descriptor from `first` up as to be closed by exec.
pub(super) fn close_on_exec_from(first: RawFd) -> nix::Result<()> {
    let first = c_uint::try_from(first).map_err(|_| Errno::EBADF)?;
    // SAFETY: no pointer is passed.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// The other end of a terminal, opened from its master: no path is looked up.
pub(super) fn open_terminal_peer(master: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this request takes an integer.
    descriptor(c_long::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }))
}

/// Makes `terminal` the controlling terminal of the calling session leader.
pub(super) fn take_terminal(terminal: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: this request takes an integer.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Sets the size of a terminal.
pub(super) fn resize_terminal(terminal: BorrowedFd<'_>, size: WindowSize) -> nix::Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is what this request reads.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// The version of Landlock that the kernel has; an error if it has none.
pub(super) fn landlock_version() -> nix::Result<c_long> {
    const VERSION: c_uint = 1;
    let null = std::ptr::null::<u64>();
    // SAFETY: with this flag no memory is read.
    check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, null, 0_usize, VERSION) })
}

/// Landlock rules that permit none of these rights about files, and cut off these scopes.
pub(super) fn landlock_rules(files: u64, scopes: u64) -> nix::Result<OwnedFd> {
    // The third kind of rights, about the network, is second.
    let attr = [files, 0, scopes];
    // SAFETY: `attr` is valid for its size. An older kernel accepts what it does not know if that is zero.
    descriptor(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attr.as_ptr(), size_of_val(&attr), 0) })
}

/// Permits rights about all files below a directory.
pub(super) fn landlock_permit_below(rules: BorrowedFd<'_>, dir: BorrowedFd<'_>, rights: u64) -> nix::Result<()> {
    const PATH_BENEATH: c_uint = 1;
    let attr = [&rights.to_ne_bytes()[..], &dir.as_raw_fd().to_ne_bytes()].concat();
    // SAFETY: `attr` is the packed structure that rules of this kind consist of.
    let added =
        unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), PATH_BENEATH, attr.as_ptr(), 0) };
    check(added).map(drop)
}

/// Holds the calling process, and its children, to the rules.
pub(super) fn landlock_restrict(rules: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: no pointer is passed.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) }).map(drop)
}

/// In a fresh child: closes every descriptor from 3 up except those in `keep`.
pub(super) fn close_all_except(keep: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let mut kept: Vec<c_uint> = keep.iter().filter_map(|fd| c_uint::try_from(fd.as_raw_fd()).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().filter(|fd| *fd >= 3).chain([c_uint::MAX]) {
        if first < fd {
            // SAFETY: the owners of these descriptors are values of the parent; in this child they are never used or dropped.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) })?;
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// Registers a descriptor with the runtime.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same open descriptor as long as it lives.
    unsafe { AsyncFd::register(fd) }.map_err(Into::into)
}

/// Lets go of the pages of code mapped from a file between two addresses; the next use reads them from the file again.
pub(super) fn unmap_code(start: usize, end: usize) {
    let length = end.saturating_sub(start);
    // SAFETY: `MADV_DONTNEED` changes nothing that can be seen in a private mapping that has never been writable: every
    // page still is what the file holds. (Code is not relocated.) An address that is not mapped is refused by the kernel.
    let _ = unsafe { libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED) };
}

/// What a file system keeps about a file besides its mode: `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attribution {
    /// Flags.
    pub(crate) flags: u32,
    extent_size: u32,
    extents: u32,
    /// The project that its space is counted under.
    pub(crate) project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// In a directory's flags: what comes to be in it is counted like the directory.
pub(crate) const INHERIT_PROJECT: u32 = 0x200;

/// What a file is counted under.
pub(crate) fn attribution(file: BorrowedFd<'_>) -> nix::Result<Attribution> {
    let mut found = Attribution::default();
    let request = nix::request_code_read!(b'X', 31, size_of::<Attribution>());
    // SAFETY: `found` is what this request fills.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), request, &raw mut found) }).map(|_| found)
}

/// Changes what a file is counted under.
pub(crate) fn set_attribution(file: BorrowedFd<'_>, attribution: &Attribution) -> nix::Result<()> {
    let request = nix::request_code_write!(b'X', 32, size_of::<Attribution>());
    // SAFETY: `attribution` is what this request reads.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_ref(attribution)) }).map(drop)
}

/// The quotas of a file system: `struct fs_quota_statv` of `linux/dqblk_xfs.h`, of which only the flags are of interest.
#[repr(C)]
struct QuotaState {
    version: i8,
    padding: u8,
    flags: u16,
    rest: [u64; 19],
}

/// Whether the file system that a directory is on refuses what is more than a project's quota.
pub(crate) fn enforces_projects(directory: BorrowedFd<'_>) -> nix::Result<bool> {
    const GET_STATE: c_int = (b'X' as c_int) << 8 | 8;
    const PROJECTS_ENFORCED: u16 = 1 << 5;
    let mut state = QuotaState { version: 1, padding: 0, flags: 0, rest: [0; 19] };
    // SAFETY: `state` is what this command fills: its version says how large it is.
    unsafe { quota_call(directory, GET_STATE, 0, (&raw mut state).cast()) }?;
    Ok(state.flags & PROJECTS_ENFORCED != 0)
}

/// What a project uses and may use, on the file system that a directory is on.
pub(crate) fn project_quota(directory: BorrowedFd<'_>, project: u32) -> nix::Result<libc::dqblk> {
    // SAFETY: all zeroes is a valid `dqblk`.
    let mut quota: libc::dqblk = unsafe { std::mem::zeroed() };
    // SAFETY: `quota` is what this command fills.
    unsafe { quota_call(directory, libc::Q_GETQUOTA, project, (&raw mut quota).cast()) }?;
    Ok(quota)
}

/// Bounds what a project may use: blocks of 1024 bytes and files, 0 for any number.
pub(crate) fn set_project_quota(directory: BorrowedFd<'_>, project: u32, blocks: u64, files: u64) -> nix::Result<()> {
    // SAFETY: all zeroes is a valid `dqblk`.
    let mut quota: libc::dqblk = unsafe { std::mem::zeroed() };
    (quota.dqb_bhardlimit, quota.dqb_ihardlimit) = (blocks, files);
    quota.dqb_valid = libc::QIF_BLIMITS | libc::QIF_ILIMITS;
    // SAFETY: `quota` is what this command reads.
    unsafe { quota_call(directory, libc::Q_SETQUOTA, project, (&raw mut quota).cast()) }
}

/// # Safety
/// `argument` points to what `command` reads or fills.
unsafe fn quota_call(
    directory: BorrowedFd<'_>,
    command: c_int,
    project: u32,
    argument: *mut libc::c_void,
) -> nix::Result<()> {
    const OF_PROJECTS: c_int = 2;
    let command = libc::QCMD(command, OF_PROJECTS);
    // SAFETY: see the function.
    check(unsafe { libc::syscall(libc::SYS_quotactl_fd, directory.as_raw_fd(), command, project, argument) }).map(drop)
}
