//! Mounts of every kind, and links.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use engine::MountKind::{ReadOnly, ReadWrite, Scratch};
use engine::{Exit, Symlink};

use crate::world::{HOST_UID, World, cases, give, id, mount, root};

cases![
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
];

async fn read_only_mounts(world: Arc<World>) {
    let layer = world.owned_dir("layer");
    fs::write(layer.join("file"), "content\n").unwrap();
    fs::write(layer.join("tool"), "#!/bin/sh\necho works\n").unwrap();
    fs::set_permissions(layer.join("tool"), PermissionsExt::from_mode(0o755)).unwrap();
    let script =
        "cat /layers/a/file && /layers/a/tool; touch /layers/a/x || rm -f /layers/a/file || chmod 777 /layers/a";
    let mut spec = world.spec(script);
    spec.mounts = vec![mount(&layer, "/layers/a", ReadOnly)];
    let seen = world.run(&spec).await;
    assert_eq!((seen.stdout.as_str(), seen.exit), ("content\nworks\n", Exit::Status(1)), "{seen:?}");
    assert!(layer.join("file").exists() && !layer.join("x").exists());
}

async fn read_write_mounts_stay(world: Arc<World>) {
    let data = world.owned_dir("data");
    let mut spec = world.spec("echo kept > data/file && mkdir data/dir && ls -l data | tail -1 | cut -d' ' -f3,4");
    spec.mounts = vec![mount(&data, "/home/app/data", ReadWrite)];
    let seen = world.run(&spec).await;
    assert_eq!(seen.stdout, "app app\n", "{seen:?}");
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
        give(&code.join(path));
    }
    let script = "cd code && echo changed > app.py && echo new > new && rm -r package && mkdir package && ls package && \
                  cat app.py new && ls";
    let mut spec = world.spec(script);
    spec.mounts = vec![mount(&code, "/home/app/code", Scratch)];
    for _ in 0..2 {
        let seen = world.run(&spec).await;
        let expected = ("changed\nnew\napp.py\nnew\npackage\n", Exit::Status(0));
        assert_eq!((seen.stdout.as_str(), seen.exit), expected, "{seen:?}");
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
    let mut spec = world.spec("cat outer/inner/file; cat deep/er/still/file");
    spec.mounts = vec![
        mount(&outer, "/home/app/outer", ReadOnly),
        mount(&inner, "/home/app/outer/inner", ReadOnly),
        mount(&inner, "/home/app/deep/er/still", ReadOnly),
    ];
    let seen = world.run(&spec).await;
    assert_eq!(seen.stdout, "inner\ninner\n", "{seen:?}");
    // A target missing in a read-only mount cannot be made.
    spec.mounts = vec![mount(&outer, "/x", ReadOnly), mount(&inner, "/x/missing", ReadOnly)];
    let error = world.engine.attach(&id("a"), &spec, None).await.unwrap_err();
    assert!(error.to_string().to_ascii_lowercase().contains("read-only file system"), "{error}");
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
    let mut spec = world.spec("readlink /home/app/env; readlink /tmp/deep/link; cat /tmp/deep/link");
    let link = |link: &str, target: &str| Symlink { link: link.into(), target: target.into() };
    spec.symlinks = vec![link("/home/app/env", "/layers/x/venv"), link("/tmp/deep/link", "/etc/hostname")];
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
    let _ = world.engine.attach(&id("a"), &spec, None).await;
    assert!(!world.path("data2").exists());
}

async fn targets_must_be_plain(world: Arc<World>) {
    let data = world.owned_dir("data");
    for target in ["relative", "/home/app/../x", "/"] {
        let mut spec = world.spec("true");
        spec.mounts = vec![mount(&data, target, ReadOnly)];
        assert!(world.engine.attach(&id("a"), &spec, None).await.is_err(), "{target}");
    }
}
