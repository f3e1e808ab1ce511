//! Rebuilding the deltas of a pack to learn their names.
//!
//! Each whole object, the deltas to it, those to them and so on are a family, which one thread goes through in depth. What it keeps are
//! the objects between the first one and the one at hand, [`Bounds::kept`] bytes of them at most; what had to go is rebuilt when it is needed
//! again. Families with large objects are gone through one at a time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use flate2::{Decompress, FlushDecompress, Status};
use gix::objs::Kind;

use super::{Base, Bounds, Entry, IndexPackError, Inspect, delta, finalize, hasher};
use crate::ObjectId;

const THREADS: usize = 4;
/// Fewer deltas than this are not worth a thread.
const FEW: usize = 100;
/// Deltas to deltas to deltas; git makes no longer chains.
const DEPTH: usize = 4095;
/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;
/// What it takes to rebuild an object, however small it is, as bytes.
const REBUILT: u64 = 1024;

pub(super) struct Resolver<'a> {
    file: &'a File,
    bounds: Bounds,
    interrupt: &'a AtomicBool,
    /// Base and delta, sorted.
    deltas: Vec<(u32, u32)>,
    named: Named,
    unpacked: AtomicU64,
    large: Mutex<()>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        file: &'a File,
        bounds: Bounds,
        unpacked: u64,
        entries: &[Entry],
        interrupt: &'a AtomicBool,
    ) -> Self {
        let deltas = sorted(entries, |base| if let Base::Entry(base) = base { Some(base) } else { None });
        let (named, unpacked) = (Named::new(entries), AtomicU64::new(unpacked));
        Self { file, bounds, interrupt, deltas, named, unpacked, large: Mutex::default() }
    }

    /// Finds the names of all deltas to the whole objects from that number on, directly and indirectly. The last entry ends at `end`.
    pub(super) fn run<I: Inspect>(
        &self,
        entries: &mut [Entry],
        from: usize,
        end: u64,
        inspector: &I,
    ) -> Result<(), IndexPackError<I::Problem>> {
        let roots: Vec<u32> = (0..)
            .zip(entries.iter())
            .skip(from)
            .filter(|(number, entry)| matches!(entry.base, Base::Whole(_)) && self.is_base(*number, entry.id))
            .map(|(number, _)| number)
            .collect();
        let threads = if self.deltas.len() < FEW { 1 } else { THREADS.min(thread::available_parallelism()?.get()) };
        let next = AtomicUsize::new(0);
        let stored = &*entries;
        let found = thread::scope(|scope| {
            let (roots, next) = (&roots, &next);
            let work = move || Worker::new(self, stored, end, inspector).run(roots, next);
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            let joined = others.into_iter().map(|other| other.join().unwrap_or(Err(IndexPackError::Interrupted)));
            std::iter::once(own).chain(joined).collect::<Result<Vec<_>, _>>()
        })?;
        for (number, id) in found.into_iter().flatten() {
            if let Some(entry) = entries.get_mut(number as usize) {
                entry.id = id;
            }
        }
        Ok(())
    }

    /// Bases that have not been come across.
    pub(super) fn wanted(&self) -> Vec<ObjectId> {
        self.named.wanted()
    }

    fn is_base(&self, number: u32, id: ObjectId) -> bool {
        !range_of(&self.deltas, &number).is_empty() || self.named.wants(id)
    }

    /// The deltas to an object; those by its name are handed out once, should the object be there twice.
    fn take_deltas_to(&self, number: u32, id: ObjectId) -> Vec<u32> {
        let by_place = self.deltas.get(range_of(&self.deltas, &number)).unwrap_or_default();
        let by_place = by_place.iter().map(|(_, delta)| *delta);
        self.named.take(id).iter().map(|(_, delta)| *delta).chain(by_place).collect()
    }
}

/// The deltas whose bases are named: in the pack, elsewhere, or nowhere.
struct Named {
    /// Base and delta, sorted.
    deltas: Vec<(ObjectId, u32)>,
    /// Beside the first delta to each base: these have been handed out.
    taken: Vec<AtomicBool>,
}

impl Named {
    fn new(entries: &[Entry]) -> Self {
        let deltas = sorted(entries, |base| if let Base::Named(base) = base { Some(base) } else { None });
        let taken = deltas.iter().map(|_| AtomicBool::new(false)).collect();
        Self { deltas, taken }
    }

    fn wants(&self, base: ObjectId) -> bool {
        let range = range_of(&self.deltas, &base);
        !range.is_empty() && self.taken.get(range.start).is_some_and(|taken| !taken.load(Ordering::Relaxed))
    }

    fn take(&self, base: ObjectId) -> &[(ObjectId, u32)] {
        let range = range_of(&self.deltas, &base);
        let taken =
            !range.is_empty() && self.taken.get(range.start).is_some_and(|taken| taken.swap(true, Ordering::Relaxed));
        if taken { &[] } else { self.deltas.get(range).unwrap_or_default() }
    }

