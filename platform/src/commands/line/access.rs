//! Commands about who and what reaches apps: keys and host names.

use crate::commands::arguments::{AppRole, Form};
use crate::names::{AppName, KeyName};

/// Commands about who and what reaches apps: keys and host names.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Access {
    /// List the host names at which an app answers
    Domains {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Let an app answer at more host names
    #[command(name = "domains:add")]
    AddDomains {
        app: AppName,
        #[arg(required = true, value_name = "DOMAIN")]
        domains: Vec<String>,
    },
    /// Take host names from an app
    #[command(name = "domains:remove")]
    RemoveDomains {
        app: AppName,
        #[arg(required = true, value_name = "DOMAIN")]
        domains: Vec<String>,
    },
    /// List the public keys that may come in
    Keys(#[command(flatten)] Form),
    /// Let the public key on standard input in
    #[command(name = "keys:add")]
    AddKey {
        name: KeyName,
        /// Only this app; without it the key is admin of everything
        #[arg(long)]
        app: Option<AppName>,
        /// deploy: push, logs, ps, releases, rollback, restart; admin: everything of the app
        #[arg(long, requires = "app")]
        role: Option<AppRole>,
    },
    /// Shut a key out
    #[command(name = "keys:remove")]
    RemoveKey { name: KeyName },
}
