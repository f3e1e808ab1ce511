//! Answers that only promise another one (1xx, such as 103), on their way from an app to a client in HTTP/1.1. (RFC 9110, 15.2)
//!
//! hyper's server has no way to send them. So they are written beneath it ([`crate::strict`]), where the answer before has ended and the
//! next has not begun. What comes too late for that is dropped: an answer itself is never later for it.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use hyper::header::{self, HeaderMap};
use hyper::{StatusCode, Version};

use crate::limits::BUFFER_BYTES;
use crate::onward::field;

/// What is to be written of them on one connection.
#[derive(Default)]
pub(crate) struct Promises {
    waiting: AtomicBool,
    bytes: Mutex<Vec<u8>>,
}

impl Promises {
    /// One more, for a request of this version. `100 Continue` is not passed on: the client gets the server's own.
    pub(crate) fn add(&self, asked: Version, status: StatusCode, headers: &HeaderMap) {
        if asked != Version::HTTP_11 || status == StatusCode::CONTINUE {
            return;
        }
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.len() > BUFFER_BYTES {
            return;
        }
        // Writing to a vector does not fail.
        let _ = write!(bytes, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
        for (name, value) in headers.iter().filter(|(name, _)| *name != header::CONTENT_LENGTH) {
            field(&mut bytes, name, value.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        self.waiting.store(true, Ordering::Release);
    }

    /// All that there are, if there are any.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        // Asked at each write: most connections never see one.
        let any = self.waiting.load(Ordering::Acquire) && self.waiting.swap(false, Ordering::AcqRel);
        any.then(|| std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
