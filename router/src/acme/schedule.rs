//! When an authority is asked: well before a certificate ends, rarely after failures, and never too much at once.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::HostName;

/// The first pause after a failure: the usual limit is five failed validations of a name an hour, and each of our
/// tries may be two.
const FIRST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// The first pause when the authority was not reached, or something went wrong here.
const TROUBLE: Duration = Duration::from_secs(60);

/// The first pause when the authority says that it was asked too much.
const TOO_MUCH: Duration = Duration::from_secs(3 * 3600);

const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Tries of one name that may be refused within an hour: each may be two failed validations, and the usual limit is five.
const REFUSALS: usize = 2;
const HOUR: Duration = Duration::from_secs(3600);

/// Orders in a span of time: the usual limit is 300.
const ORDERS: usize = 200;
const SPAN: Duration = Duration::from_secs(3 * 3600);

/// When the next certificate is asked for: when a third of its life is left, and up to a twentieth earlier, so that
/// certificates made together are not renewed together.
pub(super) fn renewal((from, until): (SystemTime, SystemTime), name: &HostName) -> SystemTime {
    let life = until.duration_since(from).unwrap_or_default();
    until - life / 3 - (life / 20).mul_f64(chance(name))
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It counts against the authority's limits.
    Refused,
    /// The limits have been reached.
    TooMuch,
    /// It was not the name's fault.
    Trouble,
}

/// How long to wait after this many failures in a row; a tenth more or less.
pub(super) fn pause(failures: u32, kind: Kind, name: &HostName) -> Duration {
    let first = match kind {
        Kind::Refused => FIRST_PAUSE,
        Kind::TooMuch => TOO_MUCH,
        Kind::Trouble => TROUBLE,
    };
    let doubled = first * 2_u32.saturating_pow(failures.saturating_sub(1).min(10));
    doubled.min(LONGEST_PAUSE).mul_f64(0.9 + 0.2 * chance(name))
}

/// No pause that begins now ends later.
pub(super) fn latest(now: SystemTime) -> SystemTime {
    now + LONGEST_PAUSE.mul_f64(1.1)
}

/// Between 0 and 1, and always the same for a name: a restart does not shift anything.
fn chance(name: &HostName) -> f64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// When an authority last refused a name.
#[derive(Debug, Default)]
pub(super) struct Refusals(VecDeque<SystemTime>);

impl Refusals {
    pub(super) fn add(&mut self, at: SystemTime) {
        self.0.push_back(at);
        if self.0.len() > REFUSALS {
            self.0.pop_front();
        }
    }

    /// When the authority may be asked, if not now.
    pub(super) fn until(&self, now: SystemTime) -> Option<SystemTime> {
        let first = *self.0.front().filter(|_| self.0.len() == REFUSALS)?;
        Some(first + HOUR).filter(|until| *until > now)
    }
}

/// The orders of the last while.
#[derive(Default)]
pub(super) struct Budget {
    begun: Mutex<VecDeque<Instant>>,
}

impl Budget {
    /// Takes one, and waits until it may be used.
    pub(super) async fn spend(&self) {
        tokio::time::sleep(self.take(Instant::now())).await;
    }

    /// Takes one; how long to wait before it may be used.
    fn take(&self, now: Instant) -> Duration {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if begun.len() < ORDERS { None } else { begun.pop_front() };
        let wait = oldest.map_or(Duration::ZERO, |oldest| (oldest + SPAN).saturating_duration_since(now));
        begun.push_back(now + wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn name(name: &str) -> HostName {
        HostName::new(name).unwrap()
    }

    #[test]
    fn renewal_is_well_before_the_end_and_spread() {
        let from = SystemTime::UNIX_EPOCH + 1000 * DAY;
        let times: Vec<_> = (0..100)
            .map(|number| {
                renewal((from, from + 90 * DAY), &name(&format!("{number}.test"))).duration_since(from).unwrap()
            })
            .collect();
        assert!(times.iter().all(|time| (DAY.mul_f64(55.5)..=60 * DAY).contains(time)));
        let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(*last > *first + 3 * DAY, "{first:?} {last:?}");
        let short = renewal((from, from + 6 * DAY), &name("a.test")).duration_since(from).unwrap();
        assert!((DAY.mul_f64(3.7)..=4 * DAY).contains(&short), "{short:?}");
    }

    #[test]
    fn pauses_grow_to_a_day() {
        let pauses: Vec<_> = (1..12).map(|failures| pause(failures, Kind::Refused, &name("a.test"))).collect();
        assert!((FIRST_PAUSE.mul_f64(0.9)..=FIRST_PAUSE.mul_f64(1.1)).contains(&pauses[0]));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!((LONGEST_PAUSE.mul_f64(0.9)..=LONGEST_PAUSE.mul_f64(1.1)).contains(&pauses[10]));
        assert!(pause(1, Kind::TooMuch, &name("a.test")) >= TOO_MUCH.mul_f64(0.9));
        assert!(pause(1, Kind::Trouble, &name("a.test")) <= TROUBLE.mul_f64(1.1));
    }

    #[test]
    fn few_refusals_within_an_hour() {
        let (mut refusals, now) = (Refusals::default(), SystemTime::now());
        let minutes = |minutes: u32| now + minutes * Duration::from_secs(60);
        refusals.add(now);
        assert_eq!(refusals.until(minutes(1)), None);
        refusals.add(minutes(1));
        assert_eq!(refusals.until(minutes(2)), Some(minutes(60)));
        assert_eq!(refusals.until(minutes(60)), None);
        refusals.add(minutes(60));
        assert_eq!(refusals.until(minutes(60)), Some(minutes(61)));
    }

    #[test]
    fn orders_are_spread() {
        let (budget, now) = (Budget::default(), Instant::now());
        assert!((0..ORDERS).all(|_| budget.take(now).is_zero()));
        assert_eq!(budget.take(now), SPAN);
        assert_eq!(budget.take(now + SPAN), Duration::ZERO);
    }
}
