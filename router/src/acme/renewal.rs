//! One name's next certificate: asked for, checked, kept, or its failure noted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{Account, NewAccount};

use super::order::{self, Challenge};
use super::schedule::Budget;
use super::{Acme, Failure};
use crate::HostName;
use crate::certificates::Certificate;

/// Most time that one order takes.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often an order is begun anew that got out of step with the authority.
const OUT_OF_STEP: usize = 2;

/// What has become of an order.
type Ordered = Result<(Certificate, Challenge), order::Failed>;

impl Acme {
    pub(super) async fn renew(&self, name: HostName, budget: &Budget) -> HostName {
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
}
