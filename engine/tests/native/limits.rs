//! What a sandbox may use of the machine. A limit that this machine does not let an ordinary user set is not tried.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::native::Native;
use engine::{Abilities, Engine, EngineError, Exit, Limits, MountKind};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{
    World, alive, cases, command, groups_of, id, lacks, limited, mount, parents_of, root, until, with_command_line,
};

cases![
    too_little_memory_to_start,
    a_one_off_tells_of_processes_refused,
    what_is_killed_has_ended,
    private_space_is_shared_and_bounded,
    scratch_space_is_bounded_apart,
    many_empty_files,
    not_more_open_files_than_the_engine_itself_may_have,
    a_joined_program_is_in_the_group,
    names_of_groups_are_not_seen,
    groups_go_with_their_sandboxes,
    a_dead_shims_group_is_swept,
    a_frozen_instance_whose_shim_died_ends,
    a_group_removed_from_under_an_instance,
    root_can_enforce_all,
];

const MEGABYTE: u64 = 1 << 20;

async fn too_little_memory_to_start(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.memory) {
        return;
    }
    let limits = Limits { memory: Some(4096), ..Limits::default() };
    let error = world.engine.launch(&id("a"), &limited(&world, "exit 0", limits), "").await.unwrap_err();
    assert!(error.to_string().contains("4096 bytes of memory are not enough"), "{error}");
}

async fn a_one_off_tells_of_processes_refused(world: Arc<World>) {
    // Where a user's own limit bounds processes instead of a control group, nobody counts those refused.
    if lacks(&world, |abilities| abilities.pids) || lacks(&world, |abilities| abilities.memory) {
        return;
    }
    let limits = Limits { pids: Some(20), ..Limits::default() };
    for (script, refused) in
        [("for i in 1 2 3; do sleep 0; done", false), ("for i in $(seq 30); do sleep 9 & done", true)]
    {
        let process = world.engine.attach(&id("a"), &limited(&world, script, limits), None).await.unwrap();
        process.control.wait().await.unwrap();
        assert_eq!(process.control.was_refused_processes(), refused, "{script}");
    }
}

async fn what_is_killed_has_ended(world: Arc<World>) {
    let script = "n=86454; (setsid sh -c 'sleep $0 & sleep $0' $n &); trap '' TERM INT HUP; sleep $n";
    let process = world.engine.attach(&id("a"), &world.spec(script), None).await.unwrap();
    until(|| with_command_line("sleep 86454").len() == 3).await;
    process.control.kill().unwrap();
    process.control.wait().await.unwrap();
    assert_eq!(with_command_line("sleep 86454"), Vec::<u32>::new());
    process.control.kill().unwrap();
}

async fn private_space_is_shared_and_bounded(world: Arc<World>) {
    let limits = Limits { tmp: MEGABYTE, ..Limits::default() };
    let full = "head -c 600K /dev/zero > /tmp/one; for dir in ~ /dev/shm /var/tmp /tmp; do \
                head -c 600K /dev/zero > $dir/two || rm $dir/two; done";
    let seen = world.run(&limited(&world, full, limits)).await;
    assert_eq!(seen.stderr.matches("No space left on device").count(), 4, "{seen:?}");
}

async fn scratch_space_is_bounded_apart(world: Arc<World>) {
    let limits = Limits { tmp: MEGABYTE, scratch: 2 * MEGABYTE, ..Limits::default() };
    let full = "cd ~/code; head -c 1500K /dev/zero > one && head -c 1500K /dev/zero > two; rm two; cp file ~/file && wc -c < file";
    let mut spec = limited(&world, full, limits);
    for name in ["code", "more"] {
        let dir = world.owned_dir(name);
        fs::write(dir.join("file"), vec![0; 900 << 10]).unwrap();
        spec.mounts.push(mount(dir, &format!("/home/app/{name}"), MountKind::Scratch));
    }
    let seen = world.run(&spec).await;
    assert_eq!(seen.stderr.matches("No space left on device").count(), 1, "{seen:?}");
    assert_eq!((seen.stdout.trim(), seen.exit), ("921600", Exit::Status(0)));
}

async fn many_empty_files(world: Arc<World>) {
    let limits = Limits { tmp: MEGABYTE, scratch: MEGABYTE, ..Limits::default() };
    let script = "cd /tmp; seq 3000 | xargs touch 2> ~/said; ls | wc -l; grep -c 'No space left' ~/said; \
                  cd ~/code; seq 3000 | xargs touch 2> ~/said; ls | wc -l; grep -c 'No space left' ~/said";
    let mut spec = limited(&world, script, limits);
    spec.mounts.push(mount(world.owned_dir("code"), "/home/app/code", MountKind::Scratch));
    let seen = world.run(&spec).await;
    let numbers: Vec<u64> = seen.stdout.lines().map(|line| line.parse().unwrap()).collect();
    assert!((500..=1024).contains(&numbers[0]) && numbers[1] > 0, "{numbers:?}");
    assert!((500..=1024).contains(&numbers[2]) && numbers[3] > 0, "{numbers:?}");
}

async fn not_more_open_files_than_the_engine_itself_may_have(world: Arc<World>) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert_eq!(world.run(&world.spec("ulimit -n")).await.stdout, format!("{}\n", hard.min(65_536)));
}

