//! The base system that every sandbox shows: `/usr` and its like, chosen files of `/etc`, `/dev`, `/proc`, `/tmp`.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use super::mounts::Tree;
use super::protocol::Failure;
use super::sys::Attributes;
use crate::Spec;

pub(crate) use super::network::resolver_file;

const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Nothing here is private to the host: how names, certificates, libraries and types of files are found.
const ETC: [&str; 14] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/pki",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl",
];

const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Hidden, as container runtimes do: they tell about the host, or reach it.
const HIDDEN: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];

const FROZEN: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const PASSWD: &str = "\
root:x:0:0:root:/root:/usr/sbin/nologin
app:x:1000:1000:app:/home/app:SHELL
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";
const GROUP: &str = "root:x:0:\ntty:x:5:\napp:x:1000:\nnogroup:x:65534:\n";

/// How something of the host is shown at the same path inside.
pub(crate) enum Shown {
    /// As the link it is: what it points to is shown, too.
    Link(PathBuf),
    /// As what is found there.
    Bound(PathBuf),
}

/// The base system, as far as this host has it: paths, and how each is shown.
pub(crate) fn system() -> impl Iterator<Item = (&'static Path, Shown)> {
    SYSTEM.iter().chain(&ETC).filter_map(|path| Some((Path::new(path), shown(Path::new(path))?)))
}

fn shown(path: &Path) -> Option<Shown> {
    let target = fs::canonicalize(path).ok()?;
    Some(match fs::read_link(path) {
        Ok(link) if target.starts_with("/usr") => Shown::Link(link),
        _ => Shown::Bound(target),
    })
}

/// `/etc/passwd` where `app` has this number.
pub(crate) fn passwd(uid: u32) -> String {
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    PASSWD.replace("SHELL", shell).replace("1000", &uid.to_string())
}

/// `/etc/group` where `app` has this number.
pub(crate) fn group(gid: u32) -> String {
    GROUP.replace("1000", &gid.to_string())
}

/// `/etc/hosts` of a sandbox.
pub(crate) fn hosts(hostname: &str) -> String {
    format!("127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost\n")
}

/// Fills an empty tree.
pub(super) fn build(tree: &mut Tree, spec: &Spec) -> Result<(), Failure> {
    for (path, shown) in system() {
        match shown {
            Shown::Link(link) => tree.link(path, &link)?,
            Shown::Bound(source) => tree.bind(&source, path, Attributes::READ_ONLY)?,
        }
    }
    accounts(tree, &spec.hostname)?;
    tree.write("/etc/resolv.conf", &resolver_file(spec.egress))?;
    devices(tree)?;
    proc(tree)?;
    tree.private("/tmp", 0o1777)?;
    tree.private("/var/tmp", 0o1777)?;
    tree.private("/home/app", 0o755)?;
    tree.link(Path::new("/var/run"), Path::new("/run"))?;
    tree.directory(Path::new("/run")).map(drop)
}

fn accounts(tree: &Tree, hostname: &str) -> Result<(), Failure> {
    tree.write("/etc/passwd", &passwd(1000))?;
    tree.write("/etc/group", &group(1000))?;
    tree.write("/etc/hostname", &format!("{hostname}\n"))?;
    tree.write("/etc/hosts", &hosts(hostname))
}

fn devices(tree: &mut Tree) -> Result<(), Failure> {
    for path in DEVICES {
        tree.bind(Path::new(path), Path::new(path), Attributes::DEVICE)?;
    }
    for (link, target) in DEVICE_LINKS {
        tree.link(Path::new(link), Path::new(target))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    tree.special("devpts", "/dev/pts", flags, "newinstance,ptmxmode=0666,mode=0620")?;
    tree.private("/dev/shm", 0o1777)
}

fn proc(tree: &mut Tree) -> Result<(), Failure> {
    tree.special("proc", "/proc", MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, "")?;
    for path in HIDDEN {
        tree.mask(path)?;
    }
    FROZEN.iter().try_for_each(|path| tree.freeze(path))
}
