//! What a directory may hold, on a file system with project quotas: one in a file, mounted where only this process sees it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use engine::{Exit, MountKind, Spec, quota};
use nix::mount::{MntFlags, umount2};

use crate::world::{World, cases, give, mount, root, until};

cases![a_quota_holds, what_was_there_is_counted, nobody_elses_project_is_taken, without_quotas_it_is_said];

const MEGABYTE: u64 = 1 << 20;
const PROJECT: u32 = 4711;

/// A file system with project quotas; unmounted when dropped. The mount is the tests' own: they have a mount namespace of their own.
struct Disk(PathBuf);

impl Disk {
    /// One of each kind; those that cannot be made are left out, with the reason printed.
    fn each(world: &World) -> Vec<Self> {
        if !root() {
            println!("skipped: only root can mount a disk");
            return Vec::new();
        }
        let kinds: [&[&str]; 2] = [&["mkfs.ext4", "-q", "-O", "quota,project"], &["mkfs.xfs", "-q"]];
        kinds.into_iter().filter_map(|program| Self::new(world, program)).collect()
    }

    fn new(world: &World, program: &[&str]) -> Option<Self> {
        let (image, place) = (world.path(&format!("{}-image", program[0])), world.path(program[0]));
        // XFS takes no less.
        fs::File::create(&image).unwrap().set_len(300 * MEGABYTE).unwrap();
        fs::create_dir_all(&place).unwrap();
        let made = run(Command::new(program[0]).args(&program[1..]).arg(&image));
        let mounted =
            made.and_then(|()| run(Command::new("mount").args(["-o", "loop,prjquota"]).args([&image, &place])));
        match mounted {
            Ok(()) => Some(Self(place)),
            Err(reason) => {
                println!("skipped: no disk with project quotas by {}: {reason}", program[0]);
                None
            }
        }
    }

    /// A directory on it that belongs to sandboxes' user.
    fn directory(&self) -> PathBuf {
        let path = self.0.join("data");
        fs::create_dir(&path).unwrap();
        give(&path);
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', " "))
    }
}

fn over(world: &World, data: &Path, script: &str) -> Spec {
    let mut spec = world.spec(script);
    spec.mounts.push(mount(data, "/data", MountKind::ReadWrite));
    spec
}

async fn a_quota_holds(world: Arc<World>) {
    for disk in Disk::each(&world) {
        holds(&world, &disk).await;
    }
}

/// ext4 says that the quota is exceeded, XFS that there is no space.
fn is_refused(said: &str) -> bool {
    said.contains("quota") || said.contains("No space")
}

async fn holds(world: &World, disk: &Disk) {
    let data = disk.directory();
    assert_eq!(quota::ability(&data), Ok(()));
    assert_eq!(quota::project(&data).unwrap(), None);
    quota::limit(&data, PROJECT, Some(4 * MEGABYTE)).unwrap();
    quota::count(&data, PROJECT, || false).unwrap();
    assert_eq!(quota::project(&data).unwrap(), Some(PROJECT));
    let full = world.run(&over(world, &data, "mkdir /data/a; cat /dev/zero > /data/a/file")).await;
    assert!(full.exit != Exit::Status(0) && is_refused(&full.stderr), "{full:?}");
    let size = data.join("a/file").metadata().unwrap().len();
    assert!((3 * MEGABYTE..=4 * MEGABYTE).contains(&size), "{size}");
    let used = quota::used(&data, PROJECT).unwrap();
    assert!((size..=4 * MEGABYTE).contains(&used), "{used}");
    assert_eq!(quota::measure(&data, |_| false).unwrap().bytes, used);

    // Nor do empty files fill the disk, nor can a program count its files under another project.
    let many = "rm /data/a/file; cd /data; for i in $(seq 3000); do true > $i || exit 3; done";
    assert_eq!(world.run(&over(world, &data, many)).await.exit, Exit::Status(3));
    fs::remove_dir(data.join("a")).unwrap();
    let leave = "mkdir /data/b || exit 9; ! chattr -p 1 /data/b && ! chattr -P /data/b && ! chattr -p 1 /data/1";
    let refused = world.run(&over(world, &data, leave)).await;
    assert_eq!(refused.exit, Exit::Status(0), "{refused:?}");

    quota::limit(&data, PROJECT, None).unwrap();
    let free = world.run(&over(world, &data, "head -c 8M /dev/zero > /data/file")).await;
    assert_eq!(free.exit, Exit::Status(0), "{free:?}");
    // Outside of the directory nothing was counted.
    fs::write(disk.0.join("outside"), vec![1; 1 << 20]).unwrap();
    assert!(quota::used(&data, PROJECT).unwrap() < 9 * MEGABYTE);
}

