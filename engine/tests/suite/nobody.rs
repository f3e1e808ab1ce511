//! An ordinary user: a copy of this binary that `nobody` can run, and a control group of version 2, as a service manager would
//! delegate it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const NOBODY: u32 = 65_534;
/// What a user needs who rules a group.
const FILES: [&str; 4] = ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"];

/// The original may lie where `nobody` cannot reach it. Dropping it removes it.
pub(crate) struct Copy(tempfile::TempDir);

impl Copy {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("airstrip-nobody-").tempdir().unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::copy("/proc/self/exe", dir.path().join("copy")).unwrap();
        Self(dir)
    }

    /// With which `setpriv` runs it; its own follow.
    pub(crate) fn arguments(&self) -> [PathBuf; 4] {
        ["--reuid=65534".into(), "--regid=65534".into(), "--clear-groups".into(), self.0.path().join("copy")]
    }
}

/// A control group that `nobody` rules. Dropping it removes it.
pub(crate) struct Delegated(Option<PathBuf>);

impl Delegated {
    /// Nothing is delegated where there is no version 2, or it cannot be written.
    pub(crate) fn new() -> Self {
        let made = top().and_then(|top| {
            let group = top.join(format!("airstrip-test-{}", std::process::id()));
            fs::create_dir(&group).ok()?;
            for file in FILES {
                let _ = chown(group.join(file), Some(NOBODY), Some(NOBODY));
            }
            Some(group)
        });
        match &made {
            Some(group) => println!("an ordinary user gets the control group {}", group.display()),
            None => println!("no control group can be delegated to an ordinary user here"),
        }
        Self(made)
    }

    /// A program that is started in the group.
    pub(crate) fn command(&self, program: &str) -> Command {
        let Some(group) = &self.0 else { return Command::new(program) };
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo 0 > "$0/cgroup.procs" && exec "$@""#]).arg(group).arg(program);
        command
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            let _ = fs::remove_dir(group.join("daemon"));
            if let Err(error) = fs::remove_dir(group) {
                println!("{} stays: {error}", group.display());
            }
        }
    }
}

fn top() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    Some(Path::new(line.split(' ').nth(1)?).to_owned())
}
