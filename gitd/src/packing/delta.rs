//! One object as what has to be done to another to get it: git's deltas. (gitformat-pack(5), "Deltified representation")
//!
//! The base is cut into blocks of 16 bytes, found again by their hash wherever they stand in the other object, and then made longer
//! on both sides.

use std::sync::Arc;

/// Bytes of a block: nothing shorter is found.
const BLOCK: usize = 16;
/// Blocks with the same hash that are tried at most: what repeats itself must not take for ever.
const TRIED: usize = 32;
/// A match that is long enough not to look for a longer one.
const LONG: usize = 4096;
/// Bytes of one instruction to copy at most, and of one to insert.
const COPY: usize = 0x10000;
const INSERT: usize = 127;
/// What a byte leaves behind in the hash when the window has gone over it.
const FACTOR: u32 = 0x0100_0193;

/// A base that deltas can be made against.
pub(super) struct Index {
    base: Arc<[u8]>,
    /// By hash: the last block that has it, plus 1.
    heads: Vec<u32>,
    /// By block: the one before it with the same hash, plus 1.
    next: Vec<u32>,
    shift: u32,
}

impl Index {
    pub(super) fn new(base: &Arc<[u8]>) -> Self {
        let blocks = base.len() / BLOCK;
        let bits = usize::BITS - blocks.max(2).leading_zeros();
        let base = Arc::clone(base);
        let mut index =
            Self { base: Arc::clone(&base), heads: vec![0; 1 << bits], next: vec![0; blocks], shift: u32::BITS - bits };
        // From the end: of equal blocks the first in the base is found first.
        for (number, block) in base.chunks_exact(BLOCK).enumerate().rev() {
            let bucket = index.bucket(hash(block));
            let number = u32::try_from(number + 1).unwrap_or_default();
            if let (Some(head), Some(next)) = (index.heads.get_mut(bucket), index.next.get_mut(number as usize - 1)) {
                *next = std::mem::replace(head, number);
            }
        }
        index
    }

    /// The delta that makes `target`, if it has at most `most` bytes.
    pub(super) fn delta(&self, target: &[u8], most: usize) -> Option<Vec<u8>> {
        let mut out = Writer { bytes: Vec::with_capacity(most.min(1 << 16)), most };
        out.size(self.base.len());
        out.size(target.len());
        let (mut done, mut position) = (0, 0);
        let mut rolling = hash(target.get(..BLOCK).unwrap_or_default());
        while position + BLOCK <= target.len() {
            let found = self.longest(target, position, rolling, done);
            let Some(found) = found else {
                rolling = roll(rolling, target, position);
                position += 1;
                continue;
            };
            out.insert(target.get(done..found.target)?)?;
            out.copy(found.base, found.length)?;
            done = found.target + found.length;
            position = done;
            rolling = hash(target.get(position..position + BLOCK).unwrap_or_default());
        }
        out.insert(target.get(done..)?)?;
        Some(out.bytes)
    }

    /// The longest piece of the base around `position`, not before `done`.
    fn longest(&self, target: &[u8], position: usize, rolling: u32, done: usize) -> Option<Match> {
        let mut best: Option<Match> = None;
        let mut block = self.heads.get(self.bucket(rolling)).copied().unwrap_or_default();
        for _ in 0..TRIED {
            if block == 0 {
                break;
            }
            let base = (block as usize - 1) * BLOCK;
            let length = common(self.base.get(base..)?, target.get(position..)?);
            if length >= BLOCK && best.as_ref().is_none_or(|best| length > best.length) {
                best = Some(Match { base, target: position, length });
                if length >= LONG {
                    break;
                }
            }
            block = self.next.get(block as usize - 1).copied().unwrap_or_default();
        }
        best.map(|found| found.grown_back(&self.base, target, done))
    }

    fn bucket(&self, hash: u32) -> usize {
        (hash.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }
}

/// Equal bytes of base and target.
struct Match {
    base: usize,
    target: usize,
    length: usize,
}

impl Match {
    /// With the equal bytes before it.
    fn grown_back(self, base: &[u8], target: &[u8], done: usize) -> Self {
        let (before, pending) = (base.get(..self.base), target.get(done..self.target));
        let pairs = before.unwrap_or_default().iter().rev().zip(pending.unwrap_or_default().iter().rev());
        let more = pairs.take_while(|(one, other)| one == other).count();
        Self { base: self.base - more, target: self.target - more, length: self.length + more }
    }
}

fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn hash(block: &[u8]) -> u32 {
    block.iter().fold(0, |hash: u32, byte| hash.wrapping_mul(FACTOR).wrapping_add(u32::from(*byte)))
}

/// The hash of the block one byte further on.
fn roll(hash: u32, target: &[u8], position: usize) -> u32 {
    const LEAVING: u32 = FACTOR.wrapping_pow(15);
    let (Some(leaving), Some(coming)) = (target.get(position), target.get(position + BLOCK)) else { return hash };
    let rest = hash.wrapping_sub(u32::from(*leaving).wrapping_mul(LEAVING));
    rest.wrapping_mul(FACTOR).wrapping_add(u32::from(*coming))
}

struct Writer {
    bytes: Vec<u8>,
    most: usize,
}

impl Writer {
    fn size(&mut self, mut size: usize) {
        while size >= 0x80 {
            self.bytes.push(low_byte(size) | 0x80);
            size >>= 7;
        }
        self.bytes.push(low_byte(size));
    }

