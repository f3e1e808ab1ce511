//! Certificates of the server's own authority. The authority is kept; what it issues is made anew by each daemon.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use router::{Authority, Certificate, CertificateError, HostName};

use crate::failure::{Failure, Result};
use crate::store::Store;

/// The authority, once it was needed, and what it has issued.
#[derive(Default)]
pub(super) struct Local {
    authority: Option<Authority>,
    issued: BTreeMap<HostName, Arc<Certificate>>,
}

impl Local {
    /// The authority: that of before, or a new one, which is kept.
    pub(super) fn authority(&mut self, store: &Store) -> Result<&Authority> {
        let authority = match self.authority.take() {
            Some(authority) => authority,
            None => find(store)?,
        };
        Ok(self.authority.insert(authority))
    }

    /// A certificate for a name, with which it can be served for a while. None, with a word in the log, if none can be made;
    /// addresses have none, because clients do not ask for them.
    pub(super) fn of(&mut self, host: &HostName, store: &Store) -> Option<Arc<Certificate>> {
        if host.as_str().parse::<IpAddr>().is_ok() {
            return None;
        }
        if let Some(issued) = self.issued.get(host).filter(|issued| lasts(issued)) {
            return Some(issued.clone());
        }
        let made = self.authority(store).and_then(|authority| issue(authority, host).map_err(|e| failed(&e)));
        match made {
            Ok(made) => {
                self.issued.insert(host.clone(), made.clone());
                Some(made)
            }
            Err(error) => {
                tracing::warn!(%host, %error, "no certificate");
                None
            }
        }
    }

    /// Forgets those of other names.
    pub(super) fn keep(&mut self, wanted: impl Fn(&HostName) -> bool) {
        self.issued.retain(|host, _| wanted(host));
    }
}

fn find(store: &Store) -> Result<Authority> {
    if let Some((certificate, key)) = store.authority()? {
        return Authority::from_pem(&certificate, &key).map_err(|e| failed(&e));
    }
    let made = Authority::new().map_err(|e| failed(&e))?;
    store.keep_authority(made.certificate(), made.key())?;
    tracing::info!("an authority for development has been made: `certs:ca` shows its certificate");
    Ok(made)
}

fn failed(error: &CertificateError) -> Failure {
    Failure::plain(format!("the server's own authority: {error}"))
}

fn issue(authority: &Authority, host: &HostName) -> std::result::Result<Arc<Certificate>, CertificateError> {
    let issued = authority.issue(&[host.as_str().to_owned()])?;
    Ok(Arc::new(Certificate::from_pem(issued.chain.as_bytes(), issued.key.as_bytes())?))
}

/// Whether a third of its life is still to come.
fn lasts(certificate: &Certificate) -> bool {
    let (from, until) = certificate.validity();
    let life = until.duration_since(from).unwrap_or_default();
    SystemTime::now() + life / 3 < until
}