    fn wanted(&self) -> Vec<ObjectId> {
        let mut bases: Vec<_> = self.deltas.iter().map(|(base, _)| *base).collect();
        bases.dedup();
        bases.retain(|base| self.wants(*base));
        bases
    }
}

/// The deltas whose base is of that kind.
fn sorted<B: Ord>(entries: &[Entry], base: impl Fn(Base) -> Option<B> + Copy) -> Vec<(B, u32)> {
    let found = (0..).zip(entries).filter_map(|(number, entry)| Some((base(entry.base)?, number)));
    // There may be millions: no room is made for more than there are.
    let mut deltas = Vec::with_capacity(found.clone().count());
    deltas.extend(found);
    deltas.sort_unstable();
    deltas
}

/// Where the deltas to that base are.
fn range_of<B: Ord>(deltas: &[(B, u32)], base: &B) -> Range<usize> {
    let begin = deltas.partition_point(|(other, _)| other < base);
    let rest = deltas.get(begin..).unwrap_or_default();
    begin..begin + rest.partition_point(|(other, _)| other == base)
}

/// A number, and the name that it has turned out to have.
type Found = Vec<(u32, ObjectId)>;

/// One thread.
struct Worker<'a, I> {
    resolver: &'a Resolver<'a>,
    entries: &'a [Entry],
    end: u64,
    inspector: &'a I,
    inflater: Decompress,
    compressed: Box<[u8]>,
    found: Found,
    /// From the whole object to the one at hand.
    path: Vec<Step>,
    kept: usize,
    /// Held while there are large objects on the path.
    alone: Option<MutexGuard<'a, ()>>,
}

/// An object on the path.
struct Step {
    number: u32,
    /// None once there was no room for it.
    content: Option<Vec<u8>>,
    /// Deltas to it that are still to be rebuilt.
    deltas: Vec<u32>,
}

impl<'a, I: Inspect> Worker<'a, I> {
    fn new(resolver: &'a Resolver<'a>, entries: &'a [Entry], end: u64, inspector: &'a I) -> Self {
        let (inflater, compressed) = (Decompress::new(true), vec![0; PIECE].into());
        let (found, path) = (Vec::new(), Vec::new());
        Self { resolver, entries, end, inspector, inflater, compressed, found, path, kept: 0, alone: None }
    }

