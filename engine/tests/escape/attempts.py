"""Attempts to get out of a sandbox, or to hurt what is outside, made from inside.

Standard input holds one JSON object: `calls` (numbers of system calls by name), what stands outside (`secret`, `neighbour`,
`control`: paths on the host; `listeners`: addresses on the host; `port`: where the neighbour listens on its own loopback), and `only`,
the attempts to make, `alone`, those not to make otherwise, and how much to take. For every attempt one line is printed: its name, `denied`, `reached` or `succeeded`, and what was seen.

An attempt succeeds by returning something. Errors that say no are `denied`; an error that comes from behind the door
(a bad argument was looked at, an address did not answer in time) is `reached`.
"""

import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
import sys

WORLD = json.load(sys.stdin)
LIBC = ctypes.CDLL(None, use_errno=True)
REFUSALS = {
    errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOENT, errno.EROFS, errno.ECONNREFUSED, errno.ENETUNREACH,
    errno.EHOSTUNREACH, errno.ENXIO, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ESRCH, errno.EAFNOSUPPORT,
    errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EMFILE, errno.EAGAIN, errno.ENOSPC, errno.ENOTDIR, errno.EXDEV,
    errno.ELOOP, errno.EDQUOT, errno.ENOMEM,
}
ATTEMPTS = {}


def attempt(function):
    ATTEMPTS[function.__name__] = function
    return function


