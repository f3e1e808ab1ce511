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
use instant_acme::{Account, NewAccount};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::HostName;
use crate::authority::Issued;
use crate::certificates::{Certificate, Certificates};
use order::Challenge;
use schedule::Budget;

/// Most time that one order takes.
const PATIENCE: Duration = Duration::from_secs(180);

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
    /// Keeps a certificate in place of the last.
    async fn keep_certificate(&self, name: &HostName, issued: &Issued) -> Result<(), StoreError>;
}

/// Why the store failed.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// An authority and what to tell it.
#[derive(Debug, Clone)]
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
        /// In words.
        reason: String,
        /// When it is asked again.
        next: SystemTime,
        /// The certificate of before is valid until then.
        until: Option<SystemTime>,
    },
}

/// Asks one authority for the certificates of all names. It does so while [`run`](Self::run) is awaited.
pub struct Acme {
    settings: AcmeSettings,
    store: Arc<dyn Store>,
    certificates: Arc<Certificates>,
    names: Mutex<Names>,
    /// Told when names have changed.
    changed: Notify,
}

#[derive(Default)]
struct Names {
    /// Certificates that come from elsewhere; they are preferred.
    own: Vec<Arc<Certificate>>,
    domains: BTreeMap<HostName, Domain>,
}

#[derive(Default)]
struct Domain {
    /// It has been looked for in the store.
    loaded: bool,
    certificate: Option<Arc<Certificate>>,
    ordering: bool,
    failure: Option<Failure>,
    /// What the authority accepted last.
    challenge: Challenge,
}

struct Failure {
    reason: String,
    /// In a row.
    count: u32,
    next: SystemTime,
}

impl Acme {
    /// Nothing is asked yet.
    pub fn new(settings: AcmeSettings, store: Arc<dyn Store>, certificates: Arc<Certificates>) -> Self {
        Self { settings, store, certificates, names: Mutex::default(), changed: Notify::new() }
    }

    /// From now on certificates are asked for these names and no others, unless one of `own` is for them. All of both
    /// are shown to clients.
    pub fn want(&self, names: BTreeSet<HostName>, own: Vec<Arc<Certificate>>) {
        let mut known = self.names();
        known.domains.retain(|name, _| names.contains(name));
        for name in names {
            if own.iter().any(|certificate| certificate.covers(&name)) {
                known.domains.remove(&name);
            } else {
                known.domains.entry(name).or_default();
            }
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

    /// Asks again at once for a name whose last order failed.
    pub fn retry(&self, name: &HostName) {
        if let Some(failure) = self.names().domains.get_mut(name).and_then(|domain| domain.failure.as_mut()) {
            failure.next = SystemTime::now();
        }
        self.changed.notify_one();
    }

    /// Asks whenever it is time, for one name after the other.
    pub async fn run(&self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.work()).await;
    }

    async fn work(&self) {
        let mut budget = Budget::default();
        loop {
            self.load().await;
            let now = SystemTime::now();
            match self.next(now) {
                Some((name, due)) if due <= now => {
                    tokio::time::sleep(budget.take(tokio::time::Instant::now())).await;
                    self.renew(&name).await;
                }
                next => {
                    let nap = next.map_or(NAP, |(_, due)| due.duration_since(now).unwrap_or_default().min(NAP));
                    let _changed = tokio::time::timeout(nap, self.changed.notified()).await;
                }
            }
        }
    }

    /// The name whose time comes first.
    fn next(&self, now: SystemTime) -> Option<(HostName, SystemTime)> {
        let names = self.names();
        let due = names.domains.iter().map(|(name, domain)| (domain.next(name, now), name));
        due.min_by_key(|(due, _)| *due).map(|(due, name)| (name.clone(), due))
    }

    /// Takes from the store what is there for new names.
    async fn load(&self) {
        let new: Vec<_> = {
            let names = self.names();
            names.domains.iter().filter(|(_, domain)| !domain.loaded).map(|(name, _)| name.clone()).collect()
        };
        for name in &new {
            let kept = self.kept(name).await;
            let mut names = self.names();
            if let Some(domain) = names.domains.get_mut(name) {
                domain.loaded = true;
                domain.certificate = kept;
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

    async fn renew(&self, name: &HostName) {
        let Some(first) = self.begin(name) else { return };
        let mut ended = self.order(name, first).await;
        // An authority that cannot come one way may come the other.
        if matches!(ended, Err(order::Failed::Refused(_))) {
            ended = self.order(name, first.other()).await;
        }
        self.end(name, ended);
    }

    /// Marks that a name is being asked for; how the authority may prove it.
    fn begin(&self, name: &HostName) -> Option<Challenge> {
        let mut names = self.names();
        let domain = names.domains.get_mut(name)?;
        domain.ordering = true;
        Some(domain.challenge)
    }

    async fn order(&self, name: &HostName, challenge: Challenge) -> Result<(Certificate, Challenge), order::Failed> {
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

    fn end(&self, name: &HostName, ended: Result<(Certificate, Challenge), order::Failed>) {
        let mut names = self.names();
        let Some(domain) = names.domains.get_mut(name) else { return };
        domain.ordering = false;
        match ended {
            Ok((certificate, challenge)) => {
                tracing::info!(%name, "a certificate has been issued");
                domain.challenge = challenge;
                domain.certificate = Some(Arc::new(certificate));
                domain.failure = None;
                self.show(&names);
            }
            Err(failed) => {
                tracing::warn!(%name, %failed, "no certificate");
                let count = domain.failure.as_ref().map_or(1, |failure| failure.count.saturating_add(1));
                let pause = schedule::pause(count, failed.kind(), name);
                let next = SystemTime::now() + pause;
                domain.failure = Some(Failure { reason: failed.to_string(), count, next });
            }
        }
    }

    /// The account of before, or a new one, which is kept.
    async fn account(&self) -> Result<Account, order::Failed> {
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
        Ok(account)
    }

    fn show(&self, names: &Names) {
        let issued = names.domains.values().filter_map(|domain| domain.certificate.as_ref());
        self.certificates.swap(names.own.iter().chain(issued));
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Domain {
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
            (Some(failure), until) => CertificateState::Failed { reason: failure.reason.clone(), next, until },
            (None, Some(until)) => CertificateState::Valid { until, next },
            (None, None) => CertificateState::None { next },
        }
    }
}
