//! What a program that joins an instance later is held to; kept in the instance's directory.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Group;
use crate::Limits;

const FILE: &str = "limits.json";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::native) struct Bounds {
    pub(in crate::native) group: Group,
    pub(in crate::native) open_files: u64,
    /// How many processes there may be, if no control group counts them.
    #[serde(default)]
    pub(in crate::native) processes: Option<u32>,
    /// The user outside, if it is not the daemon's own.
    #[serde(default)]
    pub(in crate::native) user: Option<u32>,
}

impl Bounds {
    /// Into an instance's directory. Not synced: after a power cut there is no instance.
    pub(in crate::native) fn write(&self, dir: &Path) -> io::Result<()> {
        fs::write(dir.join(FILE), serde_json::to_vec(self)?)
    }

    /// Of an instance. Those that earlier versions started have no group.
    pub(in crate::native) fn read(dir: &Path) -> io::Result<Self> {
        match fs::read(dir.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self {
                group: Group::default(),
                open_files: Limits::default().open_files,
                processes: None,
                user: None,
            }),
            Err(error) => Err(error),
        }
    }
}
