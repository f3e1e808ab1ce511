//! Waiting until a new target can take requests.

use std::time::Duration;

use crate::Dial;

/// What counts as healthy.
#[derive(Debug, Clone)]
pub struct Check {
    /// The path to ask with GET; None: accepting a connection is enough.
    pub path: Option<String>,
    /// Value of the `Host` header.
    pub host: String,
    /// How long one try may take.
    pub attempt: Duration,
}

/// The last thing seen before giving up is the caller's to keep: `seen` is called with the reason of each failed try.
/// Returns when one try succeeded (an answer below 400, if there is a path). Tries again at once at first, then every 50 ms at most;
/// never gives up by itself: put it under a timeout, beside the wait for the process's end.
pub async fn wait(_dial: &dyn Dial, _check: &Check, _seen: &mut (dyn FnMut(String) + Send)) {
    todo!()
}
