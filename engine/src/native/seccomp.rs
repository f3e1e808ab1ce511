//! Which system calls a sandboxed program may make: a list of the allowed, modelled on what container runtimes allow
//! a container without capabilities. Everything else fails with EPERM.
//!
//! Not on the list, among others: everything about mounts, namespaces, keys, kernel modules, BPF, `io_uring`,
//! performance counters and clocks.

use std::collections::BTreeMap;
use std::io;

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "some three hundred names of that crate follow"))]
use libc::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Any of `CLONE_NEW*`: a program may make threads and processes, not namespaces.
const NEW_NAMESPACES: u64 = 0x7E02_0000;
/// `personality` to ask (all ones), and the harmless ones: Linux, 32-bit addresses, no randomization, BSD shared memory.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];
/// Requests that put words into the mouth of whoever uses the terminal next.
const INJECTING: [u64; 2] = [TIOCSTI, TIOCLINUX];
/// Requests that change what a file is counted under ([`crate::quota`]). In a user namespace the kernel refuses them itself; not all
/// sandboxes have one.
const UNCOUNTING: [u64; 2] = [
    nix::request_code_write!(b'X', 32, size_of::<super::sys::Attribution>()),
    nix::request_code_write!(b'f', 2, size_of::<c_long>()),
];
const FAMILIES: [c_int; 4] = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];

/// Confines the calling thread and whatever it executes.
pub(super) fn apply() -> io::Result<()> {
    let fail = |error: &dyn std::error::Error| io::Error::other(error.to_string());
    for filter in filters().map_err(|error| fail(&error))? {
        apply_filter(&filter).map_err(|error| fail(&error))?;
    }
    Ok(())
}

/// The list, and a second filter for `clone3`: its flags lie in memory, where no filter can see them, so it is reported
/// as not existing. C libraries then use `clone`.
fn filters() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = |errno: c_int| SeccompAction::Errno(errno.cast_unsigned());
    let allowed = SeccompFilter::new(rules()?, refuse(EPERM), SeccompAction::Allow, arch)?;
    let clone3 = BTreeMap::from([(SYS_clone3, vec![])]);
    let clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, refuse(ENOSYS), arch)?;
    Ok([allowed.try_into()?, clone3.try_into()?])
}

fn rules() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ALLOWED.iter().chain(ARCHITECTURE).chain(NEWER).map(|call| (*call, vec![])).collect();
    rules.insert(SYS_clone, vec![argument(0, SeccompCmpOp::MaskedEq(NEW_NAMESPACES), 0)?]);
    let equal = |value: u64| argument(0, SeccompCmpOp::Eq, value);
    rules.insert(SYS_personality, PERSONALITIES.into_iter().map(equal).collect::<Result<_, _>>()?);
    let families = FAMILIES.iter().map(|family| equal(u64::from(family.cast_unsigned())));
    rules.insert(SYS_socket, families.collect::<Result<_, _>>()?);
    let other_than = |request: &u64| condition(1, SeccompCmpOp::Ne, *request);
    let requests = INJECTING.iter().chain(&UNCOUNTING).map(other_than).collect::<Result<_, _>>()?;
    rules.insert(SYS_ioctl, vec![SeccompRule::new(requests)?]);
    Ok(rules)
}

fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![condition(index, operator, value)?])
}

