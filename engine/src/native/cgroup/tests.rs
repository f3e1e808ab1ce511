use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::hierarchy::{self, ABSENT, Hierarchy, Version};
use super::{Controller, Groups, parent_name, v1, v2};
use crate::Limits;

/// Version 1, each controller alone, beside a version 2 that has none of them.
const HYBRID: &str = "\
23 1 254:0 / / rw,relatime - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";
const HYBRID_MEMBER: &str = "\
9:name=systemd:/
8:pids:/system.slice
6:freezer:/
4:memory:/system.slice/airstrip.service
1:cpu,cpuacct:/
0::/system.slice/airstrip.service
";
/// As on today's distributions.
const UNIFIED: &str =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
/// In a container without a cgroup namespace: only a part of the hierarchy is mounted.
const PART: &str = "30 23 0:26 /docker/abc /sys/fs/cgroup ro,relatime - cgroup2 cgroup rw\n";

fn seen(mountinfo: &str, membership: &str) -> Vec<(Version, PathBuf, PathBuf, usize)> {
    let all = hierarchy::parse(mountinfo, membership).into_iter();
    all.map(|one| (one.version, one.top, one.own, one.controllers.len())).collect()
}

fn row(version: Version, top: &str, own: &str, controllers: usize) -> (Version, PathBuf, PathBuf, usize) {
    let below = |path: &str| PathBuf::from(format!("/sys/fs/cgroup{path}"));
    (version, below(top), below(own), controllers)
}

#[test]
fn hierarchies_are_found() {
    let hybrid = [
        row(Version::One, "/cpu,cpuacct", "/cpu,cpuacct", 1),
        row(Version::One, "/memory", "/memory/system.slice/airstrip.service", 1),
        row(Version::One, "/freezer", "/freezer", 1),
        row(Version::One, "/pids", "/pids/system.slice", 1),
        row(Version::Two, "/unified", "/unified/system.slice/airstrip.service", 4),
    ];
    assert_eq!(seen(HYBRID, HYBRID_MEMBER), hybrid);
    let member = "0::/user.slice/user-1000.slice/session-2.scope\n";
    let own = "/user.slice/user-1000.slice/session-2.scope";
    assert_eq!(seen(UNIFIED, member), [row(Version::Two, "", own, 4)]);
    assert_eq!(seen(UNIFIED, "0::/\n"), [row(Version::Two, "", "/", 4)]);
    assert_eq!(seen(PART, "0::/docker/abc/daemon\n"), [row(Version::Two, "", "/daemon", 4)]);
    assert_eq!(seen(&format!("{UNIFIED}{UNIFIED}"), "0::/\n").len(), 1, "mounted twice");
    for nothing in ["", "\n", "x - cgroup cgroup rw,memory", "a b c d - cgroup"] {
        assert_eq!(seen(nothing, HYBRID_MEMBER), [], "{nothing}");
    }
    assert_eq!(seen(UNIFIED, ""), [], "of which this process is no member");
}

proptest! {
    #[test]
    fn no_text_panics(mountinfo in "([a-z0-9/:,.= -]{0,80}\n){0,4}", membership in "([a-z0-9/:,.=]{0,40}\n){0,4}") {
        let _ = hierarchy::parse(&mountinfo, &membership);
        let _ = v2::number(&mountinfo, "oom_kill");
    }
}

#[test]
fn numbers_after_names() {
    let events = "low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 1\n";
    assert_eq!(v2::number(events, "oom_kill"), Some(1));
    assert_eq!(v2::number(events, "oom"), Some(2));
    assert_eq!(v2::number(events, "frozen"), None);
    assert_eq!(v2::number("oom_kill x\n", "oom_kill"), None);
    let dir = tempfile::tempdir().unwrap();
    for (events, ran_out) in
        [(events, true), ("oom 0\noom_kill 1\n", false), ("oom 1\noom_kill 0\n", false), ("", false)]
    {
        fs::write(dir.path().join("memory.events"), events).unwrap();
        assert_eq!(v2::ran_out_of_memory(dir.path()), ran_out, "{events}");
    }
}

