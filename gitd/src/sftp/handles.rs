//! Open files and directories, by the handles that the client was given.

use std::collections::HashMap;
use std::fs::{File, ReadDir};
use std::io;
use std::path::PathBuf;

use super::reply::Status;

/// Open at the same time.
pub(super) const MOST: usize = 256;

/// What a handle stands for.
#[derive(Debug)]
pub(super) enum Open {
    File(File),
    Directory { path: PathBuf, entries: ReadDir },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: HashMap<u32, Open>,
    next: u32,
}

impl Handles {
    pub(super) fn add(&mut self, open: Open) -> Result<u32, Status> {
        if self.open.len() >= MOST {
            return Err(io::Error::from_raw_os_error(nix::libc::EMFILE).into());
        }
        while self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.open.insert(number, open);
        // A handle that has been closed must not soon mean something else.
        self.next = number.wrapping_add(1);
        Ok(number)
    }

    pub(super) fn close(&mut self, handle: &[u8]) -> Result<(), Status> {
        number(handle).and_then(|number| self.open.remove(&number)).map(drop).ok_or_else(Status::no_handle)
    }

    pub(super) fn file(&self, handle: &[u8]) -> Result<&File, Status> {
        match number(handle).and_then(|number| self.open.get(&number)) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(Status::no_handle()),
        }
    }

    pub(super) fn directory(&mut self, handle: &[u8]) -> Result<(&PathBuf, &mut ReadDir), Status> {
        match number(handle).and_then(|number| self.open.get_mut(&number)) {
            Some(Open::Directory { path, entries }) => Ok((path, entries)),
            _ => Err(Status::no_handle()),
        }
    }
}

fn number(handle: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(handle.try_into().ok()?))
}
