//! What names one request in the app, in the log, and to the client: `X-Request-Id`.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ones are not taken over: they go into every line that is logged of the request.
const LONGEST: usize = 128;

/// Makes ids: 128 bits that nobody guesses and that do not come twice.
#[derive(Default)]
pub(crate) struct RequestIds {
    keys: [RandomState; 2],
    count: AtomicU64,
}

impl RequestIds {
    /// The one that a client or a proxy has given a request, if that is harmless in headers and logs; else a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let mut given = headers.get_all(X_REQUEST_ID).iter();
        match (given.next(), given.next()) {
            (Some(id), None) if is_sane(id.as_bytes()) => id.clone(),
            _ => self.make(),
        }
    }

    /// A new one.
    pub(crate) fn make(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut digits = [0; 32];
        for (half, key) in digits.chunks_exact_mut(16).zip(&self.keys) {
            write_hex(key.hash_one(count), half);
        }
        // Hexadecimal digits are always a header value.
        HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}

fn write_hex(number: u64, digits: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (place, digit) in digits.iter_mut().enumerate() {
        *digit = HEX[(number >> (60 - 4 * place) & 0xf) as usize];
    }
}

fn is_sane(id: &[u8]) -> bool {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/@".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(harmless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sane_ids_are_taken_over() {
        let long = "x".repeat(LONGEST);
        let longer = "x".repeat(LONGEST + 1);
        for (given, taken) in [
            (vec!["8f14e45f-ceea-467f-a9ab-1c2d3e4f5a6b"], true),
            (vec!["Root=1-67891233-abcdef012345678912345678"], true),
            (vec![long.as_str()], true),
            (vec![longer.as_str()], false),
            (vec![""], false),
            (vec!["a b"], false),
            (vec!["\"},{\""], false),
            (vec!["é"], false),
            (vec!["one", "two"], false),
            (vec![], false),
        ] {
            let mut headers = HeaderMap::new();
            for id in &given {
                headers.append(X_REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
            }
            let id = RequestIds::default().of(&headers);
            assert_eq!(given.first().is_some_and(|given| id == given), taken, "{given:?}");
            assert!(is_sane(id.as_bytes()));
        }
    }

    #[test]
    fn made_ones_differ() {
        let ids = [RequestIds::default(), RequestIds::default()];
        let made: std::collections::HashSet<_> = (0..2000).map(|number| ids[number % 2].make()).collect();
        assert_eq!(made.len(), 2000);
        assert!(made.iter().all(|id| id.len() == 32));
    }
}
