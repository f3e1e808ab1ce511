//! Certificates that owners have given.

use std::sync::Arc;
use std::time::SystemTime;

use router::{Certificate, HostName};

use crate::failure::{Failure, Result};
use crate::store::{AppId, Store};

/// One of them.
pub struct Own {
    /// Whose; None: the server's.
    pub app: Option<AppId>,
    /// For which name; None: for all that it covers.
    pub domain: Option<HostName>,
    /// The certificate.
    pub certificate: Arc<Certificate>,
}

/// All that can be read.
pub(super) fn all(store: &Store) -> Result<Vec<Own>> {
    let read = |kept: crate::store::OwnCertificate| {
        let certificate = read(&kept.bundle).inspect_err(|error| {
            tracing::warn!(app = kept.app.map(|app| app.0), %error, "a certificate that was given cannot be used");
        });
        let domain = kept.domain.and_then(|domain| HostName::new(&domain).ok());
        Some(Own { app: kept.app, domain, certificate: Arc::new(certificate.ok()?) })
    };
    Ok(store.own_certificates()?.into_iter().filter_map(read).collect())
}

/// Reads a bundle: the chain, the server's own certificate first, and the private key, all in PEM.
pub fn read(bundle: &str) -> Result<Certificate> {
    Certificate::from_pem(bundle.as_bytes(), bundle.as_bytes()).map_err(|error| {
        let locked = bundle.contains("ENCRYPTED");
        let locked = if locked { "; take the passphrase off the key first: openssl pkey -in key.pem" } else { "" };
        Failure::new(error.to_string(), format!("{GIVE}{locked}"))
    })
}

const GIVE: &str = "give the certificate, those that have signed it in order, and its private key, in PEM format on standard input: cat fullchain.pem key.pem | ssh …";

/// The one for a name that is valid now: given for it, for its app, or for the server.
pub(super) fn choose<'a>(own: &'a [Own], app: AppId, host: &HostName, now: SystemTime) -> Option<&'a Own> {
    let valid = |own: &&Own| own.certificate.check(now, std::slice::from_ref(host)).is_ok();
    candidates(own, app, host).filter(valid).max_by_key(|own| (own.domain.is_some(), own.app.is_some()))
}

/// Whether one was given for a name that has ended.
pub(super) fn has_ended(own: &[Own], app: AppId, host: &HostName) -> bool {
    let now = SystemTime::now();
    choose(own, app, host, now).is_none() && candidates(own, app, host).next().is_some()
}

fn candidates<'a>(own: &'a [Own], app: AppId, host: &HostName) -> impl Iterator<Item = &'a Own> {
    let meant = move |own: &&Own| {
        own.app.is_none_or(|owner| owner == app) && own.domain.as_ref().is_none_or(|domain| domain == host)
    };
    own.iter().filter(meant).filter(|own| own.certificate.covers(host))
}
