//! What a sandboxed program is, and what it may not do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use engine::{Engine, EngineError, Exit};

use crate::world::{HOST_UID, World, id, root, stories, until, with_command_line};

stories![
    an_ordinary_user_without_privileges,
    the_user_outside,
    root_outside_is_refused,
    forbidden_calls,
    allowed_calls,
    nothing_inherited,
    the_first_process_cannot_be_looked_into,
    other_processes_are_not_seen,
    limits,
    names_of_host_and_users,
    secrets_are_not_in_command_lines,
];

async fn an_ordinary_user_without_privileges(world: Arc<World>) {
    let seen = world.run(&world.spec("id -un; id -u; id -g; echo; cat /proc/self/status")).await;
    assert!(seen.stdout.starts_with("app\n1000\n1000\n"), "{seen:?}");
    let fields: BTreeMap<&str, &str> = seen.stdout.lines().filter_map(|line| line.split_once(":\t")).collect();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(fields[set], "0000000000000000", "{set}");
    }
    assert_eq!((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"));
    assert_eq!(fields["Uid"], "1000\t1000\t1000\t1000");
    assert_eq!(fields["SigBlk"], "0000000000000000");
    // Bits 31 and 32 are the C library's own, which its `posix_spawn` ignores in every child.
    assert_eq!(u64::from_str_radix(fields["SigIgn"], 16).unwrap() & !0x1_8000_0000, 0, "{}", fields["SigIgn"]);
    if root() {
        assert_eq!(fields["Groups"].trim(), "");
    }
}

async fn the_user_outside(world: Arc<World>) {
    world.launch("a", "exec sleep 86420").await;
    until(|| with_command_line("sleep 86420").len() == 1).await;
    let pid = with_command_line("sleep 86420")[0];
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let uid = if root() { HOST_UID } else { nix::unistd::Uid::effective().as_raw() };
    assert!(
        status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{uid}\t{uid}\t{uid}\t{uid}\n")),
        "{status}"
    );
}

async fn root_outside_is_refused(world: Arc<World>) {
    if !root() {
        return;
    }
    let mut spec = world.spec("true");
    spec.host_uid = 0;
    let error = world.engine.launch(&id("a"), &spec, "").await.unwrap_err();
    assert!(matches!(error, EngineError::Setup { .. }), "{error}");
}

/// Each line is tried by a program that knows how to ask for it; all must be refused, as not permitted.
async fn forbidden_calls(world: Arc<World>) {
    for attempt in [
        "unshare -U true",
        "unshare -m true",
        "unshare -n true",
        "mount -t tmpfs none /tmp",
        "mount -o remount,rw /usr",
        "umount -l /usr",
        "chroot / true",
        "mknod /tmp/disk b 8 0",
        "chown 0 /home/app",
        "hostname other",
        "date -s 2001-01-01",
        "dmesg",
        "nsenter -t 1 -m true",
        "pivot_root / /tmp",
        "su -c true",
        "echo 1 > /proc/sys/kernel/printk",
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /proc/1/oom_score_adj",
    ] {
        let seen = world.run(&world.spec(attempt)).await;
        assert_ne!(seen.exit, Exit::Status(0), "{attempt}");
        assert_ne!(seen.exit, Exit::Status(127), "{attempt}: {}", seen.stderr);
    }
    let Some(python) = python() else { return };
    let calls = [
        ("keyctl", libc::SYS_keyctl, 1),
        ("add_key", libc::SYS_add_key, 1),
        ("bpf", libc::SYS_bpf, 1),
        ("io_uring_setup", libc::SYS_io_uring_setup, 1),
        ("perf_event_open", libc::SYS_perf_event_open, 1),
        ("userfaultfd", libc::SYS_userfaultfd, 1),
        ("setns", libc::SYS_setns, 1),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, 1),
        ("clone3", libc::SYS_clone3, 38),
    ];
    for (name, number, errno) in calls {
        let script = format!(
            "import ctypes\nc=ctypes.CDLL(None,use_errno=True)\nr=c.syscall({number},0,0,0,0,0,0)\nprint(r,ctypes.get_errno())"
        );
        assert_eq!(python_says(&world, python, &script).await, format!("-1 {errno}\n"), "{name}");
    }
    // Typing into a terminal; a filter that looked at more than the kernel does would let the second pass.
    for request in [0x5412_u64, 0x1_0000_5412, 0x541C] {
        let script = format!(
            "import ctypes\nc=ctypes.CDLL(None,use_errno=True)\n\
             r=c.syscall({},0,ctypes.c_ulong({request}),0)\nprint(r,ctypes.get_errno())",
            libc::SYS_ioctl
        );
        assert_eq!(python_says(&world, python, &script).await, "-1 1\n", "{request:x}");
    }
    // New namespaces through `clone`, whose flags the filter sees; and unusual kinds of sockets.
    let clone = format!(
        "import ctypes\nc=ctypes.CDLL(None,use_errno=True)\nr=c.syscall({},0x10000011,0,0,0,0)\nprint(r,ctypes.get_errno())",
        libc::SYS_clone
    );
    assert_eq!(python_says(&world, python, &clone).await, "-1 1\n");
    for family in [libc::AF_VSOCK, libc::AF_ALG, libc::AF_PACKET] {
        let script = format!(
            "import socket\ntry: socket.socket({family}, socket.SOCK_STREAM)\nexcept OSError as e: print(e.errno)"
        );
        assert_eq!(python_says(&world, python, &script).await, "1\n", "family {family}");
    }
}

