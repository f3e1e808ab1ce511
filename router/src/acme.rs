//! Certificates from an authority by ACME (RFC 8555): asked for when a name needs one, and again well before the end.
//!
//! It does not know which names there are and where things are kept: its owner says the one by [`Acme::want`], and is
//! asked for the other through [`Store`]. When the authority is asked is in `schedule` and, for one name,
//! `domain`; how one certificate is asked for in `renewal`, and its order in `order`.

mod domain;
mod order;
mod renewal;
mod schedule;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::HostName;
use crate::certificates::{Certificate, Certificates};
use domain::Domain;
pub use domain::{CertificateState, Failure};
use schedule::Budget;
pub use store::{Store, StoreError};

/// Most orders at once: a name whose order hangs holds few others up.
const AT_ONCE: usize = 4;

/// How long to sleep at most: clocks are set, and machines sleep.
const NAP: Duration = Duration::from_secs(3600);

/// An authority and what to tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    /// The URL of its directory.
    pub directory: String,
    /// Whom it may write to: `mailto:…`.
    pub contact: Option<String>,
    /// A file with the certificate (PEM) that its own connections are checked with; None: what the system trusts.
    pub root: Option<PathBuf>,
}

/// The authority has refused a name too often of late to be asked at once.
#[derive(Debug, thiserror::Error)]
#[error("it has been tried too often of late")]
pub struct TooSoon {
    /// From then on it may be.
    pub until: SystemTime,
}

/// Asks one authority for the certificates of all names. It does so while [`run`](Self::run) is awaited.
pub struct Acme {
    settings: AcmeSettings,
    store: Arc<dyn Store>,
    certificates: Arc<Certificates>,
    names: Mutex<Names>,
    /// Told when names have changed.
    changed: Notify,
    /// Held by who looks for the account, or makes it.
    registering: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Names {
    /// Certificates that come from elsewhere.
    own: BTreeMap<HostName, Arc<Certificate>>,
    domains: BTreeMap<HostName, Domain>,
}

impl Acme {
    /// Nothing is asked yet.
    pub fn new(settings: AcmeSettings, store: Arc<dyn Store>, certificates: Arc<Certificates>) -> Self {
        let registering = tokio::sync::Mutex::default();
        Self { settings, store, certificates, names: Mutex::default(), changed: Notify::new(), registering }
    }

    /// From now on certificates are asked for these names and no others, and shown to clients; `own` are shown, too, and
    /// preferred.
    pub fn want(&self, names: BTreeSet<HostName>, own: BTreeMap<HostName, Arc<Certificate>>) {
        let mut known = self.names();
        known.domains.retain(|name, _| names.contains(name) && !own.contains_key(name));
        for name in names.into_iter().filter(|name| !own.contains_key(name)) {
            known.domains.entry(name).or_default();
        }
        known.own = own;
        self.show(&known);
        drop(known);
        self.changed.notify_one();
    }

    /// How things are with every name.
    pub fn states(&self) -> BTreeMap<HostName, CertificateState> {
        let now = SystemTime::now();
        self.names().domains.iter().map(|(name, domain)| (name.clone(), domain.state(name, now))).collect()
    }

    /// Asks again at once for a name whose last order failed; true if there is such a name.
    pub fn retry(&self, name: &HostName) -> Result<bool, TooSoon> {
        let now = SystemTime::now();
        let mut names = self.names();
        let Some(domain) = names.domains.get_mut(name) else { return Ok(false) };
        let Some(failure) = domain.failure.as_mut() else { return Ok(false) };
        match domain.refused.until(now) {
            Some(until) => return Err(TooSoon { until }),
            None => failure.next = now,
        }
        drop(names);
        self.changed.notify_one();
        Ok(true)
    }

    /// Asks whenever it is time, for a few names at once.
    pub async fn run(&self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.work()).await;
    }

    async fn work(&self) {
        let (budget, mut asked, mut orders) = (Budget::default(), BTreeSet::new(), FuturesUnordered::new());
        loop {
            self.load().await;
            let now = SystemTime::now();
            let nap = match self.next(now, &asked) {
                Some((name, due)) if due <= now && asked.len() < AT_ONCE => {
                    asked.insert(name.clone());
                    orders.push(self.renew(name, &budget));
                    continue;
                }
                Some((_, due)) if asked.len() < AT_ONCE => due.duration_since(now).unwrap_or_default().min(NAP),
                _ => NAP,
            };
            tokio::select! {
                Some(name) = orders.next() => drop(asked.remove(&name)),
                _changed_or_time = tokio::time::timeout(nap, self.changed.notified()) => {}
            }
        }
    }

    /// Of the names that are not being asked for, the one whose time comes first. Of those whose time has come, what has failed less is more likely to succeed.
    fn next(&self, now: SystemTime, asked: &BTreeSet<HostName>) -> Option<(HostName, SystemTime)> {
        let names = self.names();
        let next = names.domains.iter().filter(|(name, _)| !asked.contains(*name)).map(|(name, domain)| {
            let failures = domain.failure.as_ref().map_or(0, |failure| failure.count);
            (domain.next(name, now), failures, name)
        });
        let first = next.min_by_key(|(due, failures, _)| ((*due).max(now), *failures, *due));
        first.map(|(due, _, name)| (name.clone(), due))
    }

    fn show(&self, names: &Names) {
        let issued =
            names.domains.iter().filter_map(|(name, domain)| Some((name.clone(), domain.certificate.clone()?)));
        let own = names.own.iter().map(|(name, own)| (name.clone(), Arc::clone(own)));
        self.certificates.swap(issued.chain(own).collect());
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
