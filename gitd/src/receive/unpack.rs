//! Takes a pack from the pusher into a quarantine. Blocking.

use std::error::Error;
use std::fs;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix_pack::Bundle;
use gix_pack::bundle::write::{Options, Outcome};

use super::bounded_pack::BoundedPack;
use crate::quarantine::Quarantine;
use crate::repository::is_disk_full;
use crate::stall::Stalled;
use crate::{Incoming, Limits, objects};

/// Threads that rebuild deltas; each may hold a few objects of the largest size.
const THREADS: usize = 4;

/// Why a pack was not taken. The words are git's where git has some.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("pack exceeds maximum allowed size ({0} bytes)")]
    PackTooLarge(u64),
    #[error("an object exceeds the maximum allowed size ({0} bytes)")]
    ObjectTooLarge(usize),
    #[error("{0}")]
    Stalled(#[from] Stalled),
    #[error("no space left on the server")]
    DiskFull,
    #[error("index-pack abnormal exit: {0}")]
    Broken(String),
    #[error("unable to create temporary object directory")]
    Quarantine(#[source] io::Error),
}

/// Reads one pack. The input is not read past its end.
pub(crate) fn unpack(
    repository: &Path,
    input: impl Read,
    limits: &Limits,
    interrupt: &AtomicBool,
) -> Result<Incoming, UnpackError> {
    let quarantine = Quarantine::new(repository).map_err(quarantine_error)?;
    let mut input = BoundedPack::new(input, quarantine.pack(), limits);
    let written = write(&quarantine, &mut input, limits, interrupt);
    if let Some(exceeded) = input.exceeded {
        return Err(exceeded);
    }
    let outcome = written.map_err(|error| classify(&error, limits))?;
    if let Some(keep) = outcome.keep_path {
        fs::remove_file(keep).map_err(quarantine_error)?;
    }
    Ok(Incoming::new(repository, Some(quarantine), limits.object_bytes))
}

fn write(
    quarantine: &Quarantine,
    input: &mut impl Read,
    limits: &Limits,
    interrupt: &AtomicBool,
) -> Result<Outcome, gix::Error> {
    let bases = objects::open(quarantine.objects(), Some(limits.object_bytes)).map_err(gix::Error::from_error)?;
    let options =
        Options { thread_limit: Some(THREADS), alloc_limit_bytes: Some(limits.object_bytes), ..Options::default() };
    Bundle::write_to_directory(
        &mut BufReader::with_capacity(64 * 1024, input),
        Some(&quarantine.pack()),
        &mut gix::progress::Discard,
        interrupt,
        Some(bases),
        gix::hash::Kind::Sha1,
        options,
    )
}

fn classify(error: &gix::Error, limits: &Limits) -> UnpackError {
    let disk_full = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| is_disk_full(error.kind()))
    };
    if error.iter_errors().any(disk_full) {
        UnpackError::DiskFull
    } else if error.is_resource_exhausted() {
        UnpackError::ObjectTooLarge(limits.object_bytes)
    } else {
        UnpackError::Broken(error.probable_cause().to_string())
    }
}

fn quarantine_error(error: io::Error) -> UnpackError {
    if is_disk_full(error.kind()) { UnpackError::DiskFull } else { UnpackError::Quarantine(error) }
}
