//! New deltas for objects that are not stored as any. Blocking.
//!
//! As git does it: objects that are likely to be alike, by kind, end of their path and size, stand beside each other, and each is tried
//! against the few before it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gix::objs::Kind;

use super::delta::Index;
use super::plan::{How, Item, Target};
use super::{compress, stored::Packs};
use crate::objects::Objects;
use crate::{ObjectId, fork};

/// How many objects before it one is tried against.
const WINDOW: usize = 10;
/// Deltas of deltas.
const DEPTH: u32 = 50;
/// Objects that are worth it, in bytes: of larger ones there would be too many in memory.
const WORTH: std::ops::Range<u64> = 50..(8 << 20);
/// Compressed deltas that wait to be sent, in bytes.
const WAITING: usize = 64 << 20;
/// Objects in one window, in bytes.
const MEMORY: u64 = 16 << 20;
/// Fewer objects are not worth a second thread.
const SPLIT: usize = 500;

/// A delta that was found.
pub(super) struct Made {
    pub(super) compressed: Vec<u8>,
    pub(super) size: u64,
}

/// What the search must keep to.
pub(super) struct Bounds<'a> {
    pub(super) time: Duration,
    pub(super) interrupt: &'a AtomicBool,
}

/// Gives the items deltas where any are found. `known` may be bases, too.
pub(super) fn search(
    items: &mut [Item],
    known: &HashMap<ObjectId, u32>,
    packs: &Packs,
    objects: &Objects,
    bounds: &Bounds<'_>,
) -> Result<(), gix::Error> {
    let candidates = candidates(items, known, packs, objects)?;
    let (deadline, waiting) = (Instant::now() + bounds.time, AtomicUsize::new(0));
    let (objects, window) = (objects.clone(), VecDeque::new());
    let searcher = Searcher { objects, window, deadline, waiting: &waiting, interrupt: bounds.interrupt };
    for (number, target, made) in searcher.run_all(&candidates)? {
        if let Some(item) = items.get_mut(number) {
            item.how = How::Delta(target, made);
        }
    }
    Ok(())
}

/// An object to be tried, or to be tried against.
struct Candidate {
    kind: Kind,
    name: u32,
    size: u64,
    id: ObjectId,
    /// Its number, if it is to be sent.
    item: Option<usize>,
    /// Where it lies as a whole: what made that pack has tried it against the others there.
    pack: Option<usize>,
    /// As it is sent otherwise, in bytes.
    otherwise: usize,
}

fn candidates(
    items: &[Item],
    known: &HashMap<ObjectId, u32>,
    packs: &Packs,
    objects: &Objects,
) -> Result<Vec<Candidate>, gix::Error> {
    let mut candidates = Vec::new();
    for (number, item) in items.iter().enumerate() {
        let (kind, size, pack, otherwise) = match item.how {
            How::Copy(place) => {
                let stored = packs.stored(place)?;
                let Some(kind) = stored.kind else { continue };
                (kind, stored.size, Some(place.pack), stored.compressed.len())
            }
            How::Compress => {
                let (kind, size) = objects.header(item.id)?;
                (kind, size, None, usize::MAX)
            }
            How::CopyDelta(..) | How::Delta(..) => continue,
        };
        candidates.push(Candidate { kind, name: item.name, size, id: item.id, item: Some(number), pack, otherwise });
    }
    let names: HashSet<u32> = candidates.iter().map(|candidate| candidate.name).collect();
    for (id, name) in known.iter().filter(|(_, name)| names.contains(name)) {
        let (kind, size) = objects.header(*id)?;
        candidates.push(Candidate { kind, name: *name, size, id: *id, item: None, pack: None, otherwise: 0 });
    }
    candidates.retain(|candidate| WORTH.contains(&candidate.size));
    // Where one leads to the other the larger is the base: to leave something out takes fewer words.
    candidates
        .sort_by_key(|one| (one.kind, one.name, one.item.is_some(), std::cmp::Reverse(one.size), one.item, one.id));
    Ok(candidates)
}

/// Cut where the name changes.
fn halves(candidates: &[Candidate]) -> (&[Candidate], &[Candidate]) {
    let middle = candidates.len() / 2;
    let name = candidates.get(middle).map(|candidate| (candidate.kind, candidate.name));
    let cut = candidates.partition_point(|candidate| Some((candidate.kind, candidate.name)) < name);
    candidates.split_at(cut)
}

/// Found: the number of an item, the base, and the delta.
type Found = Vec<(usize, Target, Made)>;