async fn a_joined_program_is_in_the_group(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.memory.and(abilities.pids)) {
        return;
    }
    let limits = Limits { memory: Some(64 * MEGABYTE), cpu: Some(1000), pids: Some(30), ..Limits::default() };
    world.engine.launch(&id("a"), &limited(&world, "exec sleep 86456", limits), "").await.unwrap();
    let process = world.engine.exec(&id("a"), &command("exec sleep 86457"), None).await.unwrap();
    until(|| with_command_line("sleep 86457").len() == 1).await;
    let joined = with_command_line("sleep 86457")[0];
    let groups = world.groups();
    assert!(!groups.is_empty());
    assert!(groups.iter().all(|group| members(group).contains(&joined)), "{groups:?}");
    drop(process);
    let bomb = world.exec(&id("a"), "exec tail /dev/zero").await;
    assert_ne!(bomb.exit, Exit::Status(0));
    assert_eq!(world.engine.wait(&id("a")).await.unwrap(), Exit::OutOfMemory(64 * MEGABYTE));
}

fn members(group: &std::path::Path) -> Vec<u32> {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    members.lines().map(|pid| pid.parse().unwrap()).collect()
}

async fn names_of_groups_are_not_seen(world: Arc<World>) {
    world.launch("a", "cat /proc/self/cgroup; echo end; exec sleep 86458").await;
    world.logged(" end").await;
    let shown = world.exec(&id("a"), "cat /proc/self/cgroup /proc/1/cgroup").await.stdout + &world.texts().join("\n");
    assert!(shown.contains(":/") && !shown.contains("airstrip"), "{shown}");
}

async fn groups_go_with_their_sandboxes(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.freeze) {
        return;
    }
    let limits = Limits { memory: world.engine.abilities().memory.ok().map(|()| 64 * MEGABYTE), ..Limits::default() };
    world.engine.launch(&id("a"), &limited(&world, "sleep 86459 & exec sleep 86459", limits), "").await.unwrap();
    let joined = world.engine.exec(&id("a"), &command("exec sleep 86459"), None).await.unwrap();
    assert!(!world.groups().is_empty());
    world.engine.stop(&id("a"), Duration::from_secs(10)).await.unwrap();
    assert_eq!(world.groups(), Vec::<PathBuf>::new(), "gone once the end was told");
    joined.control.wait().await.unwrap();
    let other = world.path("other");
    let engine = Native::new(other.clone()).unwrap();
    assert!(!parents_of(&other).is_empty());
    drop(engine);
    assert_eq!(parents_of(&other), Vec::<PathBuf>::new());
}

async fn a_dead_shims_group_is_swept(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.freeze) {
        return;
    }
    let run = world.path("other");
    let engine = Native::new(run.clone()).unwrap();
    engine.launch(&id("a"), &world.spec("exec sleep 86460"), "").await.unwrap();
    engine.freeze(&id("a")).await.unwrap();
    let (first, shim) = kill_shim(&engine).await;
    drop(engine);
    assert!(!groups_of(&run).is_empty());
    until(|| !std::path::Path::new(&format!("/proc/{shim}")).exists()).await;
    let later = Native::new(run.clone()).unwrap();
    assert_eq!(groups_of(&run), Vec::<PathBuf>::new());
    assert_eq!(later.wait(&id("a")).await.unwrap(), Exit::Lost);
    until(|| !alive(first)).await;
    later.remove(&id("a")).await.unwrap();
}

async fn a_frozen_instance_whose_shim_died_ends(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.freeze) {
        return;
    }
    let id = world.launch("a", "exec sleep 86461").await;
    world.engine.freeze(&id).await.unwrap();
    let (first, _) = kill_shim(&*world.engine).await;
    assert_eq!(world.engine.wait(&id).await.unwrap(), Exit::Lost);
    assert!(!alive(first));
    world.engine.remove(&id).await.unwrap();
    assert_eq!(world.groups(), Vec::<PathBuf>::new());
}

/// Kills the shim of the only instance; the first process and the shim.
async fn kill_shim(engine: &dyn Engine) -> (u32, i32) {
    let first = engine.list().await.unwrap()[0].pid.unwrap();
    let stat = fs::read_to_string(format!("/proc/{first}/stat")).unwrap();
    let shim: i32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    (first, shim)
}

async fn a_group_removed_from_under_an_instance(world: Arc<World>) {
    if !root() {
        return;
    }
    let limits = Limits { memory: Some(64 * MEGABYTE), pids: Some(30), ..Limits::default() };
    let script = "echo ready; trap 'exit 12' TERM; while :; do sleep 0.01; done";
    world.engine.launch(&id("a"), &limited(&world, script, limits), "").await.unwrap();
    world.logged("ready").await;
    for group in world.groups() {
        until(|| {
            for pid in members(&group) {
                let _ = fs::write(group.parent().unwrap().parent().unwrap().join("cgroup.procs"), pid.to_string());
            }
            fs::remove_dir(&group).is_ok()
        })
        .await;
    }
    assert_eq!(world.exec(&id("a"), "exit 4").await.exit, Exit::Status(4));
    assert!(matches!(world.engine.freeze(&id("a")).await, Err(EngineError::Io { .. })));
    assert_eq!(world.engine.stop(&id("a"), Duration::from_secs(20)).await.unwrap(), Exit::Status(12));
}

async fn root_can_enforce_all(world: Arc<World>) {
    let Abilities { memory, cpu, pids, freeze, .. } = world.engine.abilities();
    for (name, ability) in [("memory", memory), ("cpu", cpu), ("pids", pids), ("freeze", freeze)] {
        println!("       {name}: {ability:?}");
        let container = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| std::path::Path::new(mark).exists());
        assert!(ability.is_ok() || !root() || container, "{name}");
    }
}
