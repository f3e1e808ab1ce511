//! What Docker is told to make for a [`Spec`]: plain data to plain data.
//!
//! Of Docker's own defaults its seccomp and `AppArmor` profiles, its masked files and its devices stay. The rest is shut:
//! no capability, no way to gain one, no network of Docker's, nothing writable but what the spec says and a few bounded
//! private directories. Open files and core dumps are limited by the guest itself, within what this machine lets it have.

use std::collections::HashMap;
use std::path::{Component, Path};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig,
    Mount as DockerMount, MountBindOptions, MountBindOptionsPropagationEnum, MountType, MountVolumeOptions,
    MountVolumeOptionsDriverConfig,
};

use super::base::Base;
use super::files::{self, Files};
use super::transfer::HOME;
use crate::native::hosting::GUEST;
use crate::{Limits, Mount, MountKind, Spec};

pub(super) type Body = ContainerCreateBody;

/// Why no container can be made for a spec.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) step: String,
    pub(super) reason: String,
}

/// Bytes of what a guest may say in Docker's own log; programs' output does not go there.
const OWN_LOG: &str = "64k";
/// The guest, beside the program's processes.
const GUESTS: u32 = 1;

/// The container for `spec`.
pub(super) fn body(base: &Base, spec: &Spec, files: &Files, labels: HashMap<String, String>) -> Result<Body, Refused> {
    Ok(ContainerCreateBody {
        image: Some(base.image.clone()),
        labels: Some(labels),
        hostname: Some(spec.hostname.clone()),
        user: Some(format!("{0}:{0}", files.user)),
        // The program's own environment goes to the guest directly.
        env: Some(vec!["AIRSTRIP_CHILD=1".to_owned()]),
        entrypoint: Some(vec![GUEST.to_owned(), files::inside(files::FIRST)]),
        cmd: Some(Vec::new()),
        working_dir: Some("/".to_owned()),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
        host_config: Some(HostConfig {
            mounts: Some(mounts(base, spec, files)?),
            ..confinement(base, &spec.limits, files)
        }),
        ..Default::default()
    })
}

fn confinement(base: &Base, limits: &Limits, files: &Files) -> HostConfig {
    let memory = limits.memory.map(signed);
    HostConfig {
        memory,
        // Equal to the memory: no swap.
        memory_swap: memory,
        nano_cpus: limits.cpu.map(|thousandths| i64::from(thousandths) * 1_000_000),
        pids_limit: limits.pids.map(|pids| i64::from(pids.saturating_add(GUESTS))),
        tmpfs: Some(private(base, limits, files.user)),
        shm_size: Some(signed(limits.tmp / 8)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned(), "label=disable".to_owned()]),
        network_mode: Some("none".to_owned()),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        // The user's number inside is the one outside, whatever the engine does for other containers.
        userns_mode: Some("host".to_owned()),
        readonly_rootfs: Some(true),
        init: Some(false),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([("max-size".to_owned(), OWN_LOG.to_owned())])),
        }),
        ..Default::default()
    }
}

/// Writable directories in memory. Docker bounds each, the spec all together: so each gets its part.
fn private(base: &Base, limits: &Limits, user: u32) -> HashMap<String, String> {
    let options = |mode: &str, part: u64| {
        format!("rw,exec,nosuid,nodev,mode={mode},uid={user},gid={user},size={}", limits.tmp / part)
    };
    let all = [("/tmp", "1777", 2), (HOME, "0755", 4), ("/var/tmp", "1777", 8)];
    let shown = all.into_iter().filter(|(path, ..)| !(base.has_home && *path == HOME));
    shown.map(|(path, mode, part)| (path.to_owned(), options(mode, part))).collect()
}

fn mounts(base: &Base, spec: &Spec, files: &Files) -> Result<Vec<DockerMount>, Refused> {
    let mut all = Vec::new();
    if base.has_home {
        all.push(copied_home());
    }
    for (source, target) in &base.shown {
        all.push(bind(source, target, true)?);
    }
    for (source, target) in &files.shown {
        all.push(bind(source, Path::new(target), true)?);
    }
    for (index, mount) in spec.mounts.iter().enumerate() {
        plain(&mount.target)?;
        // A target named twice shows the last, as if it had been mounted over.
        let target = text(&mount.target)?;
        all.retain(|earlier| earlier.target.as_deref() != Some(target.as_str()));
        all.push(match mount.kind {
            MountKind::ReadOnly => bind(&mount.source, &mount.target, true)?,
            MountKind::ReadWrite => bind(&mount.source, &mount.target, false)?,
            MountKind::Scratch => scratch(mount, files, index)?,
        });
    }
    Ok(all)
}

