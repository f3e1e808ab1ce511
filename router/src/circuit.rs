//! Whether a target is worth asking: one that failed several times in a row is left alone for a while.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Failures in a row that open the circuit.
const FAILURES: u32 = 3;

/// The first pause; each further failure doubles it.
const SHORTEST: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(15);

/// One target's.
#[derive(Default)]
pub(crate) struct Circuit {
    /// Failures in a row.
    failures: AtomicU32,
    /// Until when nothing is sent, while it is open.
    open: Mutex<Option<Instant>>,
}

impl Circuit {
    /// Whether a request may go to the target now. After the pause one may try, and the others wait for what it finds.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let failures = self.failures.load(Ordering::Relaxed);
        if failures < FAILURES {
            return true;
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_some_and(|until| now < until) {
            return false;
        }
        *open = Some(now + pause(failures));
        true
    }

    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn failed(&self, now: Instant) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= FAILURES {
            *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + pause(failures));
        }
    }
}

fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(FAILURES).min(16);
    (SHORTEST * 2_u32.saturating_pow(doublings)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_in_a_row_it_pauses_and_then_one_tries() {
        let (circuit, now) = (Circuit::default(), Instant::now());
        for _ in 0..FAILURES {
            assert!(circuit.admits(now));
            circuit.failed(now);
        }
        assert!(!circuit.admits(now));
        let later = now + SHORTEST;
        assert!(circuit.admits(later));
        assert!(!circuit.admits(later), "one is trying");
        circuit.failed(later);
        assert!(!circuit.admits(later + SHORTEST), "the pause is longer now");
        assert!(circuit.admits(later + SHORTEST * 2));
        circuit.succeeded();
        assert!(circuit.admits(later) && circuit.admits(later));
    }

    #[test]
    fn the_pause_is_bounded() {
        assert_eq!(pause(FAILURES), SHORTEST);
        assert_eq!(pause(FAILURES + 1), SHORTEST * 2);
        assert_eq!(pause(u32::MAX), LONGEST);
    }
}
