//! Why there is no answer from an app, and whether the request can be sent again.

use std::error::Error;
use std::io;

use hyper::Response;

use super::http1::Broken;
use crate::body::{BodyError, Incoming};

/// What is behind a failure.
type Cause = Box<dyn Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Every target drains: the table has been replaced since it was read.
    #[error("every target drains")]
    Drained,
    /// There is no target, for this reason.
    #[error("{0}")]
    Unavailable(String),
    #[error("connecting: {0}")]
    Connect(#[source] io::Error),
    #[error("closed without an answer: {0}")]
    Closed(#[source] Cause),
    #[error("not an HTTP response: {0}")]
    Garbled(#[source] Cause),
    #[error("the client's body ended early: {0}")]
    Client(#[source] Cause),
    #[error("no answer in time")]
    Late,
}

impl Failure {
    /// Whether the target seems to be broken.
    pub(super) fn is_the_targets(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Closed(_) | Self::Garbled(_))
    }

    /// What was wrong with the request's body, if that was it.
    pub(crate) fn of_body(&self) -> Option<&BodyError> {
        let Self::Client(cause) = self else { return None };
        let mut cause: Option<&(dyn Error + 'static)> = Some(&**cause);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref() {
                return Some(error);
            }
            cause = error.source();
        }
        None
    }
}

/// A failure, and whether the request can be sent again: nothing of it was written, or it may be sent twice and the connection
/// was closed without an answer.
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) again: bool,
    /// What has come of an answer that broke off, if nothing of it has been passed on.
    pub(super) partial: Option<Box<Response<Incoming>>>,
}

impl Failed {
    /// Before anything was written.
    pub(crate) fn unsent(failure: Failure) -> Self {
        Self { failure, again: true, partial: None }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, again: false, partial: None }
    }
}

/// Why there is none over HTTP/1.1, and what has come of one.
pub(super) fn explain(broken: Broken) -> (Failure, Option<Box<Response<Incoming>>>) {
    let closed = |kind: io::ErrorKind| Failure::Closed(io::Error::from(kind).into());
    match broken {
        Broken::Closed { error, .. } => (Failure::Closed(error.into()), None),
        Broken::Short(response) => {
            (closed(io::ErrorKind::UnexpectedEof), Some(Box::new(response.map(Incoming::Http1))))
        }
        Broken::Cut => (closed(io::ErrorKind::ConnectionAborted), None),
        Broken::Garbled(garbled) => (Failure::Garbled(garbled.into()), None),
        Broken::Client(error) => (Failure::Client(error.into()), None),
    }
}

/// Why there is none over HTTP/2.
pub(super) fn classify(error: hyper::Error) -> Failure {
    if error.is_parse() {
        Failure::Garbled(error.into())
    } else if error.source().is_some_and(<dyn Error>::is::<BodyError>) {
        Failure::Client(error.into())
    } else {
        Failure::Closed(error.into())
    }
}