async fn what_was_there_is_counted(world: Arc<World>) {
    for disk in Disk::each(&world) {
        counts(&world, &disk).await;
    }
}

async fn counts(world: &World, disk: &Disk) {
    let data = disk.directory();
    fs::create_dir_all(data.join("a/b")).unwrap();
    fs::write(data.join("a/b/file"), vec![1; 3 << 20]).unwrap();
    fs::write(disk.0.join("outside"), vec![1; 3 << 20]).unwrap();
    symlink(disk.0.join("outside"), data.join("link")).unwrap();
    nix::unistd::mkfifo(&data.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::net::UnixListener::bind(data.join("socket")).unwrap();
    quota::limit(&data, PROJECT, Some(2 * MEGABYTE)).unwrap();
    for _again in 0..2 {
        quota::count(&data, PROJECT, || false).unwrap();
        let used = quota::used(&data, PROJECT).unwrap();
        assert!((3 * MEGABYTE..4 * MEGABYTE).contains(&used), "{used}");
    }
    give(&data.join("a/b"));
    let full = world.run(&over(world, &data, "cat /dev/zero > /data/a/b/more")).await;
    assert!(is_refused(&full.stderr), "more than the limit already: {full:?}");
    // What takes the directory's place is counted apart, and can be exchanged with it.
    let other = disk.0.join("other");
    fs::create_dir(&other).unwrap();
    quota::limit(&other, PROJECT + 1, Some(2 * MEGABYTE)).unwrap();
    quota::count(&other, PROJECT + 1, || false).unwrap();
    let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
    nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &data, nix::fcntl::AT_FDCWD, &other, flags).unwrap();
    assert_eq!(quota::project(&data).unwrap(), Some(PROJECT + 1));
    let inode = data.metadata().unwrap().ino();
    fs::remove_dir_all(&other).unwrap();
    until(|| quota::used(&data, PROJECT).unwrap_or(0) == 0).await;
    assert_eq!(data.metadata().unwrap().ino(), inode);
}

async fn nobody_elses_project_is_taken(world: Arc<World>) {
    for disk in Disk::each(&world) {
        takes(&disk).await;
    }
}

async fn takes(disk: &Disk) {
    let directories = ["a", "b", "c"].map(|name| disk.0.join(name));
    for directory in &directories {
        fs::create_dir(directory).unwrap();
    }
    let take = |index: usize| quota::take(&directories[index], &(PROJECT..=PROJECT + 1));
    quota::count(&directories[1], PROJECT - 1, || false).unwrap();
    assert_eq!(take(0).unwrap(), PROJECT);
    assert_eq!(take(1).unwrap(), PROJECT + 1, "it had one, but none of these");
    assert_eq!(take(0).unwrap(), PROJECT, "it keeps its own");
    let none = take(2).unwrap_err().to_string();
    assert!(none.contains("in use"), "{none}");
    quota::limit(&directories[0], PROJECT, Some(MEGABYTE)).unwrap();
    fs::remove_dir(&directories[0]).unwrap();
    // XFS forgets a moment later.
    until(|| take(2).is_ok()).await;
    assert_eq!(take(2).unwrap(), PROJECT, "what nothing is counted under is free");
    let stopped = quota::count(&directories[2], PROJECT, || true).unwrap_err().to_string();
    assert!(stopped.contains("count what is in"), "{stopped}");
}

async fn without_quotas_it_is_said(world: Arc<World>) {
    let directory = PathBuf::from("/dev/shm");
    let why = quota::ability(&directory).unwrap_err();
    let expected = if root() { "project quotas" } else { "only root" };
    assert!(why.contains(expected), "{why}");
    assert!(quota::limit(&directory, PROJECT, Some(MEGABYTE)).is_err());
    let nowhere = quota::measure(&world.path("nowhere"), |_| false).unwrap_err().to_string();
    assert!(nowhere.contains("nowhere"), "{nowhere}");
}
