//! What of the host is seen inside, and where changes go.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use engine::MountKind::{ReadOnly, ReadWrite, Scratch};
use engine::{Engine, Exit, Symlink};

use crate::world::{HOST_UID, World, id, mount, root, stories};

stories![
    the_system_is_read_only,
    the_host_is_not_seen,
    devices_work,
    temporary_files_are_private,
    read_only_mounts,
    read_write_mounts_stay,
    scratch_mounts_are_thrown_away,
    scratch_names_with_special_characters,
    mounts_inside_mounts,
    single_files,
    a_source_behind_a_private_directory,
    symbolic_links,
    links_in_a_mount_do_not_lead_outside,
    targets_must_be_plain,
    what_is_mounted_below_a_source_is_read_only_too,
    private_space_is_bounded,
];

async fn the_system_is_read_only(world: Arc<World>) {
    let script = "for dir in / /usr /bin /lib /etc /dev /proc /root /usr/share /etc/ssl /run /var /home; do \
                  touch $dir/x 2> /dev/null && echo wrote to $dir; done; echo x >> /etc/passwd; ls -l /bin | head -1";
    let seen = world.run(&world.spec(script)).await;
    assert!(!seen.stdout.contains("wrote"), "{seen:?}");
    assert!(seen.stderr.contains("Read-only file system") || seen.stderr.contains("ermission denied"), "{seen:?}");
    assert_eq!(fs::read_link("/bin").is_ok(), seen.stdout.starts_with("lrwx"), "links stay as on the host");
}

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

async fn temporary_files_are_private(world: Arc<World>) {
    let script = "echo mine > /tmp/airstrip-test && echo mine > /var/tmp/airstrip-test && echo mine > ~/x && ls -ld /tmp /var/tmp | cut -c1-10";
    let seen = world.run(&world.spec(script)).await;
    assert_eq!(seen.stdout, "drwxrwxrwt\ndrwxrwxrwt\n", "{seen:?}");
    assert!(!Path::new("/tmp/airstrip-test").exists() && !Path::new("/var/tmp/airstrip-test").exists());
    assert_eq!(world.run(&world.spec("ls -A /tmp /var/tmp ~")).await.stdout, "/home/app:\n\n/tmp:\n\n/var/tmp:\n");
}

async fn read_only_mounts(world: Arc<World>) {
    let layer = world.owned_dir("layer");
    fs::write(layer.join("file"), "content\n").unwrap();
    fs::write(layer.join("tool"), "#!/bin/sh\necho works\n").unwrap();
    fs::set_permissions(layer.join("tool"), PermissionsExt::from_mode(0o755)).unwrap();
    let mut spec = world
        .spec("cat /layers/a/file && /layers/a/tool; touch /layers/a/x || rm -f /layers/a/file || chmod 777 /layers/a");
    spec.mounts = vec![mount(&layer, "/layers/a", ReadOnly)];
    let seen = world.run(&spec).await;
    assert_eq!((seen.stdout.as_str(), seen.exit), ("content\nworks\n", Exit::Status(1)), "{seen:?}");
    assert!(layer.join("file").exists() && !layer.join("x").exists());
}

async fn read_write_mounts_stay(world: Arc<World>) {
    let data = world.owned_dir("data");
    let mut spec = world.spec("echo kept > data/file && mkdir data/dir && ls -ln data | tail -1 | cut -d' ' -f3,4");
    spec.mounts = vec![mount(&data, "/home/app/data", ReadWrite)];
    let seen = world.run(&spec).await;
    assert_eq!(seen.stdout, "1000 1000\n", "{seen:?}");
    let outside = if root() { HOST_UID } else { nix::unistd::Uid::effective().as_raw() };
    for name in ["file", "dir"] {
        let made = fs::metadata(data.join(name)).unwrap();
        assert_eq!((made.uid(), made.gid()), (outside, outside), "{name}");
    }
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "kept\n");
}

async fn scratch_mounts_are_thrown_away(world: Arc<World>) {
    let code = world.owned_dir("code");
    fs::write(code.join("app.py"), "original").unwrap();
    fs::create_dir(code.join("package")).unwrap();
    fs::write(code.join("package/x"), "x").unwrap();
    for path in ["app.py", "package", "package/x"] {
        if root() {
            std::os::unix::fs::chown(code.join(path), Some(HOST_UID), Some(HOST_UID)).unwrap();
        }
    }
    let script = "cd code && echo changed > app.py && echo new > new && rm -r package && mkdir package && ls package && cat app.py new && ls";
    let mut spec = world.spec(script);
    spec.mounts = vec![mount(&code, "/home/app/code", Scratch)];
    for _ in 0..2 {
        let seen = world.run(&spec).await;
        assert_eq!(
            (seen.stdout.as_str(), seen.exit),
            ("changed\nnew\napp.py\nnew\npackage\n", Exit::Status(0)),
            "{seen:?}"
        );
        assert_eq!(fs::read_to_string(code.join("app.py")).unwrap(), "original");
        assert!(code.join("package/x").exists() && !code.join("new").exists());
    }
}

