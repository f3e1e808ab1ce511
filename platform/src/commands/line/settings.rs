//! Commands about single settings of an app, and its data.

use crate::commands::arguments::{ChecksTimeout, Form, GitSetting, NetworkSetting};
use crate::commands::http::HttpSetting;
use crate::engines::EngineName;
use crate::names::AppName;

/// Commands about single settings of an app, and its data.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Settings {
    /// Replace the app's data/ by the tar or tar.gz on standard input
    #[command(name = "data:import")]
    ImportData { app: AppName },
    /// Change how long a web process has to become healthy: timeout=SECONDS
    #[command(name = "checks:set")]
    Checks {
        app: AppName,
        #[arg(value_name = "timeout=SECONDS")]
        setting: ChecksTimeout,
    },
    /// Change the branch whose pushes deploy: deploy-branch NAME
    #[command(name = "git:set")]
    Git {
        app: AppName,
        #[command(flatten)]
        setting: GitSetting,
    },
    /// Change what an app runs in: native (airstrip's own sandboxes) or docker
    #[command(name = "engine:set")]
    Engine {
        app: AppName,
        #[arg(value_name = "native|docker")]
        engine: EngineName,
    },
    /// Show where an app's connections may go
    Network {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Change where connections go: egress=internet|private|none, internal=on|off (APP.internal)
    #[command(name = "network:set")]
    SetNetwork {
        app: AppName,
        #[arg(value_name = "SETTING", required = true)]
        settings: Vec<NetworkSetting>,
    },
    /// Show how an app's requests are handled
    Http {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Change how requests are handled: https, hsts, wait, drain, sticky, body, in-flight, rate, protocol, access-log, compress, server-timing
    #[command(name = "http:set")]
    SetHttp {
        app: AppName,
        /// https=auto|redirect|both  who comes without TLS is sent to it: once browsers trust the certificate, once there is one, never
        /// hsts=365d|off             for so long browsers come with TLS alone, whatever is set later
        /// wait=10s|off              how long a request waits for an instance while there is none, instead of failing at once
        /// drain=30s|off             how long a WebSocket or a stream of events to an instance that was replaced lives on, before that is told to end
        /// sticky=on|off             a browser's requests go to the same instance
        /// body=100M|off             longer ones are answered with 413
        /// in-flight=500|off         more requests at once are answered with 503
        /// rate=20|off               more of one client address in a second are answered with 429
        /// protocol=http1|h2c        what the app speaks, h2c for gRPC; for instances that start from then on, by a push or `restart`
        /// access-log=json|common|off  a line for each request in the app's log (`logs APP -p router`)
        /// compress=on|off           by gzip, brotli or zstd, what the app sent uncompressed and shrinks
        /// server-timing=on|off      answers say how long the app took, and the router
        #[arg(value_name = "SETTING", required = true, verbatim_doc_comment)]
        settings: Vec<HttpSetting>,
    },
    /// Answer with a page that says so instead of the app
    #[command(name = "maintenance:on")]
    MaintenanceOn { app: AppName },
    /// Let the app answer again
    #[command(name = "maintenance:off")]
    MaintenanceOff { app: AppName },
}
