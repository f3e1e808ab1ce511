//! Which connections are taken: so many in all, of one address, and without a key.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Limits;

/// Counts the connections of a server.
pub(crate) struct Admission {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: Count,
    addresses: HashMap<IpAddr, Count>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    connections: usize,
    unauthenticated: usize,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("too many connections")]
    All,
    #[error("too many connections from your address")]
    Address,
    #[error("too many connections that have not authenticated")]
    Unauthenticated,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, counts: Mutex::default() }
    }

    /// Counts a connection until the result is dropped.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Admitted, Refused> {
        let address = network(peer);
        let mut counts = self.lock();
        let its = counts.addresses.get(&address).copied().unwrap_or_default();
        let unauthenticated = self.limits.unauthenticated;
        if counts.all.connections >= self.limits.connections {
            return Err(Refused::All);
        }
        if its.connections >= self.limits.connections_per_address {
            return Err(Refused::Address);
        }
        if counts.all.unauthenticated >= unauthenticated || its.unauthenticated >= unauthenticated.div_ceil(2) {
            return Err(Refused::Unauthenticated);
        }
        counts.change(address, |count| {
            count.connections += 1;
            count.unauthenticated += 1;
        });
        Ok(Admitted { admission: Arc::clone(self), address, authenticated: false })
    }

    /// A panic elsewhere does not make the counts wrong.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn change(&mut self, address: IpAddr, change: impl Fn(&mut Count)) {
        change(&mut self.all);
        let its = self.addresses.entry(address).or_default();
        change(its);
        if its.connections == 0 {
            self.addresses.remove(&address);
        }
    }
}

/// A connection that was taken.
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    address: IpAddr,
    authenticated: bool,
}

impl Admitted {
    /// It has shown a key.
    pub(crate) fn authenticated(&mut self) {
        if !self.authenticated {
            self.authenticated = true;
            self.admission.lock().change(self.address, |count| count.unauthenticated -= 1);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.authenticated();
        self.admission.lock().change(self.address, |count| count.connections -= 1);
    }
}

/// What is counted as one address: whoever has one of IPv6 has a network of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limits: Limits) -> Arc<Admission> {
        Arc::new(Admission::new(limits))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_bound_has_its_reason_and_ends_with_the_connection() {
        let limits = Limits { connections: 3, connections_per_address: 2, unauthenticated: 4, ..Limits::default() };
        let admission = admission(limits);
        let (one, other) = (address("10.0.0.1"), address("10.0.0.2"));
        let first = admission.admit(one).unwrap();
        let _second = admission.admit(one).unwrap();
        assert_eq!(admission.admit(one).err(), Some(Refused::Address));
        let _third = admission.admit(other).unwrap();
        assert_eq!(admission.admit(other).err(), Some(Refused::All));
        drop(first);
        assert!(admission.admit(one).is_ok());
        assert_eq!(admission.lock().all.connections, 2);
    }

    #[test]
    fn one_address_does_not_lock_all_others_out() {
        let admission = admission(Limits { unauthenticated: 4, ..Limits::default() });
        let (one, other, third) = (address("2001:db8::1"), address("2001:db8:1::1"), address("10.0.0.3"));
        let mut first = admission.admit(one).unwrap();
        let _second = admission.admit(address("2001:db8::2")).unwrap();
        assert_eq!(admission.admit(one).err(), Some(Refused::Unauthenticated));
        let _others = [admission.admit(other).unwrap(), admission.admit(other).unwrap()];
        assert_eq!(admission.admit(third).err(), Some(Refused::Unauthenticated));
        first.authenticated();
        assert!(admission.admit(third).is_ok());
    }
}
