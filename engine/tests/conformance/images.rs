//! Images out of the engine `docker` and into it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::docker::{Docker, ImagePart, ImageSpec};
use engine::{Engine, Exit, MountKind};

use crate::world::{HOST_UID, World, cases, command, id, mount, output};

cases![an_exported_image_is_loaded_and_run, an_image_that_is_not_there];

async fn an_exported_image_is_loaded_and_run(world: Arc<World>) {
    let (system, code, data) = (world.path("system"), world.owned_dir("code"), world.owned_dir("data"));
    if !small_system(&system) {
        println!("skipped: /bin is no link to /usr/bin here");
        return;
    }
    fs::write(code.join("file"), "from the image\n").unwrap();
    let name = format!("airstrip-test:{}", std::process::id());
    let docker = Docker::open(world.path("run"), None).await.unwrap();
    let part = |source, target| ImagePart { source, target: Path::new(target) };
    let parts = [part(&system, "/usr"), part(&code, "/home/app/code")];
    let spec = ImageSpec { name: &name, parts: &parts, owner: HOST_UID, command: &command("cat code/file") };
    let archives = [world.path("first.tar"), world.path("second.tar")];
    for archive in &archives {
        docker.export(&spec, archive).await.unwrap();
    }
    assert!(fs::read(&archives[0]).unwrap() == fs::read(&archives[1]).unwrap(), "equal layers, equal archives");
    docker.import(&archives[0]).await.unwrap();

    // In the image's own system, with the mounts and the user of any other sandbox.
    let over = Docker::open(world.path("run"), Some(&name)).await.unwrap();
    let script = "cat code/file data/file; echo kept > data/new; echo x > code/file && cat code/file; while read -r line; do case $line in \
                  Uid:*) echo $line;; esac; done < /proc/self/status";
    let mut spec = world.spec(script);
    fs::write(data.join("file"), "mounted\n").unwrap();
    spec.mounts = vec![mount(&data, "/home/app/data", MountKind::ReadWrite)];
    // What is written over the image is thrown away.
    for _ in 0..2 {
        let seen = output(over.attach(&id("run"), &spec, None).await.unwrap()).await;
        let expected = format!("from the image\nmounted\nx\nUid: {HOST_UID} {HOST_UID} {HOST_UID} {HOST_UID}\n");
        assert_eq!((seen.stdout, seen.exit), (expected, Exit::Status(0)), "{}", seen.stderr);
    }
    assert_eq!(fs::read_to_string(data.join("new")).unwrap(), "kept\n");
    while docker.forget(&name).await.is_err() {
        // The one-off's container is removed aside.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn an_image_that_is_not_there(world: Arc<World>) {
    let error = Docker::open(world.path("run"), Some("airstrip-none:1")).await.unwrap_err().to_string();
    assert!(error.contains("airstrip-none:1") && error.contains("docker pull"), "{error}");
}

/// The least that a shell and this binary need of this machine's `/usr`. False where the system is laid out otherwise.
fn small_system(usr: &Path) -> bool {
    if !fs::read_link("/bin").is_ok_and(|link| link == Path::new("usr/bin")) {
        return false;
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped =
        maps.lines().filter_map(|line| line.split_ascii_whitespace().nth(5)).filter(|path| path.contains(".so"));
    let mut files: BTreeSet<PathBuf> = mapped.map(PathBuf::from).collect();
    files.extend(["/usr/bin/sh", "/usr/bin/cat"].map(PathBuf::from));
    for file in files {
        let place = |path: &Path| usr.join(path.strip_prefix("/usr").unwrap());
        let (name, real) = (place(&file), fs::canonicalize(&file).unwrap());
        fs::create_dir_all(name.parent().unwrap()).unwrap();
        fs::create_dir_all(place(&real).parent().unwrap()).unwrap();
        fs::copy(&real, place(&real)).unwrap();
        if real != file {
            symlink(&real, name).unwrap();
        }
    }
    // Where programs look for what loads them.
    for loader in fs::read_dir("/usr/lib64").into_iter().flatten().flatten() {
        fs::create_dir_all(usr.join("lib64")).unwrap();
        symlink(fs::canonicalize(loader.path()).unwrap(), usr.join("lib64").join(loader.file_name())).unwrap();
    }
    true
}