#[test]
fn what_is_written() {
    let limits = Limits { memory: Some(1 << 29), cpu: Some(1500), pids: Some(100), ..Limits::default() };
    let all = |settings: fn(Controller, &Limits) -> Vec<super::group::Setting>, limits: &Limits| {
        let lists = Controller::ALL.into_iter().flat_map(|controller| settings(controller, limits));
        lists.map(|setting| setting.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        all(v1::settings, &limits),
        [
            "memory.limit_in_bytes=536870912",
            "memory.memsw.limit_in_bytes=536870912?",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=150000",
            "pids.max=101"
        ]
    );
    assert_eq!(
        all(v2::settings, &limits),
        ["memory.max=536870912", "memory.swap.max=0?", "memory.oom.group=1", "cpu.max=150000 100000", "pids.max=101"]
    );
    let least = Limits { cpu: Some(1), ..Limits::default() };
    assert_eq!(all(v2::settings, &least), ["cpu.max=1000 100000"], "the kernel takes no less");
    assert_eq!(all(v1::settings, &Limits::default()), [""; 0]);
}

/// A directory that looks like a hierarchy of version 2, with a parent in it as the kernel would make it.
fn imitation(controllers: &str) -> (tempfile::TempDir, Hierarchy) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().to_owned();
    fs::create_dir(top.join("parent")).unwrap();
    for group in [top.clone(), top.join("parent")] {
        fs::write(group.join("cgroup.controllers"), controllers).unwrap();
        let own = ["cgroup.procs", "cgroup.subtree_control"].into_iter();
        for file in own.chain(Controller::ALL.map(|controller| controller.file(Version::Two))) {
            fs::write(group.join(file), "").unwrap();
        }
    }
    (dir, Hierarchy { version: Version::Two, own: top.clone(), top, controllers: Controller::ALL.to_vec() })
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn version_2_gives_what_it_has() {
    for privileged in [true, false] {
        let (dir, unified) = imitation("cpuset cpu io memory hugetlb pids\n");
        let found = Groups::within(&[unified], "parent", privileged);
        assert!(Controller::ALL.into_iter().all(|controller| found.ability(controller).is_ok()), "{found:?}");
        for group in ["", "parent"] {
            assert_eq!(read(&dir.path().join(group).join("cgroup.subtree_control")), "+memory +cpu +pids");
        }
    }
    let (dir, unified) = imitation("memory pids\n");
    let found = Groups::within(std::slice::from_ref(&unified), "parent", false);
    let cpu = found.ability(Controller::Cpu).unwrap_err();
    assert!(cpu.contains("was not given this controller") && cpu.contains("Delegate="), "{cpu}");
    assert_eq!(found.ability(Controller::Memory), Ok(()));
    fs::remove_file(dir.path().join("parent/pids.max")).unwrap();
    let found = Groups::within(&[unified], "parent", false);
    assert_eq!(found.ability(Controller::Pids), Err(hierarchy::not_compiled("pids.max")));
    assert_eq!(found.places[0].controllers, [Controller::Memory, Controller::Freezer]);
}

#[test]
fn each_controller_is_used_where_it_is() {
    let (dir, unified) = imitation("hugetlb\n");
    let memory = dir.path().join("memory");
    fs::create_dir_all(memory.join("parent")).unwrap();
    fs::write(memory.join("parent/memory.limit_in_bytes"), "").unwrap();
    let old = |top: &Path, controllers: &[Controller]| Hierarchy {
        version: Version::One,
        top: top.to_owned(),
        own: top.to_owned(),
        controllers: controllers.to_vec(),
    };
    let old = [old(&memory, &[Controller::Memory]), old(Path::new("/nowhere"), &[Controller::Cpu]), unified];
    let found = Groups::within(&old, "parent", true);
    assert_eq!(found.ability(Controller::Memory), Ok(()));
    assert_eq!(found.ability(Controller::Freezer), Ok(()));
    let cpu = found.ability(Controller::Cpu).unwrap_err();
    assert!(cpu.starts_with("mkdir(/nowhere/parent): No such file or directory"), "{cpu}");
    let found = Groups::within(&old, "parent", false);
    assert!(found.ability(Controller::Memory).unwrap_err().contains("serve root alone"));
    assert_eq!(found.ability(Controller::Freezer), Ok(()), "version 2 was delegated");
    assert_eq!(Groups::within(&[], "parent", true).ability(Controller::Pids), Err(ABSENT.to_owned()));
}

#[test]
fn whoever_is_in_the_leaf_rules_the_group_above() {
    let (dir, unified) = imitation("memory\n");
    let leaf = dir.path().join("parent").join("daemon");
    fs::create_dir(&leaf).unwrap();
    let inside = Hierarchy { own: leaf, ..unified };
    assert_eq!(inside.offer(false).unwrap().0, dir.path().join("parent"));
    let foreign = Hierarchy { own: PathBuf::from("/sys/fs/cgroup/session"), ..inside };
    assert!(foreign.offer(false).unwrap_err().contains("not delegated"));
}

#[test]
fn parents_differ_by_directory() {
    assert_eq!(parent_name(Path::new("/a")), parent_name(Path::new("/a")));
    assert_ne!(parent_name(Path::new("/a")), parent_name(Path::new("/b")));
    assert_eq!(parent_name(Path::new("/a")).len(), "airstrip-01234567".len());
}
