//! How things are with one name, and when the authority is to be asked for it.

use std::sync::Arc;
use std::time::SystemTime;

use super::order::{self, Challenge};
use super::schedule::{self, Kind, Refusals};
use crate::HostName;
use crate::certificates::Certificate;

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

#[derive(Default)]
pub(super) struct Domain {
    /// It has been looked for in the store.
    pub(super) loaded: bool,
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) ordering: bool,
    pub(super) failure: Option<Failure>,
    /// When the authority refused it, of late.
    pub(super) refused: Refusals,
    /// What the authority accepted last.
    pub(super) challenge: Challenge,
}

impl Domain {
    pub(super) fn fail(&mut self, name: &HostName, failed: &order::Failed, at: SystemTime) -> Failure {
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
    pub(super) fn next(&self, name: &HostName, now: SystemTime) -> SystemTime {
        match (&self.failure, &self.certificate) {
            (Some(failure), _) => failure.next,
            (None, Some(certificate)) => schedule::renewal(certificate.validity(), name),
            (None, None) => now,
        }
    }

    pub(super) fn state(&self, name: &HostName, now: SystemTime) -> CertificateState {
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
