//! What is kept from one start to the next, and how it is taken up again.

use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::{Acme, Failure, schedule};
use crate::HostName;
use crate::authority::Issued;
use crate::certificates::Certificate;

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

impl Acme {
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
}