    fn insert(&mut self, literal: &[u8]) -> Option<()> {
        for chunk in literal.chunks(INSERT) {
            self.bytes.push(low_byte(chunk.len()));
            self.bytes.extend_from_slice(chunk);
            self.fits()?;
        }
        Some(())
    }

    fn copy(&mut self, mut offset: usize, mut length: usize) -> Option<()> {
        while length > 0 {
            let piece = length.min(COPY);
            self.instruction(offset, piece);
            offset += piece;
            length -= piece;
            self.fits()?;
        }
        Some(())
    }

    /// A byte that says which bytes of offset and length follow: those that are not 0.
    fn instruction(&mut self, offset: usize, length: usize) {
        let at = self.bytes.len();
        self.bytes.push(0);
        let mut flags = 0x80;
        // The largest length is written as none.
        let length = if length == COPY { 0 } else { length };
        let bytes =
            (0..4).map(|byte| (byte, offset >> (8 * byte))).chain((0..2).map(|byte| (4 + byte, length >> (8 * byte))));
        for (flag, value) in bytes {
            let value = low_byte(value & 0xff);
            if value != 0 {
                self.bytes.push(value);
                flags |= 1 << flag;
            }
        }
        if let Some(first) = self.bytes.get_mut(at) {
            *first = flags;
        }
    }

    fn fits(&self) -> Option<()> {
        (self.bytes.len() <= self.most).then_some(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only the low bits are meant")]
fn low_byte(number: usize) -> u8 {
    number as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a reader of the delta makes of it, as gitformat-pack(5) says.
    fn apply(base: &[u8], delta: &[u8]) -> Vec<u8> {
        let mut rest = delta.iter().copied();
        let mut size = || {
            let (mut size, mut shift) = (0, 0);
            loop {
                let byte = rest.next().unwrap();
                size |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    return size;
                }
            }
        };
        assert_eq!(size(), base.len());
        let expected = size();
        let mut out = Vec::new();
        while let Some(byte) = rest.next() {
            if byte & 0x80 == 0 {
                assert_ne!(byte, 0);
                out.extend(rest.by_ref().take(usize::from(byte)));
                continue;
            }
            let mut number = |from: u32, count: u32| {
                (0..count)
                    .filter(|bit| byte & (1 << (from + bit)) != 0)
                    .map(|bit| usize::from(rest.next().unwrap()) << (8 * bit))
                    .sum::<usize>()
            };
            let (offset, length) = (number(0, 4), number(4, 3));
            let length = if length == 0 { 0x10000 } else { length };
            out.extend_from_slice(&base[offset..offset + length]);
        }
        assert_eq!(out.len(), expected);
        out
    }

    fn check(base: &[u8], target: &[u8]) -> usize {
        let index = Index::new(&Arc::from(base));
        let delta = index.delta(target, usize::MAX).unwrap();
        assert!(apply(base, &delta) == target);
        assert_eq!(index.delta(target, delta.len()).as_ref(), Some(&delta));
        delta.len()
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn the_same_and_nearly_the_same_is_short() {
        let base = noise(200_000);
        assert!(check(&base, &base) < 40);
        let mut target = base.clone();
        target.splice(70_000..70_010, *b"something else altogether");
        target.extend_from_slice(b"and an end");
        assert!(check(&base, &target) < 120, "{}", check(&base, &target));
        // A piece moved to the front, not at the border of a block.
        let moved = [&base[100_003..], &base[..100_003]].concat();
        assert!(check(&base, &moved) < 60);
    }

    #[test]
    fn nothing_in_common_and_nothing_at_all() {
        check(b"", b"");
        check(b"", b"something");
        check(b"something", b"");
        check(&noise(100), &noise(1000)[500..]);
        assert!(Index::new(&Arc::from(noise(100))).delta(&noise(1000)[500..], 100).is_none());
    }

    #[test]
    fn what_repeats_itself_takes_no_time() {
        let start = std::time::Instant::now();
        check(&vec![0; 2 << 20], &vec![0; 1 << 20]);
        let pattern: Vec<u8> = noise(BLOCK * 3).into_iter().cycle().take(1 << 20).collect();
        check(&pattern, &pattern[5..]);
        assert!(start.elapsed().as_secs() < 20);
    }

    proptest! {
        #[test]
        fn any_delta_makes_its_target(
            base in proptest::collection::vec(0..4_u8, 0..600),
            cuts in proptest::collection::vec((0..600_usize, 0..600_usize, proptest::collection::vec(0..4_u8, 0..40)), 0..8),
        ) {
            let mut target = Vec::new();
            for (from, length, literal) in cuts {
                let from = from.min(base.len());
                target.extend_from_slice(&base[from..(from + length).min(base.len())]);
                target.extend_from_slice(&literal);
            }
            check(&base, &target);
        }

        #[test]
        fn any_bytes_against_any_others(
            base in proptest::collection::vec(any::<u8>(), 0..300),
            target in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            check(&base, &target);
        }
    }
}