fn condition(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    SYS_accept, SYS_accept4, SYS_adjtimex, SYS_bind, SYS_brk, SYS_capget, SYS_capset, SYS_chdir, SYS_clock_adjtime,
    SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_close, SYS_close_range, SYS_connect,
    SYS_copy_file_range, SYS_dup, SYS_dup3, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2,
    SYS_eventfd2, SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_faccessat, SYS_faccessat2, SYS_fadvise64,
    SYS_fallocate, SYS_fchdir, SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_fcntl, SYS_fdatasync,
    SYS_fgetxattr, SYS_flistxattr, SYS_flock, SYS_fremovexattr, SYS_fsetxattr, SYS_fstat, SYS_fstatfs, SYS_fsync,
    SYS_ftruncate, SYS_futex, SYS_futex_waitv, SYS_getcpu, SYS_getcwd, SYS_getdents64, SYS_getegid, SYS_geteuid,
    SYS_getgid, SYS_getgroups, SYS_getitimer, SYS_getpeername, SYS_getpgid, SYS_getpid, SYS_getppid, SYS_getpriority,
    SYS_getrandom, SYS_getresgid, SYS_getresuid, SYS_getrlimit, SYS_get_robust_list, SYS_getrusage, SYS_getsid,
    SYS_getsockname, SYS_getsockopt, SYS_gettid, SYS_gettimeofday, SYS_getuid, SYS_getxattr, SYS_inotify_add_watch,
    SYS_inotify_init1, SYS_inotify_rm_watch, SYS_io_cancel, SYS_io_destroy, SYS_io_getevents,
    SYS_ioprio_get, SYS_ioprio_set, SYS_io_setup, SYS_io_submit, SYS_kill, SYS_landlock_add_rule,
    SYS_landlock_create_ruleset, SYS_landlock_restrict_self, SYS_lgetxattr, SYS_linkat, SYS_listen, SYS_listxattr,
    SYS_llistxattr, SYS_lremovexattr, SYS_lseek, SYS_lsetxattr, SYS_madvise, SYS_membarrier, SYS_memfd_create,
    SYS_memfd_secret, SYS_mincore, SYS_mkdirat, SYS_mknodat, SYS_mlock, SYS_mlock2, SYS_mlockall, SYS_mmap,
    SYS_mprotect, SYS_mq_getsetattr, SYS_mq_notify, SYS_mq_open, SYS_mq_timedreceive, SYS_mq_timedsend, SYS_mq_unlink,
    SYS_mremap, SYS_mseal, SYS_msgctl, SYS_msgget, SYS_msgrcv, SYS_msgsnd, SYS_msync, SYS_munlock, SYS_munlockall,
    SYS_munmap, SYS_name_to_handle_at, SYS_nanosleep, SYS_newfstatat, SYS_openat, SYS_openat2, SYS_pidfd_open,
    SYS_pidfd_send_signal, SYS_pipe2, SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_ppoll, SYS_prctl,
    SYS_pread64, SYS_preadv, SYS_preadv2, SYS_prlimit64, SYS_process_mrelease, SYS_process_vm_readv,
    SYS_process_vm_writev, SYS_pselect6, SYS_ptrace, SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_read, SYS_readahead,
    SYS_readlinkat, SYS_readv, SYS_recvfrom, SYS_recvmmsg, SYS_recvmsg, SYS_remap_file_pages, SYS_removexattr,
    SYS_renameat, SYS_renameat2, SYS_restart_syscall, SYS_rseq, SYS_rt_sigaction, SYS_rt_sigpending,
    SYS_rt_sigprocmask, SYS_rt_sigqueueinfo, SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_rt_sigtimedwait,
    SYS_rt_tgsigqueueinfo, SYS_sched_getaffinity, SYS_sched_getattr, SYS_sched_getparam, SYS_sched_get_priority_max,
    SYS_sched_get_priority_min, SYS_sched_getscheduler, SYS_sched_rr_get_interval, SYS_sched_setaffinity,
    SYS_sched_setattr, SYS_sched_setparam, SYS_sched_setscheduler, SYS_sched_yield, SYS_seccomp, SYS_semctl,
    SYS_semget, SYS_semop, SYS_semtimedop, SYS_sendfile, SYS_sendmmsg, SYS_sendmsg, SYS_sendto, SYS_setfsgid,
    SYS_setfsuid, SYS_setgid, SYS_setgroups, SYS_setitimer, SYS_setpgid, SYS_setpriority, SYS_setregid, SYS_setresgid,
    SYS_setresuid, SYS_setreuid, SYS_setrlimit, SYS_set_robust_list, SYS_setsid, SYS_setsockopt, SYS_set_tid_address,
    SYS_setuid, SYS_setxattr, SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_shmget, SYS_shutdown, SYS_sigaltstack,
    SYS_signalfd4, SYS_socketpair, SYS_splice, SYS_statfs, SYS_statx, SYS_symlinkat, SYS_sync, SYS_sync_file_range,
    SYS_syncfs, SYS_sysinfo, SYS_tee, SYS_tgkill, SYS_timer_create, SYS_timer_delete, SYS_timer_getoverrun,
    SYS_timer_gettime, SYS_timer_settime, SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime, SYS_times,
    SYS_tkill, SYS_truncate, SYS_umask, SYS_uname, SYS_unlinkat, SYS_utimensat, SYS_vmsplice, SYS_wait4, SYS_waitid,
    SYS_write, SYS_writev, SYS_clone3,
];

