//! Certificates from an authority by ACME (RFC 8555): asked for when a name needs one, and again well before the end.
//!
//! It does not know which names there are and where things are kept: its owner says the one by [`Acme::want`], and is
//! asked for the other through [`Store`]. What is asked of the authority is spread in time (`schedule`); how one
//! certificate is ordered is in `order`.

mod order;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use instant_acme::{Account, NewAccount};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::HostName;
use crate::authority::Issued;
use crate::certificates::{Certificate, Certificates};
use order::Challenge;
use schedule::{Budget, Kind, Refusals};

/// Most time that one order takes.
const PATIENCE: Duration = Duration::from_secs(180);

/// Most orders at once: a name whose order hangs holds few others up.
const AT_ONCE: usize = 4;

/// How often an order is begun anew that got out of step with the authority.
const OUT_OF_STEP: usize = 2;

/// How long to sleep at most: clocks are set, and machines sleep.
const NAP: Duration = Duration::from_secs(3600);

/// Where accounts and certificates are kept, safe from other eyes: both have private keys.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The account that was kept for this directory.
    async fn account(&self, directory: &str) -> Result<Option<String>, StoreError>;
    /// Keeps an account.
    async fn keep_account(&self, directory: &str, credentials: &str) -> Result<(), StoreError>;
    /// The certificate that was kept last for a name.
    async fn certificate(&self, name: &HostName) -> Result<Option<Issued>, StoreError>;
    /// Keeps a certificate in place of the last, and forgets the failure.
    async fn keep_certificate(&self, name: &HostName, issued: &Issued) -> Result<(), StoreError>;
    /// What failed last for a name.
    async fn failure(&self, name: &HostName) -> Result<Option<Failure>, StoreError>;
    /// Keeps a failure, so that whoever starts next does not ask too early.
    async fn keep_failure(&self, name: &HostName, failure: &Failure) -> Result<(), StoreError>;
}

/// Why the store failed.
pub type StoreError = Box<dyn Error + Send + Sync>;

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

/// How things are with one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateState {
    /// Nothing has been asked yet; it will be at this time.
    None {
        /// When.
        next: SystemTime,
    },
    /// The authority is being asked.
    Ordering,
    /// There is a certificate.
    Valid {
        /// Until then.
        until: SystemTime,
        /// When the next one is asked for.
        next: SystemTime,
    },
    /// The authority said no, or was not reached.
    Failed {
        /// How, and when it is asked again.
        failure: Failure,
        /// The certificate of before is valid until then.
        until: Option<SystemTime>,
    },
}

/// An order that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub reason: String,
    /// How many there have been in a row.
    pub count: u32,
    /// When it was.
    pub at: SystemTime,
    /// When the authority is asked again.
    pub next: SystemTime,
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

/// What has become of an order.
type Ordered = Result<(Certificate, Challenge), order::Failed>;

#[derive(Default)]
struct Names {
    /// Certificates that come from elsewhere.
    own: BTreeMap<HostName, Arc<Certificate>>,
    domains: BTreeMap<HostName, Domain>,
}

#[derive(Default)]
struct Domain {
    /// It has been looked for in the store.
    loaded: bool,
    certificate: Option<Arc<Certificate>>,
    ordering: bool,
    failure: Option<Failure>,
    /// When the authority refused it, of late.
    refused: Refusals,
    /// What the authority accepted last.
    challenge: Challenge,
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

    /// Takes from the store what is there for new names. [`run`](Self::run) does so, too: it need be awaited only by who
    /// cannot show a name before its certificate is there.
    pub async fn load(&self) {
        let new: Vec<_> = {
            let names = self.names();
            names.domains.iter().filter(|(_, domain)| !domain.loaded).map(|(name, _)| name.clone()).collect()
        };
        for name in &new {
            let (kept, failure) = (self.kept(name).await, self.kept_failure(name).await);
            let mut names = self.names();
            if let Some(domain) = names.domains.get_mut(name) {
                domain.loaded = true;
                domain.certificate = kept;
                domain.failure = failure;
            }
        }
        if !new.is_empty() {
            self.show(&self.names());
        }
    }

    /// A certificate that can still be used.
    async fn kept(&self, name: &HostName) -> Option<Arc<Certificate>> {
        let kept = match self.store.certificate(name).await {
            Ok(kept) => kept?,
            Err(error) => {
                tracing::warn!(%name, %error, "the certificate cannot be read; another is asked for");
                return None;
            }
        };
        let read = Certificate::from_pem(kept.chain.as_bytes(), kept.key.as_bytes());
        let checked = read.and_then(|read| {
            read.check(SystemTime::now(), std::slice::from_ref(name))?;
            Ok(read)
        });
        match checked {
            Ok(certificate) => Some(Arc::new(certificate)),
            Err(error) => {
                tracing::warn!(%name, %error, "the certificate that was kept cannot be used; another is asked for");
                None
            }
        }
    }

