//! Certificates: read and checked, and chosen for a client by the name it asks for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::HostName;
use crate::tls::ACME;

/// A certificate with its chain and its private key.
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    issuer: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain is no PEM of certificates.
    #[error("the certificate is not in PEM format: {0}")]
    Chain(String),
    /// There is no certificate in it.
    #[error("there is no certificate in it")]
    Empty,
    /// A certificate of the chain is not readable; the first is number 1.
    #[error("certificate {number} of the chain cannot be read: {reason}")]
    Parse {
        /// Which one.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// The chain does not hold together.
    #[error("certificate {number} of the chain has not been signed by the one after it")]
    Broken {
        /// Which one.
        number: usize,
    },
    /// The key is no PEM of a private key, or of a kind that is not supported.
    #[error("the private key cannot be read: {0}")]
    Key(String),
    /// The key is another one's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// It is valid for no DNS name.
    #[error("the certificate is for no host name")]
    NoNames,
    /// It is not valid now.
    #[error("the certificate has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the certificate is not valid yet")]
    Early,
    /// It does not cover a name.
    #[error("the certificate is not for `{0}`")]
    Name(HostName),
    /// It could not be made.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl Certificate {
    /// Reads a chain (the server's own certificate first) and its key, both in PEM, and checks that they belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CertificateError::Chain(error.to_string()))?;
        if chain.is_empty() {
            return Err(CertificateError::Empty);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| CertificateError::Key(error.to_string()))?;
        Self::new(chain, &key)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<Self, CertificateError> {
        let key = any_supported_type(key).map_err(|error| CertificateError::Key(error.to_string()))?;
        let parsed = parse(&chain)?;
        check_chain(&parsed)?;
        let first = parsed.first().ok_or(CertificateError::Empty)?;
        let (names, issuer) = (names(first), issuer(first));
        let (not_before, not_after) = (time(first.validity().not_before), time(first.validity().not_after));
        if names.is_empty() {
            return Err(CertificateError::NoNames);
        }
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|_| CertificateError::Mismatch)?;
        Ok(Self { key: Arc::new(key), names, issuer, not_before, not_after })
    }

    /// Whether it can be used at this time for these names.
    pub fn check(&self, at: SystemTime, names: &[HostName]) -> Result<(), CertificateError> {
        if at >= self.not_after {
            return Err(CertificateError::Expired);
        }
        if at < self.not_before {
            return Err(CertificateError::Early);
        }
        match names.iter().find(|name| !self.covers(name)) {
            Some(name) => Err(CertificateError::Name(name.clone())),
            None => Ok(()),
        }
    }

    /// Whether it is for this name, itself or by a wildcard for its last label.
    pub fn covers(&self, name: &HostName) -> bool {
        let wildcard = wildcard(name.as_str());
        self.names.iter().any(|own| own == name.as_str() || Some(own) == wildcard.as_ref())
    }

    /// The names it is for, in lower case; a wildcard begins with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Who has signed it, in words.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// How many certificates there are in the chain, itself among them.
    pub fn chain_length(&self) -> usize {
        self.key.cert.len()
    }

    /// From when to when it is valid.
    pub fn validity(&self) -> (SystemTime, SystemTime) {
        (self.not_before, self.not_after)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).finish_non_exhaustive()
    }
}

type Table = HashMap<String, Arc<CertifiedKey>>;

/// Which certificate is shown for which name, and what an authority that asks is answered. It can be changed at any
/// time; connections that begin from then on see it.
pub struct Certificates {
    known: ArcSwap<BTreeMap<HostName, Arc<Certificate>>>,
    /// Told of each change of those.
    swapped: watch::Sender<()>,
    /// For connections to names that no certificate is for: encryption without identity.
    fallback: Arc<CertifiedKey>,
    /// TLS-ALPN-01: certificates shown to an authority alone.
    proofs: ArcSwap<Table>,
    /// HTTP-01: answers by token.
    tokens: ArcSwap<HashMap<String, String>>,
}

impl Certificates {
    /// None yet.
    pub fn new() -> Result<Self, CertificateError> {
        let fallback = self_signed("airstrip.invalid", Vec::new())?;
        let (swapped, known) = (watch::Sender::new(()), ArcSwap::default());
        Ok(Self { known, swapped, fallback, proofs: ArcSwap::default(), tokens: ArcSwap::default() })
    }