/// Older calls that newer architectures never had, and calls of this one alone.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ARCHITECTURE: &[c_long] = &[
    SYS_access, SYS_alarm, SYS_chmod, SYS_chown, SYS_creat, SYS_dup2, SYS_epoll_create, SYS_epoll_ctl_old,
    SYS_epoll_wait, SYS_epoll_wait_old, SYS_eventfd, SYS_fork, SYS_futimesat, SYS_getdents,
    SYS_getpgrp, SYS_get_thread_area, SYS_inotify_init, SYS_lchown, SYS_link, SYS_lstat, SYS_mkdir, SYS_mknod,
    SYS_open, SYS_pause, SYS_pipe, SYS_poll, SYS_readlink, SYS_rename, SYS_rmdir, SYS_select, SYS_set_thread_area,
    SYS_signalfd, SYS_stat, SYS_symlink, SYS_time, SYS_unlink, SYS_utime, SYS_utimes, SYS_vfork, SYS_arch_prctl,
];

#[cfg(not(target_arch = "x86_64"))]
const ARCHITECTURE: &[c_long] = &[];

/// Calls that `libc` does not name yet; new ones have one number on every architecture.
const NEWER: &[c_long] = &[
    451, // cachestat
    452, // fchmodat2
    453, // map_shadow_stack
    454, // futex_wake
    455, // futex_wait
    456, // futex_requeue
    463, // setxattrat
    464, // getxattrat
    465, // listxattrat
    466, // removexattrat
];

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::errno::Errno;

    use super::{ALLOWED, ARCHITECTURE, apply, filters};
    use crate::native::sys::{Attribution, attribution, set_attribution};

    #[test]
    fn a_file_stays_counted_as_it_is() {
        let (pipe, _end) = nix::unistd::pipe().unwrap();
        assert_eq!(set_attribution(pipe.as_fd(), &Attribution::default()), Err(Errno::ENOTTY), "it gets to the pipe");
        // The filters are this thread's alone.
        let confined = std::thread::spawn(move || {
            apply().unwrap();
            (attribution(pipe.as_fd()).err(), set_attribution(pipe.as_fd(), &Attribution::default()))
        });
        assert_eq!(confined.join().unwrap(), (Some(Errno::ENOTTY), Err(Errno::EPERM)));
    }

    #[test]
    fn filters_compile_within_the_kernels_bound() {
        for filter in filters().unwrap() {
            assert!(!filter.is_empty() && filter.len() <= 4096, "{}", filter.len());
        }
    }

    #[test]
    fn what_reaches_the_kernels_inner_parts_is_not_listed() {
        let listed = |call: i64| ALLOWED.contains(&call) || ARCHITECTURE.contains(&call);
        let refused = [
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_mount_setattr,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_io_uring_setup,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_kexec_load,
            libc::SYS_reboot,
            libc::SYS_open_by_handle_at,
            libc::SYS_userfaultfd,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_swapon,
            libc::SYS_chroot,
            libc::SYS_clone,
            libc::SYS_socket,
            libc::SYS_personality,
            libc::SYS_ioctl,
        ];
        assert_eq!(refused.into_iter().filter(|call| listed(*call)).collect::<Vec<_>>(), Vec::<i64>::new());
    }
}