    /// No time to ask again lies further ahead than it can: the clock may have been set.
    async fn kept_failure(&self, name: &HostName) -> Option<Failure> {
        match self.store.failure(name).await {
            Ok(kept) => kept.map(|kept| Failure { next: kept.next.min(schedule::latest(SystemTime::now())), ..kept }),
            Err(error) => {
                tracing::warn!(%name, %error, "what failed before cannot be read");
                None
            }
        }
    }

    async fn renew(&self, name: HostName, budget: &Budget) -> HostName {
        budget.spend().await;
        let Some(first) = self.begin(&name) else { return name };
        let mut ended = self.order(&name, first).await;
        // An authority that cannot come one way may come the other.
        if matches!(ended, Err(order::Failed::Refused(_))) {
            budget.spend().await;
            ended = self.order(&name, first.other()).await;
        }
        if let Some(failure) = self.end(&name, ended)
            && let Err(error) = self.store.keep_failure(&name, &failure).await
        {
            tracing::warn!(%name, %error, "what failed cannot be kept");
        }
        name
    }

    /// Marks that a name is being asked for; how the authority may prove it.
    fn begin(&self, name: &HostName) -> Option<Challenge> {
        let mut names = self.names();
        let domain = names.domains.get_mut(name)?;
        domain.ordering = true;
        Some(domain.challenge)
    }

    async fn order(&self, name: &HostName, challenge: Challenge) -> Ordered {
        let mut ended = self.order_once(name, challenge).await;
        for _ in 0..OUT_OF_STEP {
            if !matches!(&ended, Err(failed) if failed.is_out_of_step()) {
                break;
            }
            ended = self.order_once(name, challenge).await;
        }
        ended
    }

    async fn order_once(&self, name: &HostName, challenge: Challenge) -> Ordered {
        let ordered = async {
            let account = self.account().await?;
            let issued = order::order(&account, &self.certificates, name, challenge).await?;
            let certificate = Certificate::from_pem(issued.chain.as_bytes(), issued.key.as_bytes())?;
            certificate.check(SystemTime::now(), std::slice::from_ref(name))?;
            self.store.keep_certificate(name, &issued).await.map_err(order::Failed::Store)?;
            Ok((certificate, challenge))
        };
        tokio::time::timeout(PATIENCE, ordered).await.unwrap_or(Err(order::Failed::Late))
    }

    /// Marks that it is over; gives what failed.
    fn end(&self, name: &HostName, ended: Ordered) -> Option<Failure> {
        let mut names = self.names();
        let domain = names.domains.get_mut(name)?;
        domain.ordering = false;
        match ended {
            Ok((certificate, challenge)) => {
                tracing::info!(%name, "a certificate has been issued");
                domain.challenge = challenge;
                domain.certificate = Some(Arc::new(certificate));
                domain.failure = None;
                self.show(&names);
                None
            }
            Err(failed) => {
                tracing::warn!(%name, %failed, "no certificate");
                Some(domain.fail(name, &failed, SystemTime::now()))
            }
        }
    }

    /// The account of before, or a new one, which is kept.
    async fn account(&self) -> Result<Account, order::Failed> {
        let _only_one_is_made = self.registering.lock().await;
        let directory = &self.settings.directory;
        let builder = match &self.settings.root {
            Some(root) => Account::builder_with_root(root)?,
            None => Account::builder()?,
        };
        if let Some(kept) = self.store.account(directory).await.map_err(order::Failed::Store)? {
            return Ok(builder.from_credentials(serde_json::from_str(&kept)?).await?);
        }
        let contact: Vec<&str> = self.settings.contact.as_deref().into_iter().collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder.create(&new, directory.clone(), None).await?;
        let credentials = serde_json::to_string(&credentials)?;
        self.store.keep_account(directory, &credentials).await.map_err(order::Failed::Store)?;
        tracing::info!(directory, "an account has been made, and the authority's terms of service agreed to");
        Ok(account)
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

impl Domain {
    fn fail(&mut self, name: &HostName, failed: &order::Failed, at: SystemTime) -> Failure {
        let count = self.failure.as_ref().map_or(1, |failure| failure.count.saturating_add(1));
        let kind = failed.kind();
        if kind != Kind::Trouble {
            self.refused.add(at);
        }
        let next = at + schedule::pause(count, kind, name);
        let failure = Failure { reason: failed.to_string(), count, at, next };
        self.failure = Some(failure.clone());
        failure
    }

    /// When the authority is asked.
    fn next(&self, name: &HostName, now: SystemTime) -> SystemTime {
        match (&self.failure, &self.certificate) {
            (Some(failure), _) => failure.next,
            (None, Some(certificate)) => schedule::renewal(certificate.validity(), name),
            (None, None) => now,
        }
    }

    fn state(&self, name: &HostName, now: SystemTime) -> CertificateState {
        let until = self.certificate.as_ref().map(|certificate| certificate.validity().1);
        let next = self.next(name, now);
        match (&self.failure, until) {
            _ if self.ordering => CertificateState::Ordering,
            (Some(failure), until) => CertificateState::Failed { failure: failure.clone(), until },
            (None, Some(until)) => CertificateState::Valid { until, next },
            (None, None) => CertificateState::None { next },
        }
    }
}
