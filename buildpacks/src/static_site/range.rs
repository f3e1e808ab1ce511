//! Which part of a file a client asks for.

/// What a `Range` header means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// From the first byte to the last, both included.
    Part { first: u64, last: u64 },
    /// It begins after the end.
    Beyond,
    /// Not understood, or several parts: the whole is a right answer, too.
    All,
}

/// Reads the header for a file of this length.
pub(super) fn range(header: &str, length: u64) -> Range {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Range::All;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Err(_), Ok(0)) if first.is_empty() => Range::Beyond,
        (Err(_), Ok(_)) if first.is_empty() && length == 0 => Range::Beyond,
        (Err(_), Ok(count)) if first.is_empty() => {
            Range::Part { first: length.saturating_sub(count), last: length - 1 }
        }
        (Ok(first), Ok(last)) if first > last => Range::All,
        (Ok(first), _) if first >= length && (last.is_empty() || last.parse::<u64>().is_ok()) => Range::Beyond,
        (Ok(first), Ok(last)) => Range::Part { first, last: last.min(length - 1) },
        (Ok(first), Err(_)) if last.is_empty() => Range::Part { first, last: length - 1 },
        _ => Range::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges() {
        let part = |first, last| Range::Part { first, last };
        let cases = [
            ("bytes=0-4", part(0, 4)),
            ("bytes=5-", part(5, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-30", part(0, 9)),
            ("bytes=8-99", part(8, 9)),
            ("bytes=10-", Range::Beyond),
            ("bytes=-0", Range::Beyond),
            ("bytes=4-2", Range::All),
            ("bytes=0-1,3-4", Range::All),
            ("lines=0-1", Range::All),
            ("bytes=-", Range::All),
            ("bytes=a-b", Range::All),
        ];
        for (header, expected) in cases {
            assert_eq!(range(header, 10), expected, "{header}");
        }
        assert_eq!(range("bytes=0-", 0), Range::Beyond);
    }

    proptest! {
        #[test]
        fn a_part_is_inside(header in "bytes=[0-9]{0,3}-[0-9]{0,3}", length in 0..500u64) {
            if let Range::Part { first, last } = range(&header, length) {
                prop_assert!(first <= last && last < length);
            }
        }

        #[test]
        fn nothing_makes_it_panic(header in "\\PC*", length: u64) {
            range(&header, length);
        }
    }
}
