//! How each object of a pack is to be written: as it is stored, if that is possible. Blocking.

use std::collections::HashSet;

use gix::hashtable::HashMap;

use super::Contents;
use super::search::Made;
use super::stored::{Packs, Place};
use crate::{ObjectId, fork};

/// Fewer objects are not worth a second thread.
const SPLIT: usize = 5000;

/// An object to be written.
pub(super) struct Item {
    pub(super) id: ObjectId,
    pub(super) name: u32,
    pub(super) how: How,
}

/// How it is written.
pub(super) enum How {
    /// Whole, as it is stored.
    Copy(Place),
    /// As the delta that is stored.
    CopyDelta(Place, Target),
    /// Whole, read and compressed.
    Compress,
    /// As a new delta.
    Delta(Target, Made),
}

/// What a delta is against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Another object of the pack.
    Item(usize),
    /// One that the receiver has.
    Known(ObjectId),
}

impl Item {
    /// The object of the pack that must come before.
    pub(super) fn before(&self) -> Option<usize> {
        match self.how {
            How::CopyDelta(_, Target::Item(base)) | How::Delta(Target::Item(base), _) => Some(base),
            _ => None,
        }
    }

    /// Where it is stored, if what is stored there is written.
    pub(super) fn place(&self) -> Option<Place> {
        match self.how {
            How::Copy(place) | How::CopyDelta(place, _) => Some(place),
            How::Compress | How::Delta(..) => None,
        }
    }
}

/// Takes over what can be: deltas whose base is in the pack as well, or is known to the receiver.
pub(super) fn plan(contents: &Contents, packs: &Packs) -> Result<Vec<Item>, gix::Error> {
    let numbers: HashMap<ObjectId, usize> =
        contents.objects.iter().enumerate().map(|(number, (id, _))| (*id, number)).collect();
    let target = |base: ObjectId| {
        let known = || contents.known.contains_key(&base).then_some(Target::Known(base));
        numbers.get(&base).copied().map(Target::Item).or_else(known)
    };
    let mut items = items(&contents.objects, packs, target)?;
    break_circles(&mut items);
    Ok(items)
}

/// Many on two threads.
fn items(
    objects: &[(ObjectId, u32)],
    packs: &Packs,
    target: impl Fn(ObjectId) -> Option<Target> + Copy + Sync + Send,
) -> Result<Vec<Item>, gix::Error> {
    let item = |(id, name): &(ObjectId, u32)| Ok(Item { id: *id, name: *name, how: how(*id, packs, target)? });
    let part = |objects: &[_]| objects.iter().map(item).collect::<Result<Vec<_>, gix::Error>>();
    if objects.len() < SPLIT {
        return part(objects);
    }
    let (some, others) = objects.split_at(objects.len() / 2);
    let (some, others) = fork::join(|| part(some), || part(others));
    let mut items = some?;
    items.extend(others?);
    Ok(items)
}

/// A delta rather than the whole.
fn how(id: ObjectId, packs: &Packs, target: impl Fn(ObjectId) -> Option<Target>) -> Result<How, gix::Error> {
    let mut how = How::Compress;
    for place in packs.places(id) {
        match packs.stored(place)?.base {
            None if matches!(how, How::Compress) => how = How::Copy(place),
            None => {}
            Some(base) => {
                if let Some(target) = target(base) {
                    return Ok(How::CopyDelta(place, target));
                }
            }
        }
    }
    Ok(how)
}

/// Different packs may have two objects as deltas of each other.
fn break_circles(items: &mut [Item]) {
    let mut sound = vec![false; items.len()];
    for start in 0..items.len() {
        let (mut way, mut on_way, mut next) = (Vec::new(), HashSet::new(), Some(start));
        while let Some(number) = next.filter(|number| !sound.get(*number).copied().unwrap_or(true)) {
            if !on_way.insert(number) {
                if let Some(item) = items.get_mut(number) {
                    item.how = How::Compress;
                }
                break;
            }
            way.push(number);
            next = items.get(number).and_then(Item::before);
        }
        for number in way {
            if let Some(sound) = sound.get_mut(number) {
                *sound = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(bases: &[Option<usize>]) -> Vec<Item> {
        let id = ObjectId::null(gix::hash::Kind::Sha1);
        let place = Place { pack: 0, offset: 12 };
        let how =
            |base: &Option<usize>| base.map_or(How::Copy(place), |base| How::CopyDelta(place, Target::Item(base)));
        bases.iter().map(|base| Item { id, name: 0, how: how(base) }).collect()
    }

    #[test]
    fn circles_are_broken_and_nothing_else() {
        for (bases, expected) in [
            (vec![None, Some(0), Some(1)], vec![None, Some(0), Some(1)]),
            (vec![Some(1), Some(2), None], vec![Some(1), Some(2), None]),
            (vec![Some(1), Some(0)], vec![None, Some(0)]),
            (vec![Some(0)], vec![None]),
            (vec![Some(1), Some(2), Some(3), Some(1)], vec![Some(1), None, Some(3), Some(1)]),
        ] {
            let mut items = items(&bases);
            break_circles(&mut items);
            assert_eq!(items.iter().map(Item::before).collect::<Vec<_>>(), expected);
        }
    }
}