fn bind(source: &Path, target: &Path, read_only: bool) -> Result<DockerMount, Refused> {
    Ok(DockerMount {
        typ: Some(MountType::BIND),
        source: Some(text(source)?),
        target: Some(text(target)?),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// The image's home as a volume without a name: Docker copies it at the start, and removes it with the container.
fn copied_home() -> DockerMount {
    DockerMount { typ: Some(MountType::VOLUME), target: Some(HOME.to_owned()), ..Default::default() }
}

/// An overlay that Docker mounts as a volume without a name, which it removes with the container.
fn scratch(mount: &Mount, files: &Files, index: usize) -> Result<DockerMount, Refused> {
    let (changes, work) = files.scratch(index);
    let part = |path: &Path| Ok::<_, Refused>(escaped(&text(path)?));
    let layers = format!("lowerdir={},upperdir={},workdir={}", part(&mount.source)?, part(&changes)?, part(&work)?);
    let options = [("type", "overlay".to_owned()), ("device", "overlay".to_owned()), ("o", layers)];
    let driver = MountVolumeOptionsDriverConfig {
        name: Some("local".to_owned()),
        options: Some(options.map(|(name, value)| (name.to_owned(), value)).into()),
    };
    Ok(DockerMount {
        typ: Some(MountType::VOLUME),
        target: Some(text(&mount.target)?),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            driver_config: Some(driver),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// With the characters escaped that have a meaning in an overlay's options.
fn escaped(path: &str) -> String {
    path.chars()
        .flat_map(|letter| matches!(letter, '\\' | ':' | ',').then_some('\\').into_iter().chain([letter]))
        .collect()
}

/// Refuses targets that are not absolute, have `..`, or are the root.
fn plain(target: &Path) -> Result<(), Refused> {
    let good = target.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if good && target.is_absolute() && target.file_name().is_some() {
        return Ok(());
    }
    Err(Refused { step: format!("target {}", target.display()), reason: "Invalid argument".to_owned() })
}

/// Docker's interface is JSON.
fn text(path: &Path) -> Result<String, Refused> {
    let refused = || Refused { step: format!("path {}", path.display()), reason: "is not UTF-8".to_owned() };
    path.to_str().map(str::to_owned).ok_or_else(refused)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Egress};

    fn spec(mounts: Vec<Mount>) -> Spec {
        let command = Command {
            argv: vec!["serve".to_owned()],
            env: vec![("SECRET".to_owned(), "s3cret".to_owned())],
            cwd: "/home/app/code".into(),
        };
        let limits =
            Limits { memory: Some(1 << 29), cpu: Some(1500), pids: Some(256), tmp: 1 << 20, ..Limits::default() };
        Spec {
            hostname: "blog".to_owned(),
            host_uid: 210_000,
            mounts,
            symlinks: Vec::new(),
            command,
            log: None,
            limits,
            egress: Egress::default(),
            egress_exceptions: Vec::new(),
            internal: None,
        }
    }

    fn made(mounts: Vec<Mount>) -> Result<Body, Refused> {
        let base = Base { image: "base:1".to_owned(), shown: vec![("/usr".into(), "/usr".into())], has_home: false };
        let files = Files::of("/run/airstrip/a/docker".into());
        body(&base, &spec(mounts), &files, HashMap::new())
    }

    fn mount(source: &str, target: &str, kind: MountKind) -> Mount {
        Mount { source: source.into(), target: target.into(), kind }
    }

    #[test]
    fn limits_and_confinement() {
        let host = made(Vec::new()).unwrap().host_config.unwrap();
        assert_eq!(
            (host.memory, host.memory_swap, host.nano_cpus),
            (Some(1 << 29), Some(1 << 29), Some(1_500_000_000))
        );
        assert_eq!(host.pids_limit, Some(257));
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!((host.readonly_rootfs, host.network_mode.as_deref()), (Some(true), Some("none")));
        let sizes: u64 = host.tmpfs.unwrap().values().map(|options| size(options)).sum::<u64>();
        assert!(sizes + u64::try_from(host.shm_size.unwrap()).unwrap() <= 1 << 20);
    }

    fn size(options: &str) -> u64 {
        options.rsplit_once("size=").unwrap().1.parse().unwrap()
    }

    #[test]
    fn secrets_stay_out() {
        assert!(!serde_json::to_string(&made(Vec::new()).unwrap()).unwrap().contains("s3cret"));
    }

    #[test]
    fn a_later_mount_takes_an_earlier_ones_place() {
        let mounts = vec![mount("/a", "/x", MountKind::ReadOnly), mount("/b", "/x", MountKind::ReadWrite)];
        let made = made(mounts).unwrap().host_config.unwrap().mounts.unwrap();
        let at: Vec<_> = made.iter().filter(|mount| mount.target.as_deref() == Some("/x")).collect();
        assert_eq!((at.len(), at[0].source.as_deref(), at[0].read_only), (1, Some("/b"), Some(false)));
    }

    #[test]
    fn overlays_are_escaped() {
        let made = made(vec![mount("/a:b,c\\d", "/x", MountKind::Scratch)]).unwrap();
        let volume = made.host_config.unwrap().mounts.unwrap().pop().unwrap().volume_options.unwrap();
        let options = volume.driver_config.unwrap().options.unwrap();
        assert!(options["o"].starts_with("lowerdir=/a\\:b\\,c\\\\d,upperdir=/run/"), "{}", options["o"]);
    }

    #[test]
    fn targets_must_be_plain() {
        for target in ["relative", "/x/../y", "/", ""] {
            assert!(made(vec![mount("/a", target, MountKind::ReadOnly)]).is_err(), "{target}");
        }
    }
}
