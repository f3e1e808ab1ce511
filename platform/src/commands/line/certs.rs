//! Commands about the certificates with which apps are served.

use crate::commands::arguments::{Domain, Form};
use crate::names::AppName;

/// Commands about the certificates with which apps are served.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Certs {
    /// Show with which certificates apps' host names are served
    #[command(name = "certs")]
    List {
        app: Option<AppName>,
        #[command(flatten)]
        form: Form,
    },
    /// Serve an app, one of its domains, or all apps with the certificate and key on standard input
    #[command(name = "certs:add")]
    Add {
        /// Without it, for all apps
        app: Option<AppName>,
        /// Without it, for all domains of the app that the certificate covers
        domain: Option<Domain>,
    },
    /// Forget certificates that were given: of an app, one of its domains, or all apps
    #[command(name = "certs:remove")]
    Remove { app: Option<AppName>, domain: Option<Domain> },
    /// Ask again at once for certificates that the authority refused
    #[command(name = "certs:retry")]
    Retry { app: AppName, domain: Option<Domain> },
    /// Show the certificate of the server's own authority, for clients that are to trust it
    #[command(name = "certs:ca")]
    Authority,
}