async fn scratch_names_with_special_characters(world: Arc<World>) {
    let code = world.owned_dir("a:b,c\\d e");
    fs::write(code.join("file"), "found").unwrap();
    let mut spec = world.spec("cat 'x:y,z w/file'; echo new > 'x:y,z w/file2'");
    spec.mounts = vec![mount(&code, "/home/app/x:y,z w", Scratch)];
    let seen = world.run(&spec).await;
    assert_eq!((seen.stdout.as_str(), seen.exit), ("found", Exit::Status(0)), "{seen:?}");
}

async fn mounts_inside_mounts(world: Arc<World>) {
    let (outer, inner) = (world.owned_dir("outer"), world.owned_dir("inner"));
    fs::create_dir(outer.join("inner")).unwrap();
    fs::write(inner.join("file"), "inner\n").unwrap();
    let mut spec = world
        .spec("cat outer/inner/file; cat deep/er/still/file; touch ~/deep/mine && touch ~/deep/er/mine && echo owned");
    spec.mounts = vec![
        mount(&outer, "/home/app/outer", ReadOnly),
        mount(&inner, "/home/app/outer/inner", ReadOnly),
        mount(&inner, "/home/app/deep/er/still", ReadOnly),
    ];
    let seen = world.run(&spec).await;
    assert_eq!(seen.stdout, "inner\ninner\nowned\n", "{seen:?}");
    // A target missing in a read-only mount cannot be made.
    spec.mounts = vec![mount(&outer, "/x", ReadOnly), mount(&inner, "/x/missing", ReadOnly)];
    let error = world.engine.attach(&id("a"), &spec, None).await.unwrap_err();
    assert_eq!(error.to_string(), "sandbox of a: mkdir(/x/missing): Read-only file system");
}

async fn single_files(world: Arc<World>) {
    fs::write(world.path("file"), "a file\n").unwrap();
    let mut spec = world.spec("cat /etc/app.conf; echo x > /etc/app.conf");
    spec.mounts = vec![mount(world.path("file"), "/etc/app.conf", ReadOnly)];
    let seen = world.run(&spec).await;
    assert_eq!((seen.stdout.as_str(), seen.exit.success()), ("a file\n", false), "{seen:?}");
}

/// As root a Python below `/root`, which nobody else may enter, can be shown at its own path.
async fn a_source_behind_a_private_directory(world: Arc<World>) {
    let private = world.path("private");
    fs::create_dir(&private).unwrap();
    fs::create_dir(private.join("python")).unwrap();
    fs::write(private.join("python/file"), "readable\n").unwrap();
    fs::write(private.join("secret"), "secret\n").unwrap();
    fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).unwrap();
    let (python, target) = (private.join("python"), private.join("python").display().to_string());
    let mut spec = world.spec(&format!("cat {target}/file; ls {}", private.display()));
    spec.mounts = vec![mount(python, &target, ReadOnly)];
    assert_eq!(world.run(&spec).await.stdout, "readable\npython\n");
}

async fn symbolic_links(world: Arc<World>) {
    let mut spec = world.spec("readlink /home/app/env; readlink /opt/deep/link; cat /opt/deep/link");
    let link = |link: &str, target: &str| Symlink { link: link.into(), target: target.into() };
    spec.symlinks = vec![link("/home/app/env", "/layers/x/venv"), link("/opt/deep/link", "/etc/hostname")];
    assert_eq!(world.run(&spec).await.stdout, "/layers/x/venv\n/etc/hostname\nblog\n");
}

/// A release may hold a link where the next mount goes; it must not move that mount onto the host or the system.
async fn links_in_a_mount_do_not_lead_outside(world: Arc<World>) {
    let (code, data) = (world.owned_dir("code"), world.owned_dir("data"));
    fs::write(data.join("file"), "data\n").unwrap();
    symlink(world.dir.path(), code.join("host")).unwrap();
    symlink("../../../../../../etc", code.join("up")).unwrap();
    let mut spec = world.spec("cat /etc/data/file; cat /home/app/code/up/data/file");
    spec.mounts = vec![mount(&code, "/home/app/code", ReadWrite), mount(&data, "/home/app/code/up/data", ReadOnly)];
    let seen = world.run(&spec).await;
    assert_eq!(seen.stdout, "data\ndata\n", "{seen:?}");
    assert!(!Path::new("/etc/data").exists());
    spec.mounts[1].target = "/home/app/code/host/data2".into();
    let seen = world.engine.attach(&id("a"), &spec, None).await;
    assert!(seen.is_err() || !world.path("data2").exists());
    assert!(!world.path("data2").exists());
}

async fn targets_must_be_plain(world: Arc<World>) {
    let data = world.owned_dir("data");
    for target in ["relative", "/home/app/../x", "/"] {
        let mut spec = world.spec("true");
        spec.mounts = vec![mount(&data, target, ReadOnly)];
        let refused = world.engine.attach(&id("a"), &spec, None).await;
        assert!(refused.is_err(), "{target}");
    }
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

async fn private_space_is_bounded(world: Arc<World>) {
    let seen = world.run(&world.spec("df -Pk /tmp ~ /dev/shm | tail -n +2 | tr -s ' ' | cut -d' ' -f2; grep MemTotal /proc/meminfo | tr -s ' ' | cut -d' ' -f2")).await;
    let sizes: Vec<u64> = seen.stdout.lines().map(|line| line.parse().unwrap()).collect();
    let memory = sizes[sizes.len() - 1];
    assert!(sizes[..sizes.len() - 1].iter().all(|size| *size <= memory / 3), "{sizes:?}");
}
