//! One pack in place of many: every push adds one. Blocking.
//!
//! The new pack is complete and durable before an old one goes, and the old ones go only while nobody reads or writes
//! the repository (see [`crate::quarantine`]): a crash leaves objects twice, never none.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gix_pack::index::File as Index;

use crate::index_pack::{Bounds, KEPT, index_pack};
use crate::objects::Objects;
use crate::packing::{self, Contents, PackingError};
use crate::quarantine::{self, Quarantine};
use crate::{ObjectId, crash};

/// How often, and with what pauses, is looked whether the repository is in use.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);
const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;

/// Makes one pack if there are more than `most`. Whether the old ones are gone: they stay if the repository is in use.
pub(crate) fn consolidate(
    repository: &Path,
    most: usize,
    object_bytes: usize,
    interrupt: &AtomicBool,
) -> Result<bool, PackingError> {
    if indexes(repository)?.len() <= most {
        return Ok(false);
    }
    let quarantine = Quarantine::new(repository)?;
    let old = indexes(repository)?;
    let ids = all_ids(&old)?;
    let pack = quarantine.objects().join("all");
    let objects = ids.into_iter().map(|id| (id, 0)).collect();
    // Without names new deltas are not worth their time.
    let contents = Contents { objects, known: HashMap::new(), distances: true, search: Duration::ZERO };
    let output = BufWriter::new(File::create(&pack)?);
    let from = Objects::open(&repository.join("objects"), object_bytes)?;
    packing::write(&from, &contents, output, interrupt)?;
    index(&pack, &quarantine, object_bytes, interrupt)?;
    let new: HashSet<_> = fs::read_dir(quarantine.pack())?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    crash::point("packs written as one");
    quarantine.release(repository)?;
    crash::point("one pack kept");
    drop(quarantine);
    let Some(_alone) = alone_soon(repository, interrupt)? else { return Ok(false) };
    for path in old.iter().filter(|path| path.file_name().is_some_and(|name| !new.contains(name))) {
        // Without its index a pack is not looked at.
        fs::remove_file(path)?;
        crash::point("old index removed");
        fs::remove_file(path.with_extension("pack"))?;
    }
    Ok(true)
}

/// Those who read or write now may have ended in a moment.
fn alone_soon(repository: &Path, interrupt: &AtomicBool) -> io::Result<Option<File>> {
    for _ in 0..TRIES {
        if let Some(alone) = quarantine::alone(repository)? {
            return Ok(Some(alone));
        }
        if interrupt.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(None)
}

fn indexes(repository: &Path) -> Result<Vec<PathBuf>, PackingError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(repository.join("objects/pack"))? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "idx"));
    Ok(paths)
}

/// The objects of all packs, once each.
fn all_ids(indexes: &[PathBuf]) -> Result<Vec<ObjectId>, PackingError> {
    let mut seen = HashSet::new();
    let mut ids = Vec::new();
    for path in indexes {
        let index = Index::at(path, SHA1)?;
        ids.extend(index.iter().map(|entry| entry.oid).filter(|id| seen.insert(*id)));
    }
    Ok(ids)
}

fn index(pack: &Path, quarantine: &Quarantine, limit: usize, interrupt: &AtomicBool) -> Result<(), PackingError> {
    // What is here has been let in: only what it takes of memory at a time is bounded.
    let bounds = Bounds { bytes: u64::MAX, objects: u32::MAX, object: limit as u64, unpacked: u64::MAX, kept: KEPT };
    let input = File::open(pack)?;
    index_pack(input, &quarantine.pack(), None, bounds, &mut (), interrupt).map_err(io::Error::other)?;
    Ok(())
}
