//! What a program is, and what it finds around it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use engine::{EngineError, Exit};

use crate::world::{HOST_UID, World, cases, children, id, root, until, with_command_line};

cases![
    an_ordinary_user_without_privileges,
    the_user_outside,
    root_outside_is_refused,
    the_environment_is_complete,
    large_environments,
    the_working_directory,
    names_of_host_and_users,
    other_processes_are_not_seen,
    forbidden_calls,
    the_system_is_read_only,
    temporary_files_are_private,
    secrets_are_not_in_command_lines,
];

async fn an_ordinary_user_without_privileges(world: Arc<World>) {
    let seen = world.run(&world.spec("id -un; id -gn; umask; cat /proc/self/status")).await;
    assert!(seen.stdout.starts_with("app\napp\n0022\n"), "{seen:?}");
    let fields: BTreeMap<&str, &str> = seen.stdout.lines().filter_map(|line| line.split_once(":\t")).collect();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "SigBlk"] {
        assert_eq!(fields[set], "0000000000000000", "{set}");
    }
    assert_eq!((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"));
    // Bits 31 and 32 are the C library's own, which its `posix_spawn` ignores in every child.
    assert_eq!(u64::from_str_radix(fields["SigIgn"], 16).unwrap() & !0x1_8000_0000, 0, "{}", fields["SigIgn"]);
}

async fn the_user_outside(world: Arc<World>) {
    world.launch("a", "exec sleep 86460").await;
    until(|| with_command_line("sleep 86460").len() == 1).await;
    let pid = with_command_line("sleep 86460")[0];
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
    let error = world.engine.attach(&id("a"), &spec, None).await.unwrap_err();
    assert!(matches!(error, EngineError::Setup { .. }), "{error}");
}

/// Of the daemon's own variables, descriptors and limits none reaches the program.
async fn the_environment_is_complete(world: Arc<World>) {
    let _open = std::fs::File::open("/proc/self/status").unwrap();
    let id = world.launch("a", "env; ls -l /proc/self/fd; umask; ulimit -c").await;
    world.engine.wait(&id).await.unwrap();
    let texts = world.texts();
    let variables: Vec<&str> = texts.iter().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert!(variables.iter().all(|name| ["PATH", "HOME", "SECRET", "PWD", "_"].contains(name)), "{variables:?}");
    assert!(texts.contains(&"SECRET=s3cret".to_owned()), "{texts:?}");
    let links = texts.iter().filter(|line| line.contains(" -> ")).count();
    assert_eq!(links, 4, "its streams, and the directory being listed: {texts:?}");
    assert_eq!(texts[texts.len() - 2..], ["0022", "0"]);
}

async fn large_environments(world: Arc<World>) {
    let mut spec = world.spec("echo ${#BIG1} ${#BIG9}; env | grep -c BIG");
    spec.command.env.extend((0..10).map(|number| (format!("BIG{number}"), "x".repeat(100_000))));
    assert_eq!(world.run(&spec).await.stdout, "100000 100000\n10\n");
    world.engine.launch(&id("a"), &spec, "").await.unwrap();
    world.engine.wait(&id("a")).await.unwrap();
    assert_eq!(world.texts(), ["100000 100000", "10"]);
}

async fn the_working_directory(world: Arc<World>) {
    let mut spec = world.spec("pwd");
    spec.command.cwd = "/usr/share".into();
    assert_eq!(world.run(&spec).await.stdout, "/usr/share\n");
}

async fn names_of_host_and_users(world: Arc<World>) {
    let script = "hostname; cat /etc/hostname; getent hosts blog | tr -s ' '; getent passwd app | cut -d: -f1,5-7; \
                  ls -ld ~ | cut -d' ' -f1,3,4";
    let seen = world.run(&world.spec(script)).await;
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let expected = format!("blog\nblog\n127.0.0.1 localhost blog\napp:app:/home/app:{shell}\ndrwxr-xr-x app app\n");
    assert_eq!(seen.stdout, expected, "{seen:?}");
}

async fn other_processes_are_not_seen(world: Arc<World>) {
    world.launch("other", "exec sleep 86461").await;
    let script = "set -- /proc/[0-9]*; echo $#; kill -0 -1 && echo some; kill -0 $PPID && echo $PPID; kill -9 1; \
                  echo alive; ipcs -a | grep -c 0x";
    let seen = world.run(&world.spec(script)).await;
    // The first process and the shell.
    assert_eq!(seen.stdout, "2\n1\nalive\n0\n", "{seen:?}");
}

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
}

async fn the_system_is_read_only(world: Arc<World>) {
    let script = "for dir in / /usr /bin /lib /etc /dev /proc /root /usr/share /etc/ssl /run /var /home /.airstrip /.airstrip/*; do \
                  touch $dir/x 2> /dev/null && echo wrote to $dir; done; echo x >> /etc/passwd; ls -l /bin | head -1";
    let seen = world.run(&world.spec(script)).await;
    assert!(!seen.stdout.contains("wrote"), "{seen:?}");
    assert!(seen.stderr.contains("Read-only file system") || seen.stderr.contains("ermission denied"), "{seen:?}");
    assert_eq!(std::fs::read_link("/bin").is_ok(), seen.stdout.starts_with("lrwx"), "links stay as on the host");
}

async fn temporary_files_are_private(world: Arc<World>) {
    let script = "for dir in /tmp /var/tmp /dev/shm ~; do echo mine > $dir/airstrip-test || echo no $dir; done; \
                  ls -ld /tmp /var/tmp /dev/shm | cut -c1-10";
    let seen = world.run(&world.spec(script)).await;
    assert_eq!(seen.stdout, "drwxrwxrwt\ndrwxrwxrwt\ndrwxrwxrwt\n", "{seen:?}");
    assert!(["/tmp", "/var/tmp", "/dev/shm"].iter().all(|dir| !Path::new(dir).join("airstrip-test").exists()));
    let seen = world.run(&world.spec("ls -A /tmp /var/tmp /dev/shm ~")).await;
    assert_eq!(seen.stdout, "/dev/shm:\n\n/home/app:\n\n/tmp:\n\n/var/tmp:\n", "{seen:?}");
    let script = "cp /bin/true /tmp/x && /tmp/x && echo executes";
    assert_eq!(world.run(&world.spec(script)).await.stdout, "executes\n");
}

async fn secrets_are_not_in_command_lines(world: Arc<World>) {
    let id = world.launch("a", "echo ready; exec sleep 86462").await;
    world.logged("ready").await;
    let process = world.engine.exec(&id, &crate::world::command("exec sleep 86463"), None).await.unwrap();
    assert_eq!(with_command_line("s3cret"), Vec::<u32>::new());
    // The engine's own processes hold the secret in memory, but not in an environment others might read.
    for pid in children(std::process::id()) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if name.starts_with("airstrip-") {
            let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
            assert!(!environ.contains("s3cret"), "{name}: {environ}");
        }
    }
    drop(process);
}
