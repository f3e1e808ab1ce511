//! Rebuilding an object from its delta. (gitformat-pack(5), "Deltified representation")

/// Bytes that a delta's sizes have at most.
pub(super) const HEAD: usize = 20;

/// What a delta says of both its ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) base: u64,
    pub(super) result: u64,
    /// Bytes that these take.
    head: usize,
}

/// None if there are none.
pub(super) fn sizes(delta: &[u8]) -> Option<Sizes> {
    let mut bytes = delta.iter().enumerate();
    let mut number = || {
        let mut number = 0_u64;
        for shift in (0..63).step_by(7) {
            let (position, byte) = bytes.next()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((number, position + 1));
            }
        }
        None
    };
    let ((base, _), (result, head)) = (number()?, number()?);
    Some(Sizes { base, result, head })
}

/// The object; None if the delta is not one of this base. `most` bounds what is taken of memory.
pub(crate) fn apply(base: &[u8], delta: &[u8], most: u64) -> Option<Vec<u8>> {
    let sizes = sizes(delta)?;
    if sizes.base != base.len() as u64 || sizes.result > most {
        return None;
    }
    let size = usize::try_from(sizes.result).ok()?;
    let mut result = Vec::with_capacity(size);
    let mut rest = delta.get(sizes.head..)?;
    while let Some((&instruction, after)) = rest.split_first() {
        let (bytes, after) = match instruction {
            0 => return None,
            1..=0x7f => after.split_at_checked(usize::from(instruction))?,
            _ => copied(base, instruction, after)?,
        };
        if bytes.len() > size - result.len() {
            return None;
        }
        result.extend_from_slice(bytes);
        rest = after;
    }
    (result.len() == size).then_some(result)
}

/// Part of the base, and what follows the instruction.
fn copied<'a, 'b>(base: &'a [u8], instruction: u8, mut rest: &'b [u8]) -> Option<(&'a [u8], &'b [u8])> {
    let mut numbers = [0_u8; 7];
    for (bit, number) in numbers.iter_mut().enumerate() {
        if instruction >> bit & 1 == 1 {
            (*number, rest) = rest.split_first().map(|(first, rest)| (*first, rest))?;
        }
    }
    let [o0, o1, o2, o3, s0, s1, s2] = numbers;
    let offset = u32::from_le_bytes([o0, o1, o2, o3]) as usize;
    let size = match u32::from_le_bytes([s0, s1, s2, 0]) {
        0 => 0x10000,
        size => size as usize,
    };
    Some((base.get(offset..offset.checked_add(size)?)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_copy_and_insert() {
        let base: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        // 70000, 65541: five bytes of its own, and 65536 of the base from 256.
        let delta = [&[0xf0, 0xa2, 0x04, 0x85, 0x80, 0x04, 5], b"hello".as_slice(), &[0b1000_0010, 1]].concat();
        assert_eq!(sizes(&delta), Some(Sizes { base: 70_000, result: 65_541, head: 6 }));
        let result = apply(&base, &delta, u64::MAX).unwrap();
        assert!(result.starts_with(b"hello") && result[5..] == base[256..256 + 0x10000]);
        assert_eq!(apply(&base, &delta, 65_540), None);
        assert_eq!(apply(&base[1..], &delta, u64::MAX), None);
        for length in 0..delta.len() {
            assert_eq!(apply(&base, &delta[..length], u64::MAX), None, "{length}");
        }
    }

    #[test]
    fn what_is_no_delta_is_none() {
        for bytes in [
            [].as_slice(),
            &[2],
            &[2, 0x80],
            &[0xff; 30],
            // A reserved instruction; too much of its own, of the base, of the result; too little.
            &[2, 1, 0],
            &[2, 1, 2, 1],
            &[2, 3, 0b1001_0000, 3],
            &[2, 1, 0b1001_0000, 2],
            &[2, 3, 0b1001_0000, 2],
            &[2, 2, 0b1001_0001, 1, 2],
        ] {
            assert_eq!(apply(b"ab", bytes, 100), None, "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(base: Vec<u8>, delta: Vec<u8>) {
            let _result = apply(&base, &delta, 1 << 20);
        }
    }
}