    /// From now on these are shown, each to whoever asks for that very name: what else a certificate is for does not count,
    /// because names are different owners'.
    pub fn swap(&self, shown: BTreeMap<HostName, Arc<Certificate>>) {
        self.known.store(Arc::new(shown));
        self.swapped.send_replace(());
    }

    /// What is shown for a name.
    pub fn of(&self, name: &HostName) -> Option<Arc<Certificate>> {
        self.known.load().get(name).cloned()
    }

    /// Is told whenever others are shown.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.swapped.subscribe()
    }

    /// Answers an authority's question by HTTP-01 until [`forget`](Self::forget).
    pub fn answer(&self, token: &str, key_authorization: &str) {
        self.tokens.rcu(|tokens| {
            let mut tokens = HashMap::clone(tokens);
            tokens.insert(token.to_owned(), key_authorization.to_owned());
            tokens
        });
    }

    /// Answers an authority's question about a name by TLS-ALPN-01 until [`forget`](Self::forget).
    pub fn prove(&self, name: &HostName, digest: &[u8]) -> Result<(), CertificateError> {
        let proof = self_signed(name.as_str(), vec![CustomExtension::new_acme_identifier(digest)])?;
        self.proofs.rcu(|proofs| {
            let mut proofs = HashMap::clone(proofs);
            proofs.insert(name.as_str().to_owned(), Arc::clone(&proof));
            proofs
        });
        Ok(())
    }

    /// The questions about a name, and with this token, have been asked.
    pub fn forget(&self, name: &HostName, token: &str) {
        self.proofs.rcu(|proofs| {
            let mut proofs = HashMap::clone(proofs);
            proofs.remove(name.as_str());
            proofs
        });
        self.tokens.rcu(|tokens| {
            let mut tokens = HashMap::clone(tokens);
            tokens.remove(token);
            tokens
        });
    }

    /// The answer to HTTP-01 with this token.
    pub(crate) fn key_authorization(&self, token: &str) -> Option<String> {
        self.tokens.load().get(token).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        if hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == ACME)) {
            return self.proofs.load().get(&name?).cloned();
        }
        let known = self.known.load();
        let found = name.and_then(|name| known.get(name.as_str()).map(|certificate| Arc::clone(&certificate.key)));
        Some(found.unwrap_or_else(|| Arc::clone(&self.fallback)))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("known", &self.known.load().len()).finish_non_exhaustive()
    }
}

/// `*.b.c` for `a.b.c`.
fn wildcard(name: &str) -> Option<String> {
    let (_, parent) = name.split_once('.')?;
    Some(format!("*.{parent}"))
}

fn self_signed(name: &str, extensions: Vec<CustomExtension>) -> Result<Arc<CertifiedKey>, CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.custom_extensions = extensions;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = any_supported_type(&key).map_err(|error| CertificateError::Key(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

fn parse<'a>(chain: &'a [CertificateDer<'_>]) -> Result<Vec<X509Certificate<'a>>, CertificateError> {
    let parsed = chain.iter().enumerate().map(|(index, der)| {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| CertificateError::Parse { number: index + 1, reason: error.to_string() })?;
        Ok(certificate)
    });
    parsed.collect()
}

fn check_chain(chain: &[X509Certificate<'_>]) -> Result<(), CertificateError> {
    let signed = |pair: &[X509Certificate<'_>]| {
        pair[0].issuer() == pair[1].subject() && pair[0].verify_signature(Some(pair[1].public_key())).is_ok()
    };
    match chain.windows(2).position(|pair| !signed(pair)) {
        Some(index) => Err(CertificateError::Broken { number: index + 1 }),
        None => Ok(()),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}

/// The organization that has signed it, and under which of its names.
fn issuer(certificate: &X509Certificate<'_>) -> String {
    let name = certificate.issuer();
    let parts = name.iter_organization().chain(name.iter_common_name());
    parts.filter_map(|part| part.as_str().ok()).collect::<Vec<_>>().join(" ")
}

fn time(time: x509_parser::time::ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}
