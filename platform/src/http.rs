//! How the router handles an app's requests: the app's own settings, effective at once, without a release or a restart.

use serde::{Deserialize, Serialize};

use crate::logs::AccessFormat;

/// Settings of an app's HTTP side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpSettings {
    /// Requests are logged in this form; None: they are not.
    pub access_log: Option<AccessFormat>,
    /// Answers that the app did not compress are, for clients that take it.
    pub compress: bool,
    /// Answers say how long the app took, and the router (`Server-Timing`).
    pub server_timing: bool,
}

impl HttpSettings {
    /// What of it the router does by itself.
    pub fn for_router(self) -> router::Settings {
        router::Settings { compress: self.compress, server_timing: self.server_timing, ..router::Settings::default() }
    }
}