def call(name, *arguments):
    """A system call, its failure as an OSError."""
    result = LIBC.syscall(ctypes.c_long(WORLD["calls"][name]), *arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return f"{name} gave {result}"


def bare(name):
    """An attempt that makes a call without sensible arguments: the door itself must say no."""
    def make():
        zero = ctypes.c_long(0)
        return call(name, zero, zero, zero, zero, zero, zero)
    make.__name__ = f"call_{name}"
    attempt(make)


def read(path, length=64):
    with open(path, "rb") as file:
        return file.read(length)


def write(path, content):
    descriptor = os.open(path, os.O_WRONLY)
    try:
        return f"wrote {os.write(descriptor, content)} bytes to {path}"
    finally:
        os.close(descriptor)


def connect(address, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as stream:
        stream.settimeout(3)
        stream.connect(address)
        return f"connected to {address!r}"


# --- system calls that reach the kernel's inner parts -----------------------------------------------------------------

for name in [
    "acct", "add_key", "bpf", "chroot", "clock_settime", "delete_module", "fanotify_init", "finit_module", "fsopen",
    "init_module", "io_uring_setup", "ioperm", "iopl", "kexec_load", "keyctl", "mount_setattr", "move_mount",
    "open_by_handle_at", "open_tree", "perf_event_open", "pivot_root", "quotactl", "reboot", "request_key", "setdomainname",
    "sethostname", "setns", "settimeofday", "swapon", "swapoff", "syslog", "umount2", "userfaultfd", "vhangup",
]:
    if name in WORLD["calls"]:
        bare(name)


@attempt
def mount_a_file_system():
    return call("mount", b"none", b"/tmp", b"tmpfs", ctypes.c_ulong(0), None)


@attempt
def remount_the_system_writable():
    return call("mount", b"none", b"/usr", None, ctypes.c_ulong(32 | 4096), None)


def unshare(flag):
    return call("unshare", ctypes.c_ulong(flag))


@attempt
def new_user_namespace():
    return unshare(0x10000000)


@attempt
def new_mount_namespace():
    return unshare(0x00020000)


@attempt
def new_network_namespace():
    return unshare(0x40000000)


@attempt
def new_user_namespace_by_clone():
    return call("clone", ctypes.c_ulong(0x10000000 | signal.SIGCHLD), None, None, None, None)


@attempt
def new_user_namespace_by_clone3():
    arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, signal.SIGCHLD)
    return call("clone3", arguments, ctypes.c_size_t(88))


def as_root(function, *arguments):
    """Tried with root's number; EINVAL says that there is no such user here."""
    try:
        function(*arguments)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None
    return "done"


@attempt
def become_root():
    return as_root(os.setuid, 0)


@attempt
def become_root_by_a_setuid_program():
    """`su` and its like, wherever they are; and whether any set-user-id bit counts at all."""
    for path in ["/usr/bin/su", "/bin/su", "/usr/bin/passwd", "/usr/bin/mount"]:
        if os.path.exists(path) and not os.statvfs(path).f_flag & os.ST_NOSUID:
            return f"{path} lies on a file system that honours the bit"
    return None


@attempt
def capabilities_left():
    for line in open("/proc/self/status"):
        name, _, value = line.partition(":\t")
        if name.startswith("Cap") and int(value, 16) != 0:
            return line.strip()
    return None


@attempt
def gain_privileges_by_exec():
    return None if "NoNewPrivs:\t1" in open("/proc/self/status").read() else "no_new_privs is not set"


# --- files ------------------------------------------------------------------------------------------------------------

@attempt
def read_the_hosts_passwords():
    return read("/etc/shadow")


@attempt
def list_roots_home():
    return os.listdir("/root")


@attempt
def list_the_hosts_users():
    return [name for name in os.listdir("/home") if name != "app"]


@attempt
def read_a_secret_of_the_host():
    return read(WORLD["secret"])


@attempt
def read_a_secret_through_the_first_process():
    return read("/proc/1/root" + WORLD["secret"])


@attempt
def read_a_secret_through_dots():
    return read("/" + "../" * 40 + WORLD["secret"].lstrip("/"))


@attempt
def read_a_secret_through_a_link_in_data():
    return read("/home/app/data/link")


@attempt
def read_a_secret_through_a_link_in_code():
    return read("/home/app/code/link")


@attempt
def read_a_neighbours_data():
    return os.listdir(WORLD["neighbour"])


@attempt
def read_a_neighbours_environment():
    own = {str(os.getpid()), str(os.getppid()), "self", "thread-self"}
    for name in os.listdir("/proc"):
        if name.isdigit() and name not in own:
            try:
                if b"NEIGHBOUR=" in read(f"/proc/{name}/environ", 1 << 16):
                    return f"/proc/{name}/environ"
            except OSError:
                pass
    return None


@attempt
def see_processes_of_others():
    limit = 16
    seen = [name for name in os.listdir("/proc") if name.isdigit()]
    return f"{len(seen)} processes" if len(seen) > limit else None


@attempt
def read_the_kernels_memory():
    return read("/proc/kcore")


@attempt
def read_physical_memory():
    return read("/dev/mem")


@attempt
def read_the_kernels_log():
    return read("/proc/kmsg")


@attempt
def read_the_kernels_addresses():
    for line in open("/proc/kallsyms"):
        if int(line.split()[0], 16) != 0:
            return line.strip()
    return None


@attempt
def read_timers_of_others():
    return read("/proc/timer_list")


@attempt
def read_keys_of_others():
    return read("/proc/keys")


@attempt
def trigger_sysrq():
    return write("/proc/sysrq-trigger", b"h")


@attempt
def set_the_core_pattern():
    return write("/proc/sys/kernel/core_pattern", b"|/tmp/x")


@attempt
def change_the_kernels_settings():
    return write("/proc/sys/vm/overcommit_memory", b"1")


@attempt
def register_a_binary_format():
    return write("/proc/sys/fs/binfmt_misc/register", b":x:M::x::/tmp/x:")


@attempt
def set_a_release_agent():
    for directory, _, files in os.walk("/sys/fs/cgroup"):
        if "release_agent" in files:
            return write(f"{directory}/release_agent", b"/tmp/x")
    return None


@attempt
def raise_ones_own_limits():
    for directory, _, files in os.walk("/sys/fs/cgroup"):
        for name in {"memory.max", "memory.limit_in_bytes", "pids.max"} & set(files):
            return write(f"{directory}/{name}", b"1000000000000")
    return None


@attempt
def escape_being_killed_for_memory():
    return write("/proc/self/oom_score_adj", b"-1000")


@attempt
def write_to_the_system():
    return write("/usr/bin/env", b"")


@attempt
def make_a_file_in_the_system():
    return os.open("/usr/local/new", os.O_CREAT | os.O_WRONLY)


@attempt
def write_to_a_layer():
    return os.open("/layers/new", os.O_CREAT | os.O_WRONLY)


@attempt
def make_a_device():
    os.mknod("/tmp/disk", 0o660 | 0o060000, os.makedev(8, 0))
    return read("/tmp/disk")


@attempt
def open_a_device_in_data():
    """Somebody outside has put a device (memory's) into the data directory."""
    return read("/home/app/data/device")


@attempt
def run_a_setuid_file_in_data():
    """A copy of `id` that belongs to root and has the set-user-id bit."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.dup2(writing, 1)
        try:
            os.execv("/home/app/data/setuid", ["id", "-u"])
        except OSError:
            os._exit(1)
    os.wait()
    os.close(writing)
    return "root" if os.read(reading, 64).strip() == b"0" else None


@attempt
def take_a_file_of_another_user():
    os.chmod("/home/app/data/roots", 0o666)
    return write("/home/app/data/roots", b"x")


@attempt
def give_a_file_to_root():
    path = "/home/app/data/mine"
    open(path, "w").close()
    return as_root(os.chown, path, 0, 0)


@attempt
def link_a_system_file_into_data():
    os.link("/usr/bin/env", "/home/app/data/env")
    return "linked"


@attempt
def leave_data_by_a_rename():
    os.mkdir("/home/app/data/inner")
    descriptor = os.open("/home/app/data/inner", os.O_DIRECTORY)
    os.rename("/home/app/data/inner", "/tmp/inner")
    return os.listdir(descriptor)


@attempt
def open_the_hosts_disks():
    disks = [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme", "loop", "dm-", "mapper"))]
    return read("/dev/" + disks[0]) if disks else None


@attempt
def talk_to_a_container_engine():
    for path in ["/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket",
                 "/run/systemd/private"]:
        if os.path.exists(path):
            return connect(path, socket.AF_UNIX)
    return None


@attempt
def talk_to_the_control_socket():
    return connect(WORLD["control"], socket.AF_UNIX)


# --- other processes --------------------------------------------------------------------------------------------------

@attempt
def trace_the_first_process():
    return call("ptrace", ctypes.c_long(16), ctypes.c_long(1), None, None)


@attempt
def read_the_first_process_memory():
    return read("/proc/1/mem")


@attempt
def open_the_first_process_executable():
    """The host's own binary, as in CVE-2019-5736."""
    return os.open("/proc/1/exe", os.O_WRONLY)


@attempt
def read_the_first_process_through_vm_calls():
    buffer = ctypes.create_string_buffer(8)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    remote = (ctypes.c_size_t * 2)(0x400000, 8)
    return call("process_vm_readv", ctypes.c_long(1), local, ctypes.c_ulong(1), remote, ctypes.c_ulong(1), ctypes.c_ulong(0))


@attempt
def kill_the_first_process():
    os.kill(1, signal.SIGKILL)
    os.kill(1, signal.SIGSTOP)
    select.select([], [], [], 0.2)
    state = open("/proc/1/stat").read().rpartition(")")[2].split()[0]
    return f"it is {state}" if state in "TZX" else None


@attempt
def signal_the_shim():
    """The first process's parent is outside and has no number here."""
    parent = int(open("/proc/1/stat").read().rpartition(")")[2].split()[1])
    return f"its parent is {parent}" if parent != 0 else None


@attempt
def push_input_into_a_terminal():
    master, slave = os.openpty()
    os.setsid()
    import fcntl
    fcntl.ioctl(slave, 0x540E, 0)
    fcntl.ioctl(slave, 0x5412, b"x")
    return "TIOCSTI was accepted"


# --- network ----------------------------------------------------------------------------------------------------------

@attempt
def connect_to_whatever_listens_on_the_host():
    reached = []
    for host, port in WORLD["listeners"]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            reached.append(connect((host, port), family))
        except OSError:
            pass
    return reached


@attempt
def connect_to_the_neighbour():
    reached = []
    for host in ["127.0.0.1", "10.0.2.100", "::1"]:
        try:
            reached.append(connect((host, WORLD["port"]), socket.AF_INET6 if ":" in host else socket.AF_INET))
        except OSError:
            pass
    return reached


@attempt
def connect_to_an_abstract_socket_of_the_host():
    return connect("\0" + WORLD["abstract"], socket.AF_UNIX)


@attempt
def ask_the_clouds_metadata_service():
    return connect(("169.254.169.254", 80))


@attempt
def open_a_raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    return "opened"


@attempt
def open_a_packet_socket():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    return "opened"


@attempt
def open_a_vsock():
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    return "opened"


@attempt
def open_a_crypto_socket():
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)
    return "opened"


