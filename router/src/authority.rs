//! A certificate authority for development: certificates that nobody trusts who has not been told to.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::certificates::CertificateError;

/// For how long an authority is valid.
const AUTHORITY: Duration = Duration::from_secs(3650 * 24 * 3600);

/// For how long what it issues is valid: browsers refuse more than 398 days.
const ISSUED: Duration = Duration::from_secs(90 * 24 * 3600);

/// Clocks differ.
const BEFORE: Duration = Duration::from_secs(3600);

/// An authority, with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    key: String,
}

/// A chain of certificates and the key of the first, both in PEM.
pub struct Issued {
    /// The chain, the server's own certificate first.
    pub chain: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// A new one: keep its [certificate](Self::certificate) and its [key](Self::key).
    pub fn new() -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "airstrip development authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid(&mut params, AUTHORITY);
        let certificate = params.self_signed(&key)?.pem();
        let text = key.serialize_pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate, key: text })
    }

    /// One that was made before.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CertificateError> {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, certificate: certificate.to_owned(), key: key.to_owned() })
    }

    /// Its own certificate in PEM: whoever is told to trust it trusts what it issues.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its private key in PEM.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A certificate for these names; a wildcard begins with `*.`.
    pub fn issue(&self, names: &[String]) -> Result<Issued, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, ISSUED);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { chain: certificate.pem(), key: key.serialize_pem() })
    }
}

fn valid(params: &mut CertificateParams, length: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + length).into();
}
