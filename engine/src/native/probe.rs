//! Finds out at start whether this machine permits sandboxes, by making one; if not, says what is missing and what to do.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Uid;

use super::cgroup::Plan;
use super::channel::command;
use super::network::{self, OUTGOING, host_has_ipv6};
use super::program::empty_input;
use super::protocol::{self, Failure, Kind, Reply, Request, Start};
use crate::{Ability, Command, Egress, EngineError, Exit, Limits, Spec};

/// Seconds until a sandbox that does not answer counts as failed.
const LIMIT: i64 = 30;
const NETWORK_REMEDY: &str = "a kernel with nf_tables and its tproxy module is needed (`modprobe nft_tproxy`)";
const ROOT_REMEDY: &str = "run airstrip as root, or apps that need the outside in airstrip's own sandboxes";

/// Runs `true` in a sandbox, as every later program will run. `Err` in `Ok`: sandboxes have no outgoing connections here; the reason.
pub(super) fn probe(run_dir: &Path, privileged: bool) -> Result<Ability, EngineError> {
    let io = |source| EngineError::Io { doing: "try a sandbox".to_owned(), source };
    let whole = attempt(run_dir, privileged, Egress::Internet).map_err(io)?;
    match whole {
        Err(Failure::Setup { step, reason }) if step.starts_with(OUTGOING) => {
            judge(attempt(run_dir, privileged, Egress::None).map_err(io)?, privileged)?;
            Ok(Err(format!("{step}: {reason}; {NETWORK_REMEDY}")))
        }
        other => judge(other, privileged).map(Ok),
    }
}

/// Whether containers can be given outgoing connections.
pub(super) fn containers(privileged: bool) -> Ability {
    if !privileged {
        return Err(format!("only root may set up the network of a container; {ROOT_REMEDY}"));
    }
    network::try_to_adopt().map_err(|failure| format!("{failure}; {NETWORK_REMEDY}"))
}

fn judge(tried: Result<Exit, Failure>, privileged: bool) -> Result<(), EngineError> {
    match tried {
        Ok(exit) if exit.success() => Ok(()),
        Ok(exit) => Err(EngineError::Unsupported(format!(
            "a program tried in a sandbox {exit}; does the binary's main begin with engine::native::run_if_child?"
        ))),
        Err(failure) => Err(EngineError::Unsupported(explain(&failure, privileged))),
    }
}

fn attempt(run_dir: &Path, privileged: bool, egress: Egress) -> io::Result<Result<Exit, Failure>> {
    let (ours, theirs) = protocol::pair()?;
    setsockopt(&ours, sockopt::ReceiveTimeout, &TimeVal::seconds(LIMIT))?;
    let job = protocol::write_job(&trial(run_dir, privileged, egress))?;
    let null = empty_input().map_err(io::Error::other)?;
    let fds = [job.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
    protocol::send(ours.as_fd(), &Request::Start, &fds)?;
    let mut shim = command(super::SHIM, theirs).spawn()?;
    let result = loop {
        match protocol::receive::<Reply>(ours.as_fd())? {
            Some((Reply::Ended(exit), _)) => break Ok(exit),
            Some((Reply::Failed(failure), _)) => break Err(failure),
            Some(_) => {}
            None => break Ok(Exit::Lost),
        }
    };
    drop(ours);
    shim.wait()?;
    Ok(result)
}

fn trial(run_dir: &Path, privileged: bool, egress: Egress) -> Start {
    let command = Command { argv: vec!["true".to_owned()], env: Vec::new(), cwd: "/".into() };
    let spec = Spec {
        hostname: "probe".to_owned(),
        host_uid: 65_534,
        mounts: Vec::new(),
        symlinks: Vec::new(),
        command,
        log: None,
        limits: Limits::default(),
        egress,
        egress_exceptions: Vec::new(),
        internal: None,
    };
    let (run_dir, kind) = (run_dir.to_owned(), Kind::OneOff { terminal: None });
    Start {
        run_dir,
        privileged,
        spec,
        kind,
        group: Plan::default(),
        processes: None,
        ipv6: host_has_ipv6(),
        door: None,
    }
}

/// What failed, the likely cause on this machine, and a remedy.
fn explain(failure: &Failure, privileged: bool) -> String {
    let set = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let container = Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists();
    let remedy = if privileged && container {
        "this seems to be a container without the right to make sandboxes: start it with `--privileged`, or with \
         `--cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined`"
    } else if container {
        "inside a container an ordinary user cannot make sandboxes: run airstrip as root in a container started with `--privileged`"
    } else if privileged {
        "root lacks a right here; a Linux kernel from 5.12 on with user, mount and process namespaces is needed"
    } else if set("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor keeps ordinary users from making sandboxes here (Ubuntu's default): run airstrip as root, or give its binary a profile \
         with the rule `userns,`, or set `sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    } else if set("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "ordinary users may not make user namespaces here: run airstrip as root, or set `sysctl kernel.unprivileged_userns_clone=1`"
    } else if set("/proc/sys/user/max_user_namespaces", "0") {
        "user namespaces are switched off here: set `sysctl user.max_user_namespaces=10000`"
    } else {
        "a Linux kernel from 5.12 on that lets ordinary users make user namespaces is needed; or run airstrip as root"
    };
    let user = Uid::effective();
    format!("this machine does not permit sandboxes to user {user}: {failure}; {remedy}")
}
