//! One certificate: ordered, proved, fetched.

use instant_acme::{
    Account, AuthorizationStatus, ChallengeHandle, ChallengeType, Identifier, NewOrder, Order, OrderStatus, Problem,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::StoreError;
use super::schedule::Kind;
use crate::HostName;
use crate::authority::Issued;
use crate::certificates::{CertificateError, Certificates};

/// What the kinds of an authority's errors begin with.
const ERRORS: &str = "urn:ietf:params:acme:error:";

/// Those that are about what was found where the name leads to (RFC 8555, 6.7).
const OF_THE_NAME: [&str; 6] = ["caa", "connection", "dns", "incorrectResponse", "tls", "unauthorized"];

/// What the authority says when it has been asked too much.
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";

/// A number that the authority gave was not taken back (RFC 8555, 6.5). The library asks three times.
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

/// How it is proved that a name is ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Challenge {
    /// By an answer over HTTP.
    #[default]
    Http01,
    /// By a certificate in a handshake.
    TlsAlpn01,
}

impl Challenge {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Http01 => Self::TlsAlpn01,
            Self::TlsAlpn01 => Self::Http01,
        }
    }

    fn kind(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("the authority did not find that the name leads here: {0}")]
    Refused(String),
    #[error("the authority cannot be asked: {}", in_full(.0))]
    Protocol(instant_acme::Error),
    #[error("the certificate that was issued cannot be used: {0}")]
    Certificate(#[from] CertificateError),
    #[error("the account cannot be read or written: {0}")]
    Account(#[from] serde_json::Error),
    #[error("keeping it failed: {0}")]
    Store(StoreError),
    #[error("the authority did not finish in time")]
    Late,
}

/// An error and what has led to it: by itself it may only say that connecting failed.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    let mut told = error.to_string();
    for cause in causes.map(ToString::to_string) {
        if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

impl Failed {
    /// Nothing is wrong but the order of what was asked: it may be asked again at once.
    pub(super) fn is_out_of_step(&self) -> bool {
        self.is_problem(BAD_NONCE)
    }

    fn is_problem(&self, kind: &str) -> bool {
        matches!(self, Self::Protocol(instant_acme::Error::Api(problem)) if problem.r#type.as_deref() == Some(kind))
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Protocol(_) if self.is_problem(RATE_LIMITED) => Kind::TooMuch,
            Self::Protocol(_) if self.is_out_of_step() => Kind::Trouble,
            Self::Refused(_) | Self::Protocol(instant_acme::Error::Api(_)) | Self::Certificate(_) => Kind::Refused,
            Self::Protocol(_) | Self::Account(_) | Self::Store(_) | Self::Late => Kind::Trouble,
        }
    }
}

/// Whatever is asked, the answer may be what the authority has found by then.
impl From<instant_acme::Error> for Failed {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) if is_of_the_name(&problem) => Self::Refused(problem.to_string()),
            error => Self::Protocol(error),
        }
    }
}

impl From<rcgen::Error> for Failed {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.into())
    }
}

/// Orders a certificate for one name; meanwhile `certificates` answer what the authority asks.
pub(super) async fn order(
    account: &Account,
    certificates: &Certificates,
    name: &HostName,
    challenge: Challenge,
) -> Result<Issued, Failed> {
    let mut order = account.new_order(&NewOrder::new(&[Identifier::Dns(name.as_str().to_owned())])).await?;
    let mut answered = Answered { certificates, name, tokens: Vec::new() };
    if let Err(failed) = prove(&mut order, &mut answered, challenge).await {
        return Err(match failed {
            // The answer to "ready" may be what the authority has found by then, in whatever words.
            Failed::Protocol(error @ instant_acme::Error::Api(_)) => refused(&mut order, Err(error)).await,
            other => other,
        });
    }
    let status = order.poll_ready(&RetryPolicy::default()).await;
    if !matches!(status, Ok(OrderStatus::Ready)) {
        return Err(refused(&mut order, status).await);
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.as_str().to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    order.finalize_csr(params.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&RetryPolicy::default()).await?;
    Ok(Issued { chain, key: key.serialize_pem() })
}

/// The answers that have been made ready for an authority; taken back when it is dropped.
struct Answered<'a> {
    certificates: &'a Certificates,
    name: &'a HostName,
    tokens: Vec<String>,
}

impl Answered<'_> {
    fn make_ready(&mut self, handle: &ChallengeHandle<'_>, challenge: Challenge) -> Result<(), CertificateError> {
        self.tokens.push(handle.token.clone());
        let authorization = handle.key_authorization();
        match challenge {
            Challenge::Http01 => {
                self.certificates.answer(&handle.token, authorization.as_str());
                Ok(())
            }
            Challenge::TlsAlpn01 => self.certificates.prove(self.name, authorization.digest().as_ref()),
        }
    }
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        for token in &self.tokens {
            self.certificates.forget(self.name, token);
        }
    }
}

async fn prove(order: &mut Order, answered: &mut Answered<'_>, challenge: Challenge) -> Result<(), Failed> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let offered = authorization.challenge(challenge.kind());
        let mut handle =
            offered.ok_or(instant_acme::Error::Unsupported("a way to prove the name that is spoken here"))?;
        answered.make_ready(&handle, challenge)?;
        handle.set_ready().await?;
    }
    Ok(())
}

/// Why an order did not become ready: the authority's own words, if it has any.
async fn refused(order: &mut Order, status: Result<OrderStatus, instant_acme::Error>) -> Failed {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Failed::Refused(problem.to_string());
        }
    }
    match status {
        Ok(status) => Failed::Refused(format!("the order is {status:?}")),
        Err(error) => error.into(),
    }
}

fn is_of_the_name(problem: &Problem) -> bool {
    let kind = problem.r#type.as_deref().and_then(|kind| kind.strip_prefix(ERRORS));
    kind.is_some_and(|kind| OF_THE_NAME.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_authority_says_is_of_the_name_or_not() {
        for (kind, of_the_name) in [("connection", true), ("dns", true), ("unauthorized", true), ("badNonce", false)] {
            let problem = format!(r#"{{"type": "{ERRORS}{kind}", "detail": "no"}}"#);
            assert_eq!(is_of_the_name(&serde_json::from_str(&problem).unwrap()), of_the_name, "{kind}");
        }
        assert!(!is_of_the_name(&serde_json::from_str(r#"{"detail": "no"}"#).unwrap()));
    }

    #[test]
    fn what_counts_as_a_refusal() {
        for (kind, counts_as) in [
            ("badNonce", Kind::Trouble),
            ("rateLimited", Kind::TooMuch),
            ("malformed", Kind::Refused),
            ("dns", Kind::Refused),
        ] {
            let problem = serde_json::from_str(&format!(r#"{{"type": "{ERRORS}{kind}"}}"#)).unwrap();
            let failed = Failed::from(instant_acme::Error::Api(problem));
            assert_eq!((failed.kind(), failed.is_out_of_step()), (counts_as, kind == "badNonce"), "{kind}");
        }
    }
}