struct Searcher<'a> {
    objects: Objects,
    window: VecDeque<Slot<'a>>,
    deadline: Instant,
    waiting: &'a AtomicUsize,
    interrupt: &'a AtomicBool,
}

impl<'a> Searcher<'a> {
    /// Many on two threads.
    fn run_all(mut self, candidates: &'a [Candidate]) -> Result<Found, gix::Error> {
        if candidates.len() < SPLIT {
            return self.run(candidates);
        }
        let (some, others) = halves(candidates);
        let mut other = Searcher { objects: self.objects.clone(), window: VecDeque::new(), ..self };
        let (found, others) = fork::join(|| self.run(some), || other.run(others));
        let mut found = found?;
        found.extend(others?);
        Ok(found)
    }

    fn run(&mut self, candidates: &'a [Candidate]) -> Result<Found, gix::Error> {
        let mut found = Vec::new();
        for candidate in candidates {
            if self.is_enough() {
                break;
            }
            let mut slot = Slot { candidate, depth: 0, content: None, index: None };
            if let (Some(number), Some((target, depth, delta))) = (candidate.item, self.best(&mut slot)?) {
                let made =
                    Made { compressed: compress(&delta).map_err(gix::Error::from_error)?, size: delta.len() as u64 };
                if made.compressed.len() < candidate.otherwise {
                    self.waiting.fetch_add(made.compressed.len(), Ordering::Relaxed);
                    found.push((number, target, made));
                    slot.depth = depth;
                }
            }
            self.slide(slot);
        }
        Ok(found)
    }

    fn is_enough(&self) -> bool {
        let full = self.waiting.load(Ordering::Relaxed) > WAITING;
        full || self.interrupt.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }

    fn slide(&mut self, slot: Slot<'a>) {
        self.window.push_back(slot);
        let size = |slot: &Slot<'_>| slot.candidate.size;
        while self.window.len() > WINDOW || self.window.iter().map(size).sum::<u64>() > MEMORY {
            self.window.pop_front();
        }
    }

    /// The shortest delta against what is in the window: its base, how many deltas lead to it, itself.
    fn best(&mut self, slot: &mut Slot<'a>) -> Result<Option<(Target, u32, Vec<u8>)>, gix::Error> {
        let candidate = slot.candidate;
        let mut best = None;
        if candidate.item.is_none() {
            return Ok(best);
        }
        let (mut most, mut depth) = (usize::try_from(candidate.size / 2).unwrap_or_default().saturating_sub(20), 1);
        for base in self.window.iter_mut().rev().take_while(|base| base.candidate.kind == candidate.kind) {
            // What makes chains longer must make up for it.
            let most_here = most * (DEPTH - base.depth) as usize / (DEPTH - depth + 1) as usize;
            if !base.candidate.may_serve(candidate, most_here) {
                continue;
            }
            let content = slot.content(&self.objects)?;
            if let Some(delta) = base.index(&self.objects)?.delta(&content, most_here) {
                (most, depth) = (delta.len(), base.depth + 1);
                best = Some((base.candidate.target(), depth, delta));
            }
        }
        Ok(best)
    }
}

impl Candidate {
    /// Whether it is worth a try as a base of `other`.
    fn may_serve(&self, other: &Self, most: usize) -> bool {
        let tried = self.pack.is_some() && self.pack == other.pack;
        let difference = other.size.saturating_sub(self.size);
        !tried && most > 0 && difference < most as u64 && other.size >= self.size / 32
    }

    fn target(&self) -> Target {
        self.item.map_or(Target::Known(self.id), Target::Item)
    }
}

/// A candidate that others are tried against.
struct Slot<'a> {
    candidate: &'a Candidate,
    depth: u32,
    content: Option<Arc<[u8]>>,
    index: Option<Index>,
}

impl Slot<'_> {
    fn content(&mut self, objects: &Objects) -> Result<Arc<[u8]>, gix::Error> {
        if let Some(content) = &self.content {
            return Ok(Arc::clone(content));
        }
        let mut content = Vec::new();
        objects.read(self.candidate.id, &mut content)?;
        let content: Arc<[u8]> = Arc::from(content);
        self.content = Some(Arc::clone(&content));
        Ok(content)
    }

    fn index(&mut self, objects: &Objects) -> Result<&Index, gix::Error> {
        let index = match self.index.take() {
            Some(index) => index,
            None => Index::new(&self.content(objects)?),
        };
        Ok(self.index.insert(index))
    }
}