@attempt
def change_the_network():
    """RTM_NEWADDR: 192.0.2.1/32 on the loopback interface."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        body = struct.pack("BBBBI", socket.AF_INET, 32, 0, 0, 1) + struct.pack("HH4s", 8, 2, bytes([192, 0, 2, 1]))
        route.send(struct.pack("IHHII", 16 + len(body), 20, 0x605, 1, 0) + body)
        error = struct.unpack_from("i", route.recv(4096), 16)[0]
        if error:
            raise OSError(-error, os.strerror(-error))
        return "the kernel agreed"


@attempt
def listen_on_a_privileged_port():
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 22))
        return "bound"


# --- resources: what is taken must run out, for this sandbox alone ------------------------------------------------------

@attempt
def exhaust_files():
    held = []
    try:
        while len(held) < 1_100_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
        return f"{len(held)} files open"
    finally:
        for descriptor in held:
            os.close(descriptor)


def fill(path, limit):
    """Writes until it is refused."""
    block = b"x" * (1 << 20)
    with open(path, "wb", buffering=0) as file:
        try:
            for written in range(limit):
                if file.write(block) < len(block):
                    raise OSError(errno.ENOSPC, "cut short")
        finally:
            os.unlink(path)
    return f"{limit} MiB written"


@attempt
def fill_the_temporary_directory():
    return fill("/tmp/fill", WORLD["megabytes"])


@attempt
def fill_the_code():
    return fill("/home/app/code/fill", WORLD["megabytes"])


@attempt
def fill_shared_memory():
    return fill("/dev/shm/fill", WORLD["megabytes"])


@attempt
def exhaust_inodes():
    count = 200_000
    os.mkdir("/tmp/many")
    made = 0
    try:
        for made in range(count):
            os.close(os.open(f"/tmp/many/{made}", os.O_CREAT | os.O_WRONLY))
        return f"{count} files made"
    finally:
        for number in range(made):
            os.unlink(f"/tmp/many/{number}")


@attempt
def fork_without_end():
    """Children that stay, and then zombies that nobody reaps."""
    children = []
    try:
        while len(children) < WORLD["processes"]:
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
        return f"{len(children)} processes"
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)


@attempt
def leave_zombies():
    children = []
    try:
        while len(children) < WORLD["processes"]:
            child = os.fork()
            if child == 0:
                os._exit(0)
            children.append(child)
        return f"{len(children)} zombies"
    finally:
        for child in children:
            os.waitpid(child, 0)


@attempt
def take_all_memory():
    """Ends the whole sandbox where memory is limited: to be made last, and alone."""
    held = []
    for _ in range(WORLD["megabytes"]):
        held.append(bytearray(os.urandom(1 << 12) * 256))
    return f"{len(held)} MiB"


def outcome(make):
    try:
        seen = make()
    except OSError as error:
        kind = "denied" if error.errno in REFUSALS else "reached"
        if isinstance(error, TimeoutError):
            kind = "reached"
        return kind, errno.errorcode.get(error.errno, str(error))
    except MemoryError:
        return "denied", "ENOMEM"
    return ("succeeded", str(seen)[:120]) if seen else ("denied", "nothing there")


def main():
    for name, make in ATTEMPTS.items():
        if WORLD["only"] and name not in WORLD["only"]:
            continue
        if not WORLD["only"] and name in WORLD["alone"]:
            continue
        # Each in a process of its own: what it changes of itself is its own affair.
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, json.dumps(outcome(make)).encode())
            os._exit(0)
        os.close(writing)
        said = b""
        while chunk := os.read(reading, 4096):
            said += chunk
        os.close(reading)
        os.waitpid(child, 0)
        kind, seen = json.loads(said) if said else ("denied", "killed")
        print(json.dumps({"name": name, "result": kind, "seen": seen}), flush=True)


main()
