//! Times as text.

use std::time::Duration;

/// RFC 3339 in UTC with milliseconds: `2026-11-20T21:00:00.000Z`.
pub fn timestamp(time: jiff::Timestamp) -> String {
    format!("{time:.3}")
}

/// A duration for people: `0.31s`, `4m`, `3h`, `12d`.
pub fn short(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn milliseconds_are_always_shown() {
        let time = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(super::timestamp(time), "2027-01-15T08:00:00.000Z");
    }
}
