//! A control group of version 2 for an ordinary user, as a service manager would delegate it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

const NOBODY: u32 = 65_534;
/// What a user needs who rules a group.
const FILES: [&str; 4] = ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"];

/// See the module. Dropping it removes it.
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