    fn run(mut self, roots: &[u32], next: &AtomicUsize) -> Result<Found, IndexPackError<I::Problem>> {
        while let Some(root) = roots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = self.family(*root);
            if outcome.is_err() {
                // The others need not go on either.
                next.store(roots.len(), Ordering::Relaxed);
            }
            outcome?;
        }
        Ok(self.found)
    }

    fn family(&mut self, root: u32) -> Result<(), IndexPackError<I::Problem>> {
        let Base::Whole(kind) = self.stored(root)?.base else { return Ok(()) };
        let content = self.inflate(root)?;
        self.descend(root, self.stored(root)?.id, content)?;
        while let Some(step) = self.path.last_mut() {
            let Some(delta) = step.deltas.pop() else {
                self.ascend();
                continue;
            };
            if self.resolver.interrupt.load(Ordering::Relaxed) {
                return Err(IndexPackError::Interrupted);
            }
            self.rebuild()?;
            let content = self.apply(delta, self.path.len() - 1)?;
            let id = name(kind, &content)?;
            if kind != Kind::Blob {
                self.inspector.look(id, kind, &content).map_err(|problem| IndexPackError::Unsound(id, problem))?;
            }
            self.found.push((delta, id));
            self.descend(delta, id, content)?;
        }
        self.alone = None;
        Ok(())
    }

    /// Goes on with the deltas to an object.
    fn descend(&mut self, number: u32, id: ObjectId, content: Vec<u8>) -> Result<(), IndexPackError<I::Problem>> {
        let deltas = self.resolver.take_deltas_to(number, id);
        if deltas.is_empty() {
            return Ok(());
        }
        if self.path.len() >= DEPTH {
            return Err(IndexPackError::Broken("a chain of deltas is too long"));
        }
        self.kept += content.len();
        self.path.push(Step { number, content: Some(content), deltas });
        self.make_room();
        Ok(())
    }

    fn ascend(&mut self) {
        let content = self.path.pop().and_then(|step| step.content);
        self.kept -= content.map_or(0, |content| content.len());
    }

    /// Drops the contents that are needed last, but never the one at hand.
    fn make_room(&mut self) {
        let before = self.path.len().saturating_sub(1);
        for step in self.path.iter_mut().take(before) {
            if self.kept <= self.resolver.bounds.kept {
                return;
            }
            self.kept -= step.content.take().map_or(0, |content| content.len());
        }
    }

    /// Makes sure that the object at hand is there.
    fn rebuild(&mut self) -> Result<(), IndexPackError<I::Problem>> {
        let last = self.path.len() - 1;
        let there = self.path.iter().rposition(|step| step.content.is_some());
        if there == Some(last) {
            return Ok(());
        }
        let mut from = there.unwrap_or(0);
        if there.is_none() {
            let root = self.number(0);
            let content = self.inflate(root)?;
            self.put(0, content)?;
        }
        while from < last {
            let content = self.apply(self.number(from + 1), from)?;
            if there != Some(from) {
                self.drop_content(from);
            }
            from += 1;
            self.put(from, content)?;
        }
        self.make_room();
        Ok(())
    }

    fn number(&self, step: usize) -> u32 {
        self.path.get(step).map_or(0, |step| step.number)
    }

    fn put(&mut self, step: usize, content: Vec<u8>) -> Result<(), IndexPackError<I::Problem>> {
        let most = self.resolver.bounds.unpacked;
        let size = content.len() as u64 + REBUILT;
        if self.resolver.unpacked.fetch_add(size, Ordering::Relaxed) + size > most {
            return Err(IndexPackError::UnpacksTooLarge(most));
        }
        self.kept += content.len();
        if let Some(step) = self.path.get_mut(step) {
            step.content = Some(content);
        }
        Ok(())
    }

    fn drop_content(&mut self, step: usize) {
        let content = self.path.get_mut(step).and_then(|step| step.content.take());
        self.kept -= content.map_or(0, |content| content.len());
    }

    /// The object of a delta to the one at that step of the path.
    fn apply(&mut self, number: u32, step: usize) -> Result<Vec<u8>, IndexPackError<I::Problem>> {
        let delta = self.inflate(number)?;
        let most = self.resolver.bounds.object;
        let large =
            delta::sizes(&delta).is_some_and(|sizes| sizes.base.max(sizes.result) > self.resolver.bounds.kept as u64);
        self.one_at_a_time(large);
        let base = self.path.get(step).and_then(|step| step.content.as_ref());
        base.and_then(|base| delta::apply(base, &delta, most)).ok_or(IndexPackError::Broken("failed to apply delta"))
    }

    /// What is stored there, uncompressed.
    fn inflate(&mut self, number: u32) -> Result<Vec<u8>, IndexPackError<I::Problem>> {
        let entry = self.stored(number)?;
        let (begin, size) = (entry.offset + u64::from(entry.header), index_size(entry.size)?);
        let end = self.entries.get(number as usize + 1).map_or(self.end, |next| next.offset);
        self.one_at_a_time(size > self.resolver.bounds.kept);
        self.inflater.reset(true);
        let content = inflate(&mut self.inflater, self.resolver.file, begin..end, &mut self.compressed, size)?;
        content.ok_or(IndexPackError::Broken("inflate returned an error"))
    }

    fn one_at_a_time(&mut self, large: bool) {
        if large && self.alone.is_none() {
            self.alone = Some(self.resolver.large.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn stored(&self, number: u32) -> Result<&'a Entry, IndexPackError<I::Problem>> {
        self.entries.get(number as usize).ok_or(IndexPackError::Broken("delta base offset is out of bound"))
    }
}

/// Uncompresses a part of a file, one piece at a time: what is compressed may be much more than what it says. None if that is not
/// exactly `size` bytes.
fn inflate(
    inflater: &mut Decompress,
    file: &File,
    mut part: Range<u64>,
    piece: &mut [u8],
    size: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::with_capacity(size);
    while !part.is_empty() {
        let length = usize::try_from(part.end - part.start).unwrap_or(usize::MAX).min(piece.len());
        let piece = piece.get_mut(..length).unwrap_or_default();
        file.read_exact_at(piece, part.start)?;
        part.start += length as u64;
        let flush = if part.is_empty() { FlushDecompress::Finish } else { FlushDecompress::None };
        match inflater.decompress_vec(piece, &mut content, flush) {
            Ok(Status::StreamEnd) => return Ok((content.len() == size).then_some(content)),
            Ok(Status::Ok | Status::BufError) => {}
            Err(_) => break,
        }
    }
    Ok(None)
}

pub(super) fn name<E>(kind: Kind, content: &[u8]) -> Result<ObjectId, IndexPackError<E>> {
    let mut hasher = hasher(kind, content.len() as u64);
    hasher.update(content);
    finalize(hasher)
}

fn index_size<E>(size: u64) -> Result<usize, IndexPackError<E>> {
    usize::try_from(size).map_err(|_| IndexPackError::Broken("an object's size is out of range"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However it is cut into pieces, within its checksum, too; and nothing that is longer or shorter than it says.
        #[test]
        fn what_was_compressed_comes_back(content: Vec<u8>, level in 0..10_u32, piece in 1..40_usize, before in 0..9_usize) {
            let mut encoder = ZlibEncoder::new(vec![7; before], Compression::new(level));
            encoder.write_all(&content).unwrap();
            let stored = encoder.finish().unwrap();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&stored).unwrap();
            let read = |size| {
                let part = before as u64..stored.len() as u64;
                inflate(&mut Decompress::new(true), &file, part, &mut vec![0; piece], size).unwrap()
            };
            prop_assert_eq!(read(content.len()), Some(content.clone()));
            prop_assert_eq!(read(content.len() + 1), None);
            if let Some(less) = content.len().checked_sub(1) {
                prop_assert_eq!(read(less), None);
            }
        }
    }
}
