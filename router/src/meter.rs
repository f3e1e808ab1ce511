//! What is counted of one service, across all the tables that name it: requests in flight and waiting, those answered, and
//! how often each client address asks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::counts::{Counters, Counts};
use crate::settings::Rate;

/// Client addresses remembered at once: about 1 MB.
const ADDRESSES: usize = 16 * 1024;

/// Counts of one service. Give the same one to each table.
#[derive(Debug, Default)]
pub struct Meter {
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    counters: Counters,
    /// When an address will have used up none of its burst.
    addresses: Mutex<HashMap<IpAddr, Instant>>,
}

/// A place that is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    meter: Arc<Meter>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    InFlight,
    Waiting,
}

impl Meter {
    /// Requests and upgraded connections that are being answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that wait for a target.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What was answered.
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A place among those in flight; None if there is none.
    pub(crate) fn enter(self: &Arc<Self>, most: Option<usize>) -> Option<Place> {
        self.place(Kind::InFlight, most.unwrap_or(usize::MAX))
    }

    /// A place among those that wait; None if there is none.
    pub(crate) fn wait(self: &Arc<Self>, most: usize) -> Option<Place> {
        self.place(Kind::Waiting, most)
    }

    fn place(self: &Arc<Self>, kind: Kind, most: usize) -> Option<Place> {
        let before = self.count(kind).fetch_add(1, Ordering::Relaxed);
        let place = Place { meter: Arc::clone(self), kind };
        (before < most).then_some(place)
    }

    fn count(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::InFlight => &self.in_flight,
            Kind::Waiting => &self.waiting,
        }
    }

    /// Counts one more request of an address; an error says how long it must wait before the next.
    ///
    /// This is the generic cell rate algorithm: one time for each address, no timers.
    pub(crate) fn ask(&self, address: IpAddr, rate: Rate, now: Instant) -> Result<(), Duration> {
        let each = Duration::from_secs(1) / rate.per_second.max(1);
        let burst = each * rate.burst.max(1);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() >= ADDRESSES {
            forget(&mut addresses, now);
        }
        let full = addresses.entry(network(address)).or_insert(now);
        let next = (*full).max(now) + each;
        let over = next.saturating_duration_since(now + burst);
        if over.is_zero() {
            *full = next;
            return Ok(());
        }
        Err(over)
    }
}

/// Forgets who has nothing to wait for; all, if nobody is: a limit of memory counts more than one of rate.
fn forget(addresses: &mut HashMap<IpAddr, Instant>, now: Instant) {
    addresses.retain(|_, full| *full > now);
    if addresses.len() >= ADDRESSES {
        addresses.clear();
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.meter.count(self.kind).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let meter = Arc::new(Meter::default());
        let first = meter.enter(Some(1)).unwrap();
        assert!(meter.enter(Some(1)).is_none());
        assert_eq!(meter.in_flight(), 1);
        assert_eq!(meter.waiting(), 0);
        drop(first);
        assert!(meter.enter(Some(1)).is_some());
    }

    #[test]
    fn an_address_has_its_burst_and_then_its_rate() {
        let (meter, rate, now) = (Meter::default(), Rate { per_second: 10, burst: 3 }, Instant::now());
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..3 {
            meter.ask(one, rate, now).unwrap();
        }
        assert_eq!(meter.ask(one, rate, now), Err(Duration::from_millis(100)));
        meter.ask(other, rate, now).unwrap();
        meter.ask(one, rate, now + Duration::from_millis(100)).unwrap();
        assert!(meter.ask(one, rate, now + Duration::from_millis(100)).is_err());
        let later = now + Duration::from_secs(9);
        assert_eq!((0..9).filter(|_| meter.ask(one, rate, later).is_ok()).count(), 3);
    }

    #[test]
    fn neighbours_in_ipv6_are_one() {
        let (meter, rate, now) = (Meter::default(), Rate { per_second: 1, burst: 1 }, Instant::now());
        meter.ask("2001:db8::1".parse().unwrap(), rate, now).unwrap();
        assert!(meter.ask("2001:db8::2".parse().unwrap(), rate, now).is_err());
        meter.ask("2001:db8:0:1::2".parse().unwrap(), rate, now).unwrap();
        meter.ask("::ffff:192.0.2.1".parse().unwrap(), rate, now).unwrap();
        meter.ask("::ffff:192.0.2.2".parse().unwrap(), rate, now).unwrap();
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (meter, rate, now) = (Meter::default(), Rate { per_second: 1, burst: 1 }, Instant::now());
        for number in 0..40_000_u32 {
            let _ = meter.ask(IpAddr::from(number.to_be_bytes()), rate, now);
        }
        assert!(meter.addresses.lock().unwrap().len() <= ADDRESSES);
    }
}