async fn allowed_calls(world: Arc<World>) {
    let Some(python) = python() else { return };
    let script = "\
import os, socket, threading, subprocess, multiprocessing, mmap, signal, tempfile, select, time
t = threading.Thread(target=lambda: None); t.start(); t.join()
print(subprocess.run(['echo', 'child'], capture_output=True).stdout.decode().strip())
with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(abs, [-1, -2]))
a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))
s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); s.accept()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM); socket.socket(socket.AF_UNIX)
m = multiprocessing.Lock(); m.acquire(); m.release()
mmap.mmap(-1, 4096)[0:1] = b'y'
f = tempfile.TemporaryFile(); f.write(b'z'); os.fsync(f.fileno()); os.eventfd(0); select.epoll()
print(socket.gethostbyname('localhost'), os.cpu_count() > 0, len(os.urandom(4)))
os.posix_openpt(os.O_RDWR) if hasattr(os, 'posix_openpt') else os.openpty()
";
    let expected = "child\n[1, 2]\nb'x'\n127.0.0.1 True 4\n";
    assert_eq!(python_says(&world, python, script).await, expected);
}

fn python() -> Option<&'static str> {
    let found = ["/usr/bin/python3", "/usr/local/bin/python3"].into_iter().find(|path| Path::new(path).exists());
    if found.is_none() {
        println!("skipped: what is tried with python3: it is not in /usr");
    }
    found
}

async fn python_says(world: &World, python: &str, script: &str) -> String {
    let mut spec = world.spec("");
    spec.command.argv = [python, "-c", script].map(str::to_owned).to_vec();
    let seen = world.run(&spec).await;
    assert_eq!(seen.exit, Exit::Status(0), "{}", seen.stderr);
    seen.stdout
}

/// No descriptor, variable or directory of the daemon's reaches the program.
async fn nothing_inherited(world: Arc<World>) {
    let _open = std::fs::File::open("/proc/self/status").unwrap();
    let id = world.launch("a", "env; ls -l /proc/self/fd; umask; ulimit -c").await;
    world.engine.wait(&id).await.unwrap();
    let texts = world.texts();
    let variables: Vec<&str> = texts.iter().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert!(variables.iter().all(|name| ["PATH", "HOME", "SECRET", "PWD", "_"].contains(name)), "{variables:?}");
    let links = texts.iter().filter(|line| line.contains(" -> ")).count();
    assert_eq!(links, 4, "its streams, and the directory being listed: {texts:?}");
    assert_eq!(texts[texts.len() - 2..], ["0022", "0"]);
}

/// It still is airstrip: whoever could trace it, or open its executable, could reach outside.
async fn the_first_process_cannot_be_looked_into(world: Arc<World>) {
    let script = "for what in environ mem exe cwd root fd maps; do cat /proc/1/$what > /dev/null 2>&1 && echo open: $what; \
                  ls /proc/1/$what/ > /dev/null 2>&1 && echo listed: $what; done; cat /proc/1/comm; kill -9 1; echo alive";
    let seen = world.run(&world.spec(script)).await;
    let lines: Vec<&str> = seen.stdout.lines().collect();
    assert_eq!((lines.len(), lines.last()), (2, Some(&"alive")), "{seen:?}");
}

async fn other_processes_are_not_seen(world: Arc<World>) {
    world.launch("other", "exec sleep 86421").await;
    let script = "ls -d /proc/[0-9]* | wc -l; kill -0 -1 && echo some; kill -0 $PPID && echo init";
    let seen = world.run(&world.spec(script)).await;
    // The first process, the shell, ls, and wc.
    assert_eq!(seen.stdout, "4\ninit\n", "{seen:?}");
    let shared = world.run(&world.spec("ipcs -a | grep -c 0x; ls /dev/shm /tmp /var/tmp")).await;
    assert!(shared.stdout.starts_with("0\n"), "{shared:?}");
}

async fn limits(world: Arc<World>) {
    let seen = world.run(&world.spec("ulimit -n; ulimit -Hn; ulimit -Hc")).await;
    let numbers: Vec<u64> = seen.stdout.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers[0] >= 1024 && numbers[0] == numbers[1] && numbers[1] <= 65_536 && numbers[2] == 0, "{numbers:?}");
}

async fn names_of_host_and_users(world: Arc<World>) {
    let script =
        "hostname; cat /etc/hostname; getent hosts blog | tr -s ' '; getent passwd app; ls -ld ~ | cut -d' ' -f1,3,4";
    let seen = world.run(&world.spec(script)).await;
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let expected =
        format!("blog\nblog\n127.0.0.1 localhost blog\napp:x:1000:1000:app:/home/app:{shell}\ndrwxr-xr-x app app\n");
    assert_eq!(seen.stdout, expected);
}

async fn secrets_are_not_in_command_lines(world: Arc<World>) {
    let id = world.launch("a", "echo ready; exec sleep 86422").await;
    world.logged("ready").await;
    let process = world.engine.exec(&id, &crate::world::command("exec sleep 86423"), None).await.unwrap();
    assert_eq!(with_command_line("s3cret"), Vec::<u32>::new());
    let kept = std::fs::read_to_string(world.path("run/a/instance.json")).unwrap();
    assert!(!kept.contains("s3cret"), "{kept}");
    // The shim and the joining process hold the secret in memory, but not in an environment others might read.
    for pid in crate::world::children(std::process::id()) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if name.starts_with("airstrip-") {
            let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
            assert!(!environ.contains("s3cret"), "{name}: {environ}");
        }
    }
    drop(process);
}
