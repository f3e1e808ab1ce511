//! How many connections each client address has open: one address cannot have all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts; as large as there are connections.
#[derive(Default)]
pub(crate) struct Addresses {
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place in its address's count.
pub(crate) struct Open {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// Counts one more connection; None if the address has `most` already.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Open> {
        let address = address.to_canonical();
        let mut open = self.open();
        let count = open.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Open { addresses: Arc::clone(self), address })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Counts it at another address from now on; false if that has `most` already.
    pub(crate) fn becomes(&mut self, address: IpAddr, most: usize) -> bool {
        let place = self.addresses.enter(address, most);
        place.map(|place| *self = place).is_some()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.addresses.open();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let addresses = Arc::new(Addresses::default());
        let one = "192.0.2.1".parse().unwrap();
        let (first, second) = (addresses.enter(one, 2), addresses.enter("::ffff:192.0.2.1".parse().unwrap(), 2));
        assert!(first.is_some() && second.is_some());
        assert!(addresses.enter(one, 2).is_none());
        drop((first, second));
        assert!(addresses.open().is_empty());
    }

    #[test]
    fn a_place_can_be_anothers() {
        let addresses = Arc::new(Addresses::default());
        let (proxy, client) = ("10.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let [mut first, mut second] = [(); 2].map(|()| addresses.enter(proxy, usize::MAX).unwrap());
        assert!(first.becomes(client, 1));
        assert!(!second.becomes(client, 1));
        drop(second);
        assert_eq!(addresses.open().iter().collect::<Vec<_>>(), [(&client, &1)]);
        drop(first);
        assert!(addresses.open().is_empty());
    }
}
