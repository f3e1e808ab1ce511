//! Servers whose home is a disk of its own.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::geteuid;

use super::Server;
use crate::harness::leftovers::mounts_that_mention;
use crate::harness::skipped;

impl Server {
    /// A server whose home is a disk of `bytes`. None, with the reason printed, if that cannot be made.
    pub fn on_small_disk(bytes: u64) -> Option<Self> {
        if !geteuid().is_root() {
            skipped("only root can mount a small disk");
            return None;
        }
        Some(Self::begin(None, Some(bytes), &[]))
    }

    /// A server whose home is a disk of `bytes` with project quotas. None, with the reason printed, if that cannot be made.
    pub fn on_disk_with_quotas(bytes: u64) -> Option<Self> {
        if !geteuid().is_root() {
            skipped("only root can mount a disk with quotas");
            return None;
        }
        let mut server = Self::made(None, None, &[]);
        match server.mount_disk_with_quotas(bytes) {
            Ok(()) => Some(server.begun()),
            Err(reason) => {
                skipped(&format!("no disk with project quotas: {reason}"));
                None
            }
        }
    }

    fn mount_disk_with_quotas(&mut self, bytes: u64) -> Result<(), String> {
        let image = self.base.path().join("disk");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let mut make = Command::new("mkfs.ext4");
        tried(make.args(["-q", "-O", "quota,project"]).arg(&image))?;
        let mut mount = Command::new("mount");
        tried(mount.args(["-o", "loop,prjquota"]).arg(&image).arg(self.home()))?;
        self.own_disk = true;
        Ok(())
    }

    /// Unmounts the home, if it is a disk; what else is mounted should not be.
    pub(super) fn unmount(&self) -> Vec<String> {
        if self.own_disk {
            let _best = umount2(&self.home(), MntFlags::MNT_DETACH);
        }
        mounts_that_mention(&self.mark()).into_iter().map(|mount| format!("mount {mount}")).collect()
    }
}

pub(super) fn mount_small(directory: &Path, bytes: u64) {
    let options = format!("size={bytes},mode=0755");
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
}

/// What a program has to say if it fails.
fn tried(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    if output.status.success() { Ok(()) } else { Err(said) }
}
