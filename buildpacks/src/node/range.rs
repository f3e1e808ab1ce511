//! Version ranges as npm writes them: `^20.1`, `>=18 <23`, `18.x || 20.x`, `1.2 - 1.4`.

use std::cmp::Ordering;

/// `20.11.1`. What follows a `-` or `+` does not count: a server's Node.js is a release.
pub(super) type Version = [u64; 3];

/// Whether a version is in a range; None if that is no range.
pub(super) fn accepts(range: &str, version: Version) -> Option<bool> {
    let mut any = false;
    for alternative in range.split("||") {
        any |= all_of(alternative.trim(), version)?;
    }
    Some(any)
}

/// `v20.11.1` and the like.
pub(super) fn version(text: &str) -> Option<Version> {
    match partial(text)?[..] {
        [major, minor, patch] => Some([major, minor, patch]),
        _ => None,
    }
}

/// Comparators without anything between them: all must hold.
fn all_of(text: &str, version: Version) -> Option<bool> {
    if let Some((low, high)) = text.split_once(" - ") {
        let (low, high) = (partial(low.trim())?, partial(high.trim())?);
        return Some(compare(version, &low) != Ordering::Less && !is_above(version, &high));
    }
    // `>= 18` is one comparator.
    let mut joined = text.to_owned();
    for operator in ['>', '<', '=', '~', '^'] {
        while joined.contains(&format!("{operator} ")) {
            joined = joined.replace(&format!("{operator} "), &operator.to_string());
        }
    }
    joined.split_whitespace().try_fold(true, |all, comparator| Some(all & holds(comparator, version)?))
}

fn holds(comparator: &str, version: Version) -> Option<bool> {
    let number = comparator.trim_start_matches(['<', '>', '=', '~', '^']);
    let operator = &comparator[..comparator.len() - number.len()];
    let wanted = partial(number)?;
    Some(match operator {
        "" | "=" => compare(version, &wanted) == Ordering::Equal,
        ">=" => compare(version, &wanted) != Ordering::Less,
        ">" => is_above(version, &wanted),
        "<" => compare(version, &wanted) == Ordering::Less,
        "<=" => !is_above(version, &wanted),
        "~" | "~>" => {
            compare(version, &wanted) != Ordering::Less && version.starts_with(&wanted[..wanted.len().min(2)])
        }
        "^" => compare(version, &wanted) != Ordering::Less && version.starts_with(compatible(&wanted)),
        _ => return None,
    })
}

/// The numbers that `^` keeps: up to the first that is not zero.
fn compatible(wanted: &[u64]) -> &[u64] {
    let first = wanted.iter().position(|number| *number > 0);
    first.map_or(wanted, |first| &wanted[..=first])
}

/// A missing number stands for all: `20.1.3` equals `20`, and is less than neither.
fn compare(version: Version, wanted: &[u64]) -> Ordering {
    version[..wanted.len()].cmp(wanted)
}

fn is_above(version: Version, wanted: &[u64]) -> bool {
    compare(version, wanted) == Ordering::Greater
}

/// `20.x` is `[20]`, `*` and nothing are `[]`.
fn partial(text: &str) -> Option<Vec<u64>> {
    let text = text.trim_start_matches(['v', '=']);
    let text = text.split(['-', '+']).next().unwrap_or(text);
    if text.is_empty() {
        return Some(Vec::new());
    }
    let mut numbers = Vec::new();
    for part in text.split('.') {
        if matches!(part, "x" | "X" | "*") {
            break;
        }
        numbers.push(part.parse().ok()?);
    }
    (numbers.len() <= 3).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges() {
        let yes = [
            "20",
            "20.x",
            "v20.11.1",
            "=20.11.1",
            "^20.1",
            "^20.11.1",
            "~20.11",
            "~20.11.0",
            ">=18",
            ">= 18",
            ">18 <=20",
            ">=18 <23",
            "18 || 20",
            "18.x || >=20.11",
            "*",
            "",
            "x",
            "latest || *",
            "18 - 20",
            "18.1 - 20.11.1",
            "<21",
            "<=20.11",
            ">=20.11.1-rc.1",
            "~20",
            "^20 || ^22",
        ];
        let no = [
            "18",
            "20.12",
            "^18",
            "~20.10",
            ">20",
            ">=21",
            "<20",
            "<20.11.1",
            "18 - 20.10",
            "22 || 18.x",
            "^20.12",
            "20.11.0",
        ];
        for range in yes.iter().filter(|range| !range.contains("latest")) {
            assert_eq!(accepts(range, [20, 11, 1]), Some(true), "{range}");
        }
        for range in no {
            assert_eq!(accepts(range, [20, 11, 1]), Some(false), "{range}");
        }
        for (range, expected) in [("^0.2", [false, true, false]), ("^0.0.3", [false; 3])] {
            assert_eq!([[0, 1, 9], [0, 2, 5], [0, 3, 0]].map(|v| accepts(range, v) == Some(true)), expected, "{range}");
        }
        for nonsense in ["latest", "lts/*", "20.1.2.3", "><20", "a || 20"] {
            assert_eq!(accepts(nonsense, [20, 11, 1]), None, "{nonsense}");
        }
    }

    #[test]
    fn versions() {
        assert_eq!(version("v20.11.1"), Some([20, 11, 1]));
        assert_eq!(version("23.0.0-nightly2024"), Some([23, 0, 0]));
        assert_eq!(version("20.11"), None);
        assert_eq!(version(""), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", range in "[<>=~^ |.x0-9*-]*") {
            accepts(&text, [20, 11, 1]);
            accepts(&range, [20, 11, 1]);
        }

        #[test]
        fn a_version_is_in_the_ranges_that_it_begins(a in 0..99u64, b in 0..99u64, c in 0..99u64) {
            for range in [format!("^{a}.{b}.{c}"), format!("~{a}.{b}.{c}"), format!(">={a}.{b}"), format!("{a}.x"), format!("<={a}")] {
                prop_assert_eq!(accepts(&range, [a, b, c]), Some(true), "{}", range);
            }
            let next = a + 1;
            prop_assert_eq!(accepts(&format!("^{next}"), [a, b, c]), Some(false));
        }
    }
}
