//! What comes of ACME, kept in the database.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use router::acme::{Failure, StoreError};
use router::{HostName, Issued};

use crate::store::{Refusal, Store};

/// What one authority has issued and refused.
pub(super) struct Kept {
    pub(super) store: Arc<Store>,
    pub(super) directory: String,
}

#[async_trait]
impl router::acme::Store for Kept {
    async fn account(&self, directory: &str) -> Result<Option<String>, StoreError> {
        Ok(self.store.acme_account(directory)?)
    }

    async fn keep_account(&self, directory: &str, credentials: &str) -> Result<(), StoreError> {
        Ok(self.store.keep_acme_account(directory, credentials)?)
    }

    async fn certificate(&self, name: &HostName) -> Result<Option<Issued>, StoreError> {
        let kept = self.store.certificate(&self.directory, name.as_str())?;
        Ok(kept.map(|(chain, key)| Issued { chain, key }))
    }

    async fn keep_certificate(&self, name: &HostName, issued: &Issued) -> Result<(), StoreError> {
        let pair = (issued.chain.as_str(), issued.key.as_str());
        Ok(self.store.keep_certificate(&self.directory, name.as_str(), pair, milliseconds(SystemTime::now()))?)
    }

    async fn failure(&self, name: &HostName) -> Result<Option<Failure>, StoreError> {
        let kept = self.store.certificate_failure(&self.directory, name.as_str())?;
        Ok(kept.map(|Refusal { reason, count, at, next }| Failure { reason, count, at: time(at), next: time(next) }))
    }

    async fn keep_failure(&self, name: &HostName, failure: &Failure) -> Result<(), StoreError> {
        let (at, next) = (milliseconds(failure.at), milliseconds(failure.next));
        let refusal = Refusal { reason: failure.reason.clone(), count: failure.count, at, next };
        Ok(self.store.keep_certificate_failure(&self.directory, name.as_str(), &refusal)?)
    }
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}
