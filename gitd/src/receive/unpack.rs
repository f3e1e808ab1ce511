//! Takes a pack from the pusher into a quarantine. Blocking.

use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::connectivity::Links;
use super::fsck::Problem;
use crate::index_pack::{Bounds, IndexPackError, index_pack};
use crate::objects::Objects;
use crate::quarantine::Quarantine;
use crate::repository::is_disk_full;
use crate::{Incoming, Limits, ObjectId};

/// Why a pack was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// A bound, or a client that did not go on.
    #[error("{0}")]
    Bound(IndexPackError<Problem>),
    #[error("no space left on the server")]
    DiskFull,
    #[error("index-pack abnormal exit: {0}")]
    Broken(String),
    #[error("object {0}: {1}")]
    Unsound(ObjectId, Problem),
    #[error("unable to create temporary object directory")]
    Quarantine(#[source] io::Error),
}

/// Reads one pack: its objects, and what they name. The input is not read past its end.
pub(crate) fn unpack(
    repository: &Path,
    input: impl Read,
    limits: &Limits,
    interrupt: &AtomicBool,
) -> Result<(Incoming, Links), UnpackError> {
    let quarantine = Quarantine::new(repository).map_err(quarantine_error)?;
    let bases = Objects::open(quarantine.objects(), limits.object_bytes).map_err(quarantine_error)?;
    let mut links = Links::new(bases.packed());
    let (directory, bounds) = (quarantine.pack(), Bounds::from(limits));
    index_pack(input, &directory, Some(&bases), bounds, &mut links, interrupt).map_err(refusal)?;
    Ok((Incoming::new(repository, Some(quarantine), limits.object_bytes), links))
}

fn refusal(error: IndexPackError<Problem>) -> UnpackError {
    match error {
        IndexPackError::Unsound(id, problem) => UnpackError::Unsound(id, problem),
        IndexPackError::Io(error) if is_disk_full(error.kind()) => UnpackError::DiskFull,
        error if error.is_bound() => UnpackError::Bound(error),
        error => UnpackError::Broken(error.to_string()),
    }
}

fn quarantine_error(error: io::Error) -> UnpackError {
    if is_disk_full(error.kind()) { UnpackError::DiskFull } else { UnpackError::Quarantine(error) }
}
