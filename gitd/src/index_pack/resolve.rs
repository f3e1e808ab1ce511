//! Rebuilding the deltas of a pack to learn their names.
//!
//! Each whole object, the deltas to it, those to them and so on are a family, which one thread goes through in depth. What it keeps are
//! the objects between the first one and the one at hand, [`Bounds::kept`] bytes of them at most; what had to go is rebuilt when it is needed
//! again. Families with large objects are gone through one at a time.

use std::collections::HashMap;
use std::fs::File;
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
/// What it takes to rebuild an object, however small it is, as bytes.
const REBUILT: u64 = 1024;

pub(super) struct Resolver<'a> {
    file: &'a File,
    bounds: Bounds,
    interrupt: &'a AtomicBool,
    /// Base and delta, sorted; the deltas whose bases are not in the pack as far as is known.
    deltas: Vec<(u32, u32)>,
    named: Mutex<HashMap<ObjectId, Vec<u32>>>,
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
        let (mut deltas, mut named) = (Vec::new(), HashMap::<_, Vec<_>>::new());
        for (number, entry) in (0..).zip(entries) {
            match entry.base {
                Base::Whole(_) => {}
                Base::Entry(base) => deltas.push((base, number)),
                Base::Named(base) => named.entry(base).or_default().push(number),
            }
        }
        deltas.sort_unstable();
        let (named, unpacked) = (Mutex::new(named), AtomicU64::new(unpacked));
        Self { file, bounds, interrupt, deltas, named, unpacked, large: Mutex::default() }
    }

    /// Finds the names of all deltas to the whole objects from that number on, directly and indirectly. The last entry ends at `end`.
    pub(super) fn run<I: Inspect>(
        &self,
        entries: &mut [Entry],
        from: usize,
        end: u64,
        inspector: &mut I,
    ) -> Result<(), IndexPackError<I::Problem>> {
        let roots: Vec<u32> = (0..)
            .zip(entries.iter())
            .skip(from)
            .filter(|(number, entry)| matches!(entry.base, Base::Whole(_)) && self.is_base(*number, entry.id))
            .map(|(number, _)| number)
            .collect();
        let threads = if self.deltas.len() < FEW { 1 } else { THREADS.min(thread::available_parallelism()?.get()) };
        let next = AtomicUsize::new(0);
        let mut inspectors: Vec<I> = (0..threads).map(|_| inspector.another()).collect();
        let stored = &*entries;
        let found = thread::scope(|scope| {
            let (roots, next) = (&roots, &next);
            let work = move |inspector| Worker::new(self, stored, end, inspector).run(roots, next);
            let own = inspectors.pop();
            let others: Vec<_> = inspectors.drain(..).map(|inspector| scope.spawn(move || work(inspector))).collect();
            let own = own.map(work);
            let joined = others.into_iter().map(|other| other.join().unwrap_or(Err(IndexPackError::Interrupted)));
            own.into_iter().chain(joined).collect::<Result<Vec<_>, _>>()
        })?;
        for (found, seen) in found {
            inspector.join(seen);
            for (number, id) in found {
                if let Some(entry) = entries.get_mut(number as usize) {
                    entry.id = id;
                }
            }
        }
        Ok(())
    }

    /// Bases that have not been come across.
    pub(super) fn wanted(&self) -> Vec<ObjectId> {
        let mut wanted: Vec<_> = self.named().keys().copied().collect();
        wanted.sort_unstable();
        wanted
    }

    fn named(&self) -> MutexGuard<'_, HashMap<ObjectId, Vec<u32>>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_base(&self, number: u32, id: ObjectId) -> bool {
        !self.deltas_to(number).is_empty() || self.named().contains_key(&id)
    }

    fn deltas_to(&self, number: u32) -> &[(u32, u32)] {
        let begin = self.deltas.partition_point(|(base, _)| *base < number);
        let rest = self.deltas.get(begin..).unwrap_or_default();
        rest.get(..rest.partition_point(|(base, _)| *base == number)).unwrap_or_default()
    }

    /// The deltas to an object; those by its name are handed out once, should the object be there twice.
    fn take_deltas_to(&self, number: u32, id: ObjectId) -> Vec<u32> {
        let mut deltas = self.named().remove(&id).unwrap_or_default();
        deltas.extend(self.deltas_to(number).iter().map(|(_, delta)| *delta));
        deltas
    }
}

/// A number, and the name that it has turned out to have.
type Found = Vec<(u32, ObjectId)>;

/// One thread.
struct Worker<'a, I> {
    resolver: &'a Resolver<'a>,
    entries: &'a [Entry],
    end: u64,
    inspector: I,
    inflater: Decompress,
    compressed: Vec<u8>,
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
    fn new(resolver: &'a Resolver<'a>, entries: &'a [Entry], end: u64, inspector: I) -> Self {
        let (inflater, compressed) = (Decompress::new(true), Vec::new());
        let (found, path) = (Vec::new(), Vec::new());
        Self { resolver, entries, end, inspector, inflater, compressed, found, path, kept: 0, alone: None }
    }

    fn run(mut self, roots: &[u32], next: &AtomicUsize) -> Result<(Found, I), IndexPackError<I::Problem>> {
        while let Some(root) = roots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = self.family(*root);
            if outcome.is_err() {
                // The others need not go on either.
                next.store(roots.len(), Ordering::Relaxed);
            }
            outcome?;
        }
        Ok((self.found, self.inspector))
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
        let length = index_size(end.saturating_sub(begin))?;
        self.one_at_a_time(size.max(length) > self.resolver.bounds.kept);
        self.compressed.resize(length, 0);
        self.resolver.file.read_exact_at(&mut self.compressed, begin)?;
        let mut content = Vec::with_capacity(size);
        self.inflater.reset(true);
        let status = self.inflater.decompress_vec(&self.compressed, &mut content, FlushDecompress::Finish);
        if self.compressed.capacity() > self.resolver.bounds.kept {
            self.compressed = Vec::new();
        }
        if !matches!(status, Ok(Status::StreamEnd)) || content.len() != size {
            return Err(IndexPackError::Broken("inflate returned an error"));
        }
        Ok(content)
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

pub(super) fn name<E>(kind: Kind, content: &[u8]) -> Result<ObjectId, IndexPackError<E>> {
    let mut hasher = hasher(kind, content.len() as u64);
    hasher.update(content);
    finalize(hasher)
}

fn index_size<E>(size: u64) -> Result<usize, IndexPackError<E>> {
    usize::try_from(size).map_err(|_| IndexPackError::Broken("an object's size is out of range"))
}
