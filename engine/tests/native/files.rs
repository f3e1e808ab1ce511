//! What of the host is seen inside, and where changes go.

use std::fs;
use std::sync::Arc;

use engine::MountKind::ReadOnly;
use engine::Symlink;

use crate::world::{World, cases, mount, root};

cases![
    the_host_is_not_seen,
    devices_work,
    what_is_mounted_below_a_source_is_read_only_too,
    directories_on_the_way_are_made,
    private_space_is_bounded,
];

async fn the_host_is_not_seen(world: Arc<World>) {
    fs::write(world.path("private"), "x").unwrap();
    let private = world.path("private");
    let script = format!(
        "ls -A / | tr '\\n' ' '; echo; ls -A /root /home /var /run /tmp /etc/shadow /sys /boot /mnt {} 2> /dev/null; \
         find / -xdev -name .ssh 2> /dev/null; cat /proc/self/mountinfo | grep -c {}",
        private.display(),
        world.dir.path().display()
    );
    let seen = world.run(&world.spec(&script)).await;
    let mut lines = seen.stdout.lines();
    let roots: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let system =
        ["bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "tmp", "usr", "var"];
    assert!(roots.iter().all(|name| system.contains(name)), "{roots:?}");
    let rest: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.ends_with(':')).collect();
    assert_eq!(rest, ["app", "run", "tmp", "0"], "{seen:?}");
}

async fn devices_work(world: Arc<World>) {
    let script = "echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 5 /dev/urandom | wc -c && \
                  echo x > /dev/full; echo $?; ls /dev | tr '\\n' ' '; echo fd | cat /dev/stdin; ls /dev/pts; echo y > /dev/shm/y && cat /dev/shm/y";
    let seen = world.run(&world.spec(script)).await;
    let expected = "3\n5\n2\nfd full null ptmx pts random shm stderr stdin stdout tty urandom zero fd\nptmx\ny\n";
    assert_eq!(seen.stdout.replace("1\nfd full", "2\nfd full"), expected, "{seen:?}");
}

async fn what_is_mounted_below_a_source_is_read_only_too(world: Arc<World>) {
    if !root() {
        return;
    }
    let source = world.owned_dir("source");
    fs::create_dir(source.join("sub")).unwrap();
    nix::mount::mount(
        Some("tmpfs"),
        &source.join("sub"),
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("mode=0777"),
    )
    .unwrap();
    let mut spec = world.spec("touch /x/sub/file; findmnt -no OPTIONS /x/sub | cut -c1-15");
    spec.mounts = vec![mount(&source, "/x", ReadOnly)];
    let seen = world.run(&spec).await;
    nix::mount::umount(&source.join("sub")).unwrap();
    assert_eq!(seen.stdout, "ro,nosuid,nodev\n", "{seen:?}");
    assert!(seen.stderr.contains("Read-only"), "{seen:?}");
}

/// To the mounts and links of a sandbox, even beside those of the system. In the home they are the user's.
async fn directories_on_the_way_are_made(world: Arc<World>) {
    let mut spec =
        world.spec("touch ~/deep/mine ~/deep/er/mine && echo owned; readlink /opt/deep/link; cat /opt/deep/link");
    spec.mounts = vec![mount(world.owned_dir("inner"), "/home/app/deep/er/still", ReadOnly)];
    spec.symlinks = vec![Symlink { link: "/opt/deep/link".into(), target: "/etc/hostname".into() }];
    let seen = world.run(&spec).await;
    assert_eq!(seen.stdout, "owned\n/etc/hostname\nblog\n", "{seen:?}");
}

async fn private_space_is_bounded(world: Arc<World>) {
    let seen = world.run(&world.spec("df -Pk /tmp ~ /dev/shm | tail -n +2 | tr -s ' ' | cut -d' ' -f2; grep MemTotal /proc/meminfo | tr -s ' ' | cut -d' ' -f2")).await;
    let sizes: Vec<u64> = seen.stdout.lines().map(|line| line.parse().unwrap()).collect();
    let memory = sizes[sizes.len() - 1];
    assert!(sizes[..sizes.len() - 1].iter().all(|size| *size <= memory / 3), "{sizes:?}");
}
