//! Making the attempts of `attempts.py` in a sandbox, and hearing how they went.

use std::collections::BTreeMap;

use engine::{Exit, Limits, LogFile, Mount, MountKind, Spec, Streams};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use crate::outside::Outside;
use crate::world::{World, command, id, mount, output};

pub(crate) const SCRIPT: &str = include_str!("attempts.py");
/// Attempts that may end the sandbox: each is made in one of its own.
pub(crate) const ALONE: [&str; 1] = ["take_all_memory"];
/// More than a sandbox may take.
const MEGABYTES: u32 = 1024;
const PROCESSES: u32 = 2000;
const LOG_BYTES: u64 = 1 << 20;

/// How one attempt went: `denied`, `reached` or `succeeded`; or `not made`, where this machine gives no means to bound it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) result: String,
    pub(crate) seen: String,
}

/// What the script is told.
pub(crate) fn told(outside: &Outside, only: Option<&str>) -> serde_json::Value {
    serde_json::json!({
        "calls": calls(),
        "secret": outside.secret,
        "neighbour": outside.neighbours_data,
        "control": outside.control,
        "abstract": outside.abstract_name,
        "listeners": outside.listeners,
        "port": outside.port,
        "megabytes": MEGABYTES,
        "processes": PROCESSES,
        "only": only.into_iter().collect::<Vec<_>>(),
        "alone": ALONE,
    })
}

/// Makes one attempt, or all but those of [`ALONE`].
pub(crate) async fn make(world: &World, outside: &Outside, only: Option<&str>) -> Vec<Outcome> {
    let spec = spec(world, outside);
    let mut process = world.engine.attach(&id("escape"), &spec, None).await.unwrap();
    let Some(Streams::Pipes { mut stdin, stdout, stderr }) = process.streams.take() else { panic!("no pipes") };
    stdin.write_all(told(outside, only).to_string().as_bytes()).await.unwrap();
    process.streams = Some(Streams::Pipes { stdin, stdout, stderr });
    let said = output(process).await;
    if let (Some(name), Exit::OutOfMemory(_)) = (only, said.exit) {
        let (result, seen) = ("denied".to_owned(), said.exit.to_string());
        return vec![Outcome { name: name.to_owned(), result, seen }];
    }
    assert_eq!(said.exit, Exit::Status(0), "{}", said.stderr);
    read(&said.stdout)
}

/// An instance that writes much more than its log may hold.
pub(crate) async fn flood_the_log(world: &World, outside: &Outside) -> Outcome {
    let path = world.path("flood.log");
    let mut flood = spec(world, outside);
    flood.command = command("yes 'an endless line of output' | head -c 64M; echo done > /home/app/data/flooded");
    flood.log = Some(LogFile { path: path.clone(), tag: "app[web.1]:".to_owned(), max_bytes: LOG_BYTES });
    let flooding = id("flood");
    world.engine.launch(&flooding, &flood, "").await.unwrap();
    world.engine.wait(&flooding).await.unwrap();
    world.engine.remove(&flooding).await.unwrap();
    assert!(outside.data.join("flooded").exists(), "all was written");
    let kept: u64 =
        [path.clone(), path.with_extension("log.1")].iter().flat_map(std::fs::metadata).map(|m| m.len()).sum();
    let result = if kept <= 2 * LOG_BYTES { "denied" } else { "succeeded" };
    let seen = format!("of 64 MiB {} KiB kept", kept >> 10);
    Outcome { name: "flood_the_log".to_owned(), result: result.to_owned(), seen }
}

/// One that cannot be bounded here, and why.
pub(crate) fn not_made(name: &str, why: &str) -> Outcome {
    let why = why.split(':').next().unwrap_or(why);
    Outcome { name: name.to_owned(), result: "not made".to_owned(), seen: why.to_owned() }
}

/// The lines that the script prints.
pub(crate) fn read(lines: &str) -> Vec<Outcome> {
    lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn spec(world: &World, outside: &Outside) -> Spec {
    let mut spec = world.spec("exec python3 /home/app/attempts.py");
    spec.mounts = vec![
        mount(&outside.code, "/home/app/code", MountKind::Scratch),
        mount(&outside.data, "/home/app/data", MountKind::ReadWrite),
        Mount { source: outside.script.clone(), target: "/home/app/attempts.py".into(), kind: MountKind::ReadOnly },
    ];
    let (memory, pids) = (Some(256 << 20), Some(128));
    spec.limits = Limits { memory, cpu: None, pids, open_files: 1024, tmp: 64 << 20, scratch: 64 << 20 };
    spec.log = None;
    spec
}

/// Numbers of the calls that the script makes by number.
fn calls() -> BTreeMap<&'static str, i64> {
    macro_rules! numbers {
        ($($name:ident $number:ident),* $(,)?) => { BTreeMap::from([$((stringify!($name), libc::$number)),*]) };
    }
    let mut all = numbers![
        acct SYS_acct, add_key SYS_add_key, bpf SYS_bpf, chroot SYS_chroot, clock_settime SYS_clock_settime, clone SYS_clone,
        clone3 SYS_clone3, delete_module SYS_delete_module, fanotify_init SYS_fanotify_init, finit_module SYS_finit_module,
        fsopen SYS_fsopen, init_module SYS_init_module, io_uring_setup SYS_io_uring_setup, kexec_load SYS_kexec_load,
        keyctl SYS_keyctl, mount SYS_mount, mount_setattr SYS_mount_setattr, move_mount SYS_move_mount,
        open_by_handle_at SYS_open_by_handle_at, open_tree SYS_open_tree, perf_event_open SYS_perf_event_open,
        pivot_root SYS_pivot_root, process_vm_readv SYS_process_vm_readv, ptrace SYS_ptrace, quotactl SYS_quotactl,
        reboot SYS_reboot, request_key SYS_request_key, setdomainname SYS_setdomainname, sethostname SYS_sethostname,
        setns SYS_setns, settimeofday SYS_settimeofday, swapoff SYS_swapoff, swapon SYS_swapon, syslog SYS_syslog,
        umount2 SYS_umount2, unshare SYS_unshare, userfaultfd SYS_userfaultfd, vhangup SYS_vhangup,
    ];
    #[cfg(target_arch = "x86_64")]
    all.extend(numbers![ioperm SYS_ioperm, iopl SYS_iopl]);
    all
}
